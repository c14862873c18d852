"""Files appear whole or not at all, and are their owner's alone: they hold people's private words."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import BinaryIO, TypeVar

from smile_async.errors import UsageError

Made = TypeVar("Made")


@contextmanager
def whole_file(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file (mode 0600) that takes its name when the block ends well and leaves nothing when it does not.

    `UsageError` when `path` exists with content and `overwrite` is false, or cannot be made; `OSError` when the disk
    refuses what is written.
    """
    if path.is_dir() or (not overwrite and path.exists() and path.stat().st_size):
        raise exists_already(path)
    handle, name = beside(path, mkstemp)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def beside(path: Path, make: Callable[..., Made]) -> Made:
    """What `make` (`mkstemp`, `mkdtemp`) makes next to `path`, hidden until it is renamed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return make(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", hint="Check folder and rights.") from error


def exists_already(path: Path) -> UsageError:
    return UsageError(f"{path} exists already.", hint="Name another place, or let it be replaced (--overwrite).")
