"""GNU's OpenMP runtime for llama.cpp, where the system has none.

The wheel of llama.cpp needs `libgomp.so.1`, which comes with every compiler but not with a bare Debian or a slim
container. A wheel of another package carries a copy; under its right name, in a folder of its own, the child's loader
finds it.
"""

import ctypes
import os
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

LIBRARY = "libgomp.so.1"
CARRIER = "simsimd"  # its wheel bundles libgomp (GCC Runtime Library Exception)


def environment(cache: Path) -> dict[str, str]:
    """The environment for a process that needs libgomp: ours, and where the system has none a path to the copy."""
    found = dict(os.environ)
    if sys.platform == "linux" and not _in_the_system() and (copy := _carried()) is not None:
        folder = _folder_with(copy, cache / "openmp")
        found["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(folder), found.get("LD_LIBRARY_PATH")]))
    return found


def _in_the_system() -> bool:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def _carried() -> Path | None:
    """The copy in the carrier's wheel; None when it is not installed or brings none."""
    try:
        listed = files(CARRIER) or []
    except PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in listed if file.name.startswith("libgomp")), None)


def _folder_with(library: Path, folder: Path) -> Path:
    """A folder in which the library goes by the name that is looked for."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    link = folder / LIBRARY
    if not link.is_symlink() or link.readlink() != library:
        with suppress(FileNotFoundError):
            link.unlink()
        with suppress(FileExistsError):  # another process was quicker
            link.symlink_to(library)
    return folder
