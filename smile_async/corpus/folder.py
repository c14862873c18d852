"""An export that is a folder appears whole or not at all, too."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from smile_async.errors import UsageError
from smile_async.filing import beside, exists_already

_NUMBERED = re.compile(r"\d+\.json|index\.jsonl")
_DATASET = re.compile(r"README\.md|dataset_info\.json|data")
_PART = re.compile(r"(?:train|validation|test)-\d{5}-of-\d{5}\.parquet")


@contextmanager
def whole_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder (mode 0700) that takes its name when the block ends well.

    What stands there already goes only with `overwrite`, and only when it is an export: numbered JSON files and their
    index, or a dataset folder. Anybody's other folder is never deleted.
    """
    _check_replaceable(path, overwrite=overwrite)
    part = Path(beside(path, mkdtemp))
    try:
        yield part
        if path.exists():
            old = Path(mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            path.replace(old)
            part.replace(path)
            shutil.rmtree(old)
        else:
            part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_replaceable(path: Path, *, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir() or path.is_symlink():
        raise exists_already(path)
    entries = list(path.iterdir())
    if entries and not overwrite:
        raise exists_already(path)
    foreign = _foreign(path, entries)
    if foreign is not None:
        raise UsageError(
            f"{path} holds {foreign!r}, which no export wrote, so it is not deleted.", hint="Name another folder."
        )


def _foreign(path: Path, entries: list[Path]) -> str | None:
    """The first name that is neither of a folder of dialogues nor of a dataset folder."""
    names = {entry.name for entry in entries}
    ours, data = _NUMBERED, []
    if {"dataset_info.json", "data"} <= names and not (path / "data").is_symlink():
        ours, data = _DATASET, list((path / "data").glob("*"))
    told = [entry for entry in entries if not ours.fullmatch(entry.name)]
    told += [entry for entry in data if not _PART.fullmatch(entry.name)]
    return told[0].name if told else None
