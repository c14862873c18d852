"""Vectors out of a run's ledger into `vectors.npy` and `ids.jsonl`, and from there into an array."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from smile_async.engine.kept import accepted_items, reply_text
from smile_async.errors import MissingExtraError, RunMismatchError, RunNotFoundError
from smile_async.provider.embeddings import FLOAT, unpack

if TYPE_CHECKING:
    import numpy as np

VECTORS, IDS = "vectors.npy", "ids.jsonl"
HEADER = 128  # bytes before the numbers


@dataclass(frozen=True, slots=True)
class Text:
    """A text to be embedded. `place` orders the vectors; `what` says what of the record `id` it is; `cut`: it was
    longer."""

    place: int
    id: str
    what: str
    text: str
    cut: bool = False


def dump_texts(texts: Sequence[Text]) -> bytes:
    return orjson.dumps([[text.place, text.id, text.what, text.text, text.cut] for text in texts])


def load_texts(data: bytes) -> tuple[Text, ...]:
    return tuple(Text(*values) for values in orjson.loads(data))


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where a vector lies: at `index` in the reply of `attempt`."""

    text: Text
    attempt: int
    index: int


def _placed(reader: sqlite3.Connection) -> list[_Placed]:
    """The vectors there are, in the order of the texts; of one that had changed and was asked again, the last."""
    found: dict[tuple[str, str], _Placed] = {}
    for attempt, item in accepted_items(reader):
        for index, text in enumerate(load_texts(item)):
            found[text.id, text.what] = _Placed(replace(text, text=""), attempt, index)
    return sorted(found.values(), key=lambda one: one.text.place)


def vector_chunks(reader: sqlite3.Connection) -> Iterator[bytes]:
    """The bytes of `vectors.npy`, one reply in memory at a time. Raises `RunMismatchError` for vectors of several
    lengths (a server that changed its model)."""
    placed = _placed(reader)
    if not placed:
        yield npy_header(0, 0)
        return
    attempt, values, width = -1, b"", 0
    for one in placed:
        if one.attempt != attempt:
            attempt = one.attempt
            count, values = unpack(reply_text(reader, attempt))
            size = len(values) // count
            if not width:
                width = size
                yield npy_header(len(placed), width // FLOAT)
            if size != width:
                raise RunMismatchError(
                    f"The vectors have {width // FLOAT} numbers and {size // FLOAT}: two models answered.",
                    hint="Start another run folder, with a model that stays the same.",
                )
        yield values[one.index * width : (one.index + 1) * width]


def id_lines(reader: sqlite3.Connection) -> Iterator[bytes]:
    """The lines of `ids.jsonl`: the record's id, what of it, and `cut` where the text was longer."""
    for one in _placed(reader):
        line = {"id": one.text.id, "what": one.text.what, **({"cut": True} if one.text.cut else {})}
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
    longer than what was embedded."""

    ids: tuple[str, ...]
    what: tuple[str, ...]
    cut: tuple[bool, ...]
    array: "np.ndarray[Any, np.dtype[np.float32]]"

    def of(self, what: str) -> "Vectors":
        """The QAs' vectors (`qa`), or the dialogues' (`dialogue`)."""
        rows = [row for row, kind in enumerate(self.what) if kind == what]
        ids, cut = tuple(self.ids[row] for row in rows), tuple(self.cut[row] for row in rows)
        return Vectors(ids, (what,) * len(rows), cut, self.array[rows])


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
    )
