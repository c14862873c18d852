"""A study's folder: one process at a time, and `study.json`, which says what the study is, what each of its steps was
made of and what came of it."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from smile_async.errors import RunInUseError, RunMismatchError, differences
from smile_async.filing import whole_file

NOTE = "study.json"
LOCK = "study.lock"
CORPORA, CHATBOT = "smile-study-1", "smile-chatbot-study-1"  # sections 3 to 5, section 6
MADE_FROM = "made_from"  # the one input that notes of old have: a digest of all files together


def is_study(path: str | Path, kind: str) -> bool:
    """Whether a study of that kind has begun there."""
    try:
        return _read(Path(path) / NOTE).get("format") == kind
    except (OSError, RunMismatchError):
        return False


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """A step is done while its inputs (settings, digests of files) and its files are what the note says. `kind` is the
    study's, whose folder is no other's."""

    path: Path
    kind: str

    @property
    def begun(self) -> bool:
        return bool(self._notes())

    def begin(self, settings: Mapping[str, Any], shapes: Mapping[str, Collection[str]] | None = None) -> None:
        """Note the settings of a new study; those of one that goes on must be the same (`RunMismatchError`).

        `shapes`: the steps that a setting shapes. One that shaped no step which came to its end may be another.
        """
        noted, told = self._notes(), _plain(settings)
        if "settings" not in noted:
            self._write({"format": self.kind, "settings": told, "steps": {}})
            return
        ended = noted["steps"].keys()
        free = {name for name, steps in (shapes or {}).items() if ended.isdisjoint(steps)}
        before, now = ({k: v for k, v in one.items() if k not in free} for one in (noted["settings"], told))
        if differing := differences(before, now):
            raise RunMismatchError(
                f"{self.path} holds a study with other settings:\n    " + "\n    ".join(differing),
                hint="Go on with the settings it was started with, or name another folder.",
            )
        if noted["settings"] != told:
            self._write({**noted, "settings": told})

    def done(self, step: str, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """What came of a step whose inputs and files are unchanged; else None."""
        noted = self._notes().get("steps", {}).get(step)
        if not noted or noted["inputs"] != _plain(inputs):
            return None
        if any(digest(self.path / name) != known for name, known in noted["files"].items()):
            return None
        return dict(noted["results"])

    def note(
        self, step: str, inputs: Mapping[str, Any], files: Sequence[str] = (), results: Mapping[str, Any] | None = None
    ) -> None:
        """A step came to its end; `files` are what it left, by their names in this folder."""
        noted = self._notes()
        there = {name: digest(self.path / name) for name in files if (self.path / name).is_file()}
        noted["steps"][step] = {"inputs": _plain(inputs), "files": there, "results": _plain(results or {})}
        self._write(noted)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For this process only while the block runs. Raises `RunInUseError`."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(self.path / LOCK, mode=0o600)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunInUseError(
                f"Another process is working on the study in {self.path}.",
                hint="Wait for it, or name another folder.",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _notes(self) -> dict[str, Any]:
        try:
            found = _read(self.path / NOTE)
        except FileNotFoundError:
            return {}
        if found["format"] != self.kind:
            raise RunMismatchError(f"{self.path / NOTE} is of something else.", hint="Name another folder.")
        return found

    def _write(self, notes: Mapping[str, Any]) -> None:
        with whole_file(self.path / NOTE, overwrite=True) as file:
            file.write(orjson.dumps(notes, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _read(file: Path) -> dict[str, Any]:
    """A note as it is written today: those of section 3 to 5's study once named its parts otherwise."""
    try:
        found = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:  # files here are whole or not there: somebody else wrote it
        raise RunMismatchError(f"{file} is no JSON.", hint="Name another folder.") from error
    if isinstance(found, dict) and found.keys() == {"study", "done"}:
        steps = {
            step: {"inputs": {MADE_FROM: made_from}, "files": {}, "results": {}}
            for step, made_from in found["done"].items()
        }
        return {"format": CORPORA, "settings": found["study"], "steps": steps}
    return found if isinstance(found, dict) and "format" in found else {"format": None}


def digest(path: Path) -> str | None:
    """sha256 of a file; None where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def made_from(*files: Path) -> dict[str, str]:
    """The inputs of a step that is made of files alone; one that is missing counts as empty."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(bytes.fromhex(digest(file) or hashlib.sha256(b"").hexdigest()))
    return {MADE_FROM: whole.hexdigest()[:24]}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON."""
    return dict(orjson.loads(orjson.dumps(values)))
