"""Vectors out of a run's ledger into `vectors.npy` and `ids.jsonl`, and from there into an array."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from smile_async.analysis.digests import text_digest
from smile_async.engine.kept import accepted_items, reply_text
from smile_async.errors import MissingExtraError, RunMismatchError, RunNotFoundError
from smile_async.provider.embeddings import FLOAT, unpack

if TYPE_CHECKING:
    import numpy as np

VECTORS, IDS = "vectors.npy", "ids.jsonl"
HEADER = 128  # bytes before the numbers


REPLIES_HELD = 16  # at once, while vectors are written: texts that were asked together mostly stand together


@dataclass(frozen=True, slots=True)
class Text:
    """A text to be embedded. `place` orders the vectors; `what` says what of the record `id` it is; `cut`: it was
    longer. `digest` is that of the whole text, empty where that is not known any more."""

    place: int
    id: str
    what: str
    text: str
    cut: bool = False
    digest: str = ""

    @property
    def asked(self) -> str:
        """The digest of what is asked about: one that the run has asked about is not asked about again."""
        return self.digest if self.digest and not self.cut else text_digest(self.text)


def dump_texts(texts: Sequence[Text]) -> bytes:
    return orjson.dumps([[text.place, text.id, text.what, text.text, text.cut] for text in texts])


def load_texts(data: bytes) -> tuple[Text, ...]:
    return tuple(Text(*values) for values in orjson.loads(data))


@dataclass(frozen=True, slots=True)
class Listed:
    """A text as it stands in the corpus, without its words; `asked` and `digest` are those of `Text`."""

    id: str
    what: str
    asked: str
    digest: str
    cut: bool = False

    @classmethod
    def of(cls, text: Text) -> "Listed":
        asked = text.asked
        return cls(text.id, text.what, asked, text.digest or ("" if text.cut else asked), text.cut)


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where a vector lies: at `index` in the reply of `attempt`."""

    text: Listed
    attempt: int
    index: int


def _placed(reader: sqlite3.Connection, listed: Iterable[Listed]) -> Iterator[_Placed]:
    """The vectors of the texts that are `listed`, in that order, then those of others that the run was asked about, in
    theirs: of each id the last, and none whose id is listed with another text."""
    where: dict[str, tuple[int, int]] = {}
    others: dict[tuple[str, str], tuple[int, Listed]] = {}
    for attempt, item in accepted_items(reader):
        for index, text in enumerate(load_texts(item)):
            one = Listed.of(text)
            where[one.asked] = attempt, index
            others[text.id, text.what] = text.place, one
    for one in dict.fromkeys(listed):
        others.pop((one.id, one.what), None)
        if one.asked in where:
            yield _Placed(one, *where[one.asked])
    for _, one in sorted(others.values(), key=lambda other: other[0]):
        yield _Placed(one, *where[one.asked])


def vector_chunks(reader: sqlite3.Connection, listed: Iterable[Listed] = ()) -> Iterator[bytes]:
    """The bytes of `vectors.npy`, few replies in memory at a time; `listed` is the corpus as it was read, as far as it
    was. Raises `RunMismatchError` for vectors of several lengths (a server that changed its model)."""
    placed = list(_placed(reader, listed))
    if not placed:
        yield npy_header(0, 0)
        return

    @lru_cache(REPLIES_HELD)
    def values_of(attempt: int) -> tuple[bytes, int]:
        count, values = unpack(reply_text(reader, attempt))
        return values, len(values) // count

    width = values_of(placed[0].attempt)[1]
    yield npy_header(len(placed), width // FLOAT)
    for one in placed:
        values, size = values_of(one.attempt)
        if size != width:
            raise RunMismatchError(
                f"The vectors have {width // FLOAT} numbers and {size // FLOAT}: two models answered.",
                hint="Start another run folder, with a model that stays the same.",
            )
        yield values[one.index * width : (one.index + 1) * width]


def id_lines(reader: sqlite3.Connection, listed: Iterable[Listed] = ()) -> Iterator[bytes]:
    """The lines of `ids.jsonl`: the record's id, what of it, the digest of that text, and `cut` where it was longer
    than what was embedded."""
    for one in _placed(reader, listed):
        digest = {"digest": one.text.digest} if one.text.digest else {}
        line = {"id": one.text.id, "what": one.text.what, **digest, **({"cut": True} if one.text.cut else {})}
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def npy_header(rows: int, columns: int) -> bytes:
    """The head of NumPy's file format, version 1.0, for rows of little-endian float32."""
    told = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + told.ljust(HEADER - 11).encode() + b"\n"


def npy_shape(path: Path) -> tuple[int, int]:
    """Rows and columns of a file with the head that `npy_header` makes."""
    with path.open("rb") as file:
        told = file.read(HEADER).decode("latin-1")
    rows, columns = told[told.index("(") + 1 : told.index(")")].split(",")
    return int(rows), int(columns)


@dataclass(frozen=True, slots=True)
class Vectors:
    """Row n of `array` (n, d; float32) is the vector of `what[n]` of the record `ids[n]`; `cut[n]`: its text was
    longer than what was embedded; `digests[n]` that of the whole text (`digests.text_digest`), empty in files of before
    there were any."""

    ids: tuple[str, ...]
    what: tuple[str, ...]
    cut: tuple[bool, ...]
    array: "np.ndarray[Any, np.dtype[np.float32]]"
    digests: tuple[str, ...] = ()

    def of(self, what: str) -> "Vectors":
        """The QAs' vectors (`qa`), or the dialogues' (`dialogue`)."""
        rows = [row for row, kind in enumerate(self.what) if kind == what]
        ids, cut = tuple(self.ids[row] for row in rows), tuple(self.cut[row] for row in rows)
        digests = tuple(self.digests[row] for row in rows) if self.digests else ()
        return Vectors(ids, (what,) * len(rows), cut, self.array[rows], digests)


def load_vectors(folder: str | Path) -> Vectors:
    """What `smile embed` wrote. Raises `RunNotFoundError`, `MissingExtraError` (numpy)."""
    try:
        import numpy as np
    except ImportError as error:
        raise MissingExtraError("Vectors as an array", "analysis") from error
    folder = Path(folder)
    if not (folder / VECTORS).is_file() or not (folder / IDS).is_file():
        raise RunNotFoundError(f"{folder} holds no {VECTORS}.", hint=f"Make them: smile embed CORPUS {folder}")
    lines = [orjson.loads(line) for line in (folder / IDS).read_bytes().splitlines()]
    return Vectors(
        tuple(line["id"] for line in lines),
        tuple(line["what"] for line in lines),
        tuple(bool(line.get("cut")) for line in lines),
        np.load(folder / VECTORS, allow_pickle=False),
        tuple(line.get("digest", "") for line in lines),
    )
