"""Where the parts of a study lie below its folder, and the note of what it is and which of its steps are done."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from smile_async.errors import RunInUseError, RunMismatchError
from smile_async.filing import whole_file

METHODS = ("standard", "standardT", "smile")
PAIRS = "psyqa"  # PsyQA*: the QAs that were drawn, and the name of that set
NOTE = "study.json"
LOCK = "study.lock"


def pairs_file(out: Path) -> Path:
    """The QAs of PsyQA*, cleaned: a source like any other."""
    return out / f"{PAIRS}.jsonl"


def dialogues_of(out: Path, method: str) -> Path:
    return out / method


def vectors_of(out: Path, name: str) -> Path:
    """`name`: a method, or `PAIRS`."""
    return out / "vectors" / name


def topics_of(out: Path, method: str) -> Path:
    return out / "topics" / method


def is_study(path: str | Path) -> bool:
    return (Path(path) / NOTE).is_file()


@dataclass(frozen=True, slots=True)
class Note:
    """`asked` is what the study is: it goes on only with the same. `done` holds for each step that came to its end a
    digest of what it was made from: other dialogues (a retry, other rules) need other vectors and topics."""

    asked: Mapping[str, Any]
    done: Mapping[str, str] = field(default_factory=dict)

    def with_done(self, step: str, digest: str) -> "Note":
        return replace(self, done={**self.done, step: digest})

    def save(self, out: Path) -> "Note":
        content = orjson.dumps({"study": self.asked, "done": self.done}, option=orjson.OPT_INDENT_2)
        with whole_file(out / NOTE, overwrite=True) as file:
            file.write(content + b"\n")
        return self


def open_note(out: Path, asked: Mapping[str, Any]) -> Note:
    """The note of a study that goes on, or of a new one, not yet saved. Raises `RunMismatchError` where another study
    is there."""
    if not is_study(out):
        return Note(asked)
    told = orjson.loads((out / NOTE).read_bytes())
    now = orjson.loads(orjson.dumps(asked))
    if told["study"] != now:
        was = told["study"]
        differing = [
            f"    {key}: was {_short(was.get(key))}, now {_short(now.get(key))}"
            for key in sorted(was.keys() | now.keys())
            if was.get(key) != now.get(key)
        ]
        raise RunMismatchError(
            f"{out} holds a study with other settings:\n" + "\n".join(differing),
            hint="Go on with the settings it was started with, or name another folder.",
        )
    return Note(told["study"], told["done"])


def _short(value: Any) -> str:
    return orjson.dumps(value).decode()


def digest_of(*files: Path) -> str:
    """Of what the files hold; one that is missing counts as empty."""
    found = hashlib.sha256()
    for file in files:
        found.update(hashlib.sha256(file.read_bytes() if file.is_file() else b"").digest())
    return found.hexdigest()[:24]


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """The folder, for this process only while the block runs. Raises `RunInUseError`."""
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(out / LOCK, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunInUseError(
            f"Another process is working on the study in {out}.", hint="Wait for it, or name another folder."
        ) from None
    try:
        yield
    finally:
        lock.release()
