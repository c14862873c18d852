"""The report written: one page, and its figures and tables where they are wanted."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from smile_async.analysis.page import Language, page_html
from smile_async.analysis.report import Look, Report, as_json, gather, place_digest
from smile_async.analysis.samples import Wanted
from smile_async.corpus.formats import Record, RoleMap
from smile_async.errors import MissingExtraError, UsageError
from smile_async.filing import whole_file

MARK = b'<meta name="generator" content="smile-async report">'  # a file that holds it is ours to replace
CHARACTERS = "characters"
LOOKED_AT = 4_096  # bytes in which it stands


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was written: the page's `size` in bytes, how many `samples` it shows, and the paths of all other `files`."""

    size: int
    samples: int
    files: tuple[str, ...]


def draw_report(
    corpus: str | Path,
    out: str | Path,
    *,
    figures: str | Path | None = None,
    language: str = "both",
    wanted: Wanted | None = None,
    roles: RoleMap | None = None,
    tokenizer: str = CHARACTERS,
    vectors: str | Path | None = None,
    topics: str | Path | None = None,
    looks: Iterable[Look] = (),
    overwrite: bool = False,
    notify: Callable[[str], None] = lambda _text: None,
) -> Drawn:
    """Of a run or whatever `open_corpus` opens. A page that stands at `out` is drawn anew, any other file only with
    `overwrite`. With `both` languages and no font that holds Chinese, figures are written in English alone, and
    `notify` is told. `tokenizer` as `load_tokenizer` knows them (Table 1),
    `vectors` a folder of `smile embed` (Figures 4 and 5), `topics` one of `smile topics annotate` (Table 2, Figure 11).

    Raises `UsageError` for a wrong word, `CorpusError` for what is no corpus, `MissingFontError` for `zh` figures
    without a font.
    """
    if language not in get_args(Language):
        raise UsageError(f"The language {language!r} is unknown.", hint=f"One of: {', '.join(get_args(Language))}.")
    out, spoken = Path(out), cast(Language, language)
    _check_ours(out, overwrite=overwrite)
    measured = _measuring(tokenizer, vectors, notify)
    looks = (*measured, *_labelled(topics, notify), *looks)
    report = gather(corpus, roles=roles, wanted=wanted, looks=looks, labelling=_labelling(topics))
    page = page_html(as_json(report), spoken).encode()
    with whole_file(out, overwrite=True) as file:
        file.write(page)
    files = [] if figures is None else _figures(report, Path(figures), spoken, notify)
    return Drawn(len(page), len(report.samples.samples), tuple(map(str, files)))


def _measuring(tokenizer: str, vectors: str | Path | None, notify: Callable[[str], None]) -> tuple[Look, ...]:
    """None where numpy is missing and nobody asked for what needs it."""
    try:
        from smile_async.analysis.looks import measuring_look
        from smile_async.analysis.tokenization import load_tokenizer
    except MissingExtraError as error:
        if tokenizer != CHARACTERS or vectors is not None:
            raise
        notify(f"Table 1 is left out. {error}")
        return ()
    return (measuring_look(load_tokenizer(tokenizer), vectors, notify=notify),)


def _labelled(topics: str | Path | None, notify: Callable[[str], None]) -> tuple[Look, ...]:
    from smile_async.analysis.report_topics import topics_look

    return () if topics is None else (topics_look(topics, notify),)


def _labelling(topics: str | Path | None) -> Callable[[RoleMap], Callable[[Record], Record]]:
    if topics is None:
        return lambda _roles: lambda record: record
    from smile_async.analysis.topics import labelling, read_annotation

    annotation = read_annotation(topics)
    return lambda roles: labelling(annotation, roles)


def default_page(corpus: str | Path) -> Path:
    """Where a report goes when nobody says: NAME-report.html here; with the names of the folders above it, from the
    nearest on, where there stands a page of another corpus by that name."""
    path = Path(corpus).resolve()
    mark = b'<meta name="corpus" content="%b">' % place_digest(path).encode()
    name = path.name if path.is_dir() else path.name.partition(".")[0] or path.name
    page = Path(f"{name}-report.html")
    for above in path.parents:
        if not page.is_file() or mark in _head(page):
            break
        name = f"{above.name}-{name}" if above.name else name
        page = Path(f"{name}-report.html")
    return page


def _head(page: Path) -> bytes:
    with page.open("rb") as file:
        return file.read(LOOKED_AT)


def _figures(report: Report, folder: Path, language: Language, notify: Callable[[str], None]) -> list[Path]:
    from smile_async.analysis.plots import MissingFontError, write_figures

    if language != "both":
        return write_figures(report, folder, [language])
    try:
        return write_figures(report, folder, ["en", "zh"])
    except MissingFontError as error:
        notify(f"{error}\nThe figures are in English only.")
        return write_figures(report, folder, ["en"])


def _check_ours(out: Path, *, overwrite: bool) -> None:
    if overwrite or not out.is_file() or not out.stat().st_size:
        return
    if MARK in _head(out):
        return
    raise UsageError(
        f"{out} exists already and is no report.", hint="Name another file, or let it be replaced (--overwrite)."
    )
