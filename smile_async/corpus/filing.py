"""Exports appear whole or not at all, and are their owner's alone: they hold people's private words."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp, mkstemp
from typing import BinaryIO, TypeVar

from smile_async.errors import UsageError

Made = TypeVar("Made")

_NUMBERED = re.compile(r"\d+\.json|index\.jsonl")


@contextmanager
def whole_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file (mode 0600) that takes its name when the block ends well; `UsageError` when `path` holds something."""
    if path.is_dir() or (not overwrite and path.exists() and path.stat().st_size):
        raise _exists(path)
    handle, name = _beside(path, mkstemp)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder (mode 0700) that takes its name when the block ends well.

    What stands there already goes only with `overwrite`, and only when it is an export: numbered JSON files and their
    index. Anybody's other folder is never deleted.
    """
    _check_replaceable(path, overwrite=overwrite)
    part = Path(_beside(path, mkdtemp))
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
        raise _exists(path)
    names = [entry.name for entry in path.iterdir()]
    if names and not overwrite:
        raise _exists(path)
    foreign = next((name for name in names if not _NUMBERED.fullmatch(name)), None)
    if foreign is not None:
        raise UsageError(
            f"{path} holds {foreign!r}, which no export wrote, so it is not deleted.", hint="Name another folder."
        )


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists already.", hint="Name another place, or let it be replaced (--overwrite).")


def _beside(path: Path, make: Callable[..., Made]) -> Made:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return make(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", hint="Check folder and rights.") from error
