"""A study's folder: one process at a time, and `study.json`, which says what each step was made of and what came."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from smile_async.errors import RunInUseError, RunMismatchError
from smile_async.filing import whole_file

NOTES = "study.json"
FORMAT = "smile-chatbot-study-1"


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """A step is done while its inputs (settings, digests of files) and its files are what `study.json` says."""

    path: Path

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Note the settings of a new study; those of one that goes on must be the same (`RunMismatchError`)."""
        noted, told = self._notes(), _plain(settings)
        if noted and noted.get("format") != FORMAT:
            raise RunMismatchError(f"{self.path / NOTES} is another program's.", hint="Name another folder.")
        before = noted.get("settings")
        if before is None:
            self._write({"format": FORMAT, "settings": told, "steps": {}})
        elif other := [name for name in told if told[name] != before.get(name)]:
            words = ", ".join(f"{name} {_shown(before.get(name))}" for name in other)
            raise RunMismatchError(
                f"{self.path} was begun with other settings: {words}.",
                hint="Give the same again, or name another folder.",
            )

    def done(self, step: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """What came of a step whose inputs and files are unchanged; else None."""
        noted = self._notes().get("steps", {}).get(step)
        if not noted or noted["inputs"] != _plain(inputs):
            return None
        if any(digest(self.path / name) != known for name, known in noted["files"].items()):
            return None
        return dict(noted["results"])

    def note(self, step: str, inputs: Mapping[str, Any], files: Sequence[str], results: Mapping[str, Any]) -> None:
        noted = self._notes()
        there = {name: digest(self.path / name) for name in files if (self.path / name).is_file()}
        noted["steps"][step] = {"inputs": _plain(inputs), "files": there, "results": _plain(results)}
        self._write(noted)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Raises `RunInUseError` when another process works on it."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunInUseError(
                f"Another process works in {self.path}.", hint="Wait for it, or name another folder."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _notes(self) -> dict[str, Any]:
        try:
            found = orjson.loads((self.path / NOTES).read_bytes())
        except FileNotFoundError:
            return {}
        except orjson.JSONDecodeError as error:  # files here are whole or not there: somebody else wrote it
            raise RunMismatchError(f"{self.path / NOTES} is no JSON.", hint="Name another folder.") from error
        return dict(found)

    def _write(self, notes: Mapping[str, Any]) -> None:
        with whole_file(self.path / NOTES, overwrite=True) as file:
            file.write(orjson.dumps(notes, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def digest(path: Path) -> str | None:
    """sha256 of a file; None where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    return dict(orjson.loads(orjson.dumps(values)))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
