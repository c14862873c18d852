"""Files appear whole or not at all, and are their owner's alone: they hold people's private words."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO

import orjson

from smile_async.dialogue.model import QAPair
from smile_async.errors import UsageError


@contextmanager
def whole_file(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file that takes its name (mode 0600) when the block ends well and leaves nothing when it does not.

    `UsageError` when `path` exists with content and `overwrite` is false, or cannot be written.
    """
    if path.is_dir() or (not overwrite and path.exists() and path.stat().st_size):
        raise UsageError(f"{path} exists already.", hint="Name another file, or let it be replaced (--overwrite).")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", hint="Check folder and rights.") from error
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def dump_pair(pair: QAPair) -> bytes:
    """One line of a prepared file, which `open_source` reads back exactly."""
    row = {
        "question": pair.question,
        "description": pair.description,
        "answer": pair.answer,
        "questionID": pair.source_id,
        "answer_index": pair.answer_index,
        "keywords": pair.keywords,
    }
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def write_pairs(path: str | Path, pairs: Iterable[QAPair], *, overwrite: bool = False) -> int:
    """Write prepared JSONL; returns the number of rows. `UsageError` when the file exists already."""
    count = 0
    with whole_file(Path(path), overwrite=overwrite) as out:
        for pair in pairs:
            out.write(dump_pair(pair))
            count += 1
    return count
