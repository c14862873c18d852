"""Any corpus, opened by its path: a run, an export, the released SMILECHAT."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from smile_async.corpus import reading
from smile_async.corpus.formats import PAPER_ROLES, Record, RoleMap
from smile_async.corpus.language import Language, Letters, first_texts, letters_of
from smile_async.engine.schema import DATABASE
from smile_async.errors import CorpusError

Kind = Literal["run", "smilechat", "jsonl", "messages", "sharegpt", "alpaca", "hf"]

LOOKED_AT = 20  # records that tell who speaks
SPLITS = ("train", "validation", "test")
_PAIRS = (
    PAPER_ROLES,
    RoleMap("user", "assistant"),
    RoleMap("human", "gpt"),
    RoleMap("求助者", "支持者"),
    RoleMap("来访者", "咨询师"),
    RoleMap("seeker", "supporter"),
    RoleMap("help-seeker", "supporter"),
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """Dialogues in a fixed order, read again from their files each time they are iterated, one at a time (an array in
    a single JSON file is the exception: it is in memory while it is iterated).

    `roles` says who asks (`user`: the client) and who answers (`assistant`: the counselor); `run` is the folder of a
    run, None for what is none. Iterating raises `CorpusError` with file and row where something cannot be read.
    """

    path: Path
    kind: Kind
    roles: RoleMap
    read: Callable[[], Iterator[Record]] = field(repr=False)
    run: Path | None = None

    @property
    def name(self) -> str:
        """Of the file or folder, without what says its format."""
        bare = self.path.resolve().name
        return bare if self.path.is_dir() else bare.partition(".")[0] or bare

    def __iter__(self) -> Iterator[Record]:
        return self.read()

    def language(self) -> Language:
        """That of the run's recipe, where it is one of the two; else by the letters of the first dialogues."""
        if self.run is not None:
            from smile_async import run_folder

            code = run_folder.recipe_of(self.run).language.partition("-")[0].lower()
            if code in ("zh", "en"):
                return "zh" if code == "zh" else "en"
        return self.letters().language

    def letters(self) -> Letters:
        """Of the first dialogues."""
        return letters_of(first_texts(self))


def open_corpus(path: str | Path, *, roles: RoleMap | None = None) -> Corpus:
    """A run folder (its accepted rows), an export, a folder of `N.json` in the order of their numbers, JSONL (.gz too)
    or Parquet or one JSON file. `messages`, `sharegpt` and `alpaca` come with the paper's roles, client and counselor.

    `roles`: where they are not the paper's or other usual ones. Without it, of two unknown roles the one that speaks
    first is the client. Raises `CorpusError` for what cannot be opened, saying what can be.
    """
    path = Path(path)
    if not path.exists():
        raise CorpusError("there is no such file or folder", file=str(path), hint=reading.OPENS)
    if (path / DATABASE).is_file():
        return _run(path, roles)
    kind, read = _folder(path) if path.is_dir() else _file(path)
    return Corpus(path, kind, roles or _who_speaks(path, read), read)


def _run(path: Path, roles: RoleMap | None) -> Corpus:
    from smile_async import run_folder

    told = roles or RoleMap(*run_folder.roles_of(path))
    return Corpus(path, "run", told, lambda: run_folder.records(path), run=path)


def _folder(path: Path) -> tuple[Kind, Callable[[], Iterator[Record]]]:
    if reading.has_numbered_files(path):
        return "smilechat", lambda: reading.folder_records(path)
    files = _in_order([*path.glob("*.parquet"), *path.glob("data/*.parquet")])
    if files:
        return "hf", lambda: reading.records(reading.parquet_rows(files))
    inside = path / "data"
    hint = f"Did you mean {inside}?" if inside.is_dir() and reading.has_numbered_files(inside) else reading.OPENS
    raise CorpusError("the folder holds no corpus", file=str(path), hint=hint)


def _in_order(files: list[Path]) -> tuple[Path, ...]:
    """Training data first, then validation and test, as the shares of a dataset are named."""
    place = {name: number for number, name in enumerate(SPLITS)}
    return tuple(sorted(files, key=lambda file: (place.get(file.stem.partition("-")[0], len(SPLITS)), file.name)))


def _file(path: Path) -> tuple[Kind, Callable[[], Iterator[Record]]]:
    if path.suffix.lower() in {".parquet", ".pq"}:
        return "hf", lambda: reading.records(reading.parquet_rows((path,)))
    rows = reading.lines if reading.is_jsonl(path) else reading.whole
    first = next(rows(path), None)
    if first is None:
        raise CorpusError("the file holds no dialogue", file=str(path), hint=reading.OPENS)
    return reading.shape_of(first[1], first[0]), lambda: reading.records(rows(path))


def _who_speaks(path: Path, read: Callable[[], Iterator[Record]]) -> RoleMap:
    """By the roles of the first records."""
    spoken = (one.role for record in islice(read(), LOOKED_AT) for one in record.dialogue.utterances)
    names = tuple(dict.fromkeys(spoken))
    for pair in _PAIRS:
        if pair.user in names or pair.assistant in names:
            return pair
    if len(names) == 2:
        return RoleMap(*names)
    if not names:
        return PAPER_ROLES
    told = ", ".join(repr(name[:24]) for name in names[:8])
    raise CorpusError(
        f"who asks and who answers is not clear: the roles are {told}",
        file=str(path),
        hint="Say it: --roles CLIENT,COUNSELOR (roles=RoleMap(...) from Python).",
    )
