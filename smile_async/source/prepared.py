"""Prepared QAs as JSONL, the project's own form of a source."""

from collections.abc import Iterable
from pathlib import Path

import orjson

from smile_async.dialogue.model import QAPair
from smile_async.filing import whole_file


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
