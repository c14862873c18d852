"""Asking the process that is at work on a run: pause, go on, another number in flight, how it stands.

The run listens (`desk.py`) on a port of the loopback interface and writes the port and a secret of its process into its
folder, in a file that only its owner can read. A Unix socket in the folder would need no secret, but has a path of at
most about 100 bytes, and is not to be had on every file system, nor on Windows. One question and one answer a
connection, each a line of JSON.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from smile_async.engine import schema
from smile_async.engine.lock import is_locked
from smile_async.errors import NotLiveError, RunNotFoundError, UsageError

FILE = "control.json"
LOOPBACK = "127.0.0.1"
PATIENCE = 10.0  # seconds for a question or an answer
ACTIONS = ("pause", "resume", "concurrency", "status")


def noted(path: Path) -> dict[str, Any]:
    try:
        return dict(orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def ask_run(run: Path, action: str, most: int | None = None, *, patience: float = PATIENCE) -> Mapping[str, Any]:
    """Ask the process at work on `run` to do something; returns its answer: `run` holds the fields of a `Pulse`.

    Waits up to `patience` seconds; call it from another thread or process than the run's. Raises `NotLiveError` when
    no process can be asked, `UsageError` when it refuses.
    """
    if not (run / schema.DATABASE).is_file():
        raise RunNotFoundError(f"{run} is not a run: it holds no {schema.DATABASE}.")
    if not is_locked(run):
        raise NotLiveError(f"{run}: no process is at work on this run.", hint=f"Start one: smile resume {run}")
    note = noted(run / FILE)
    if "port" not in note:
        raise NotLiveError(
            f"{run}: the process at work on this run takes no orders.",
            hint="It has only just begun, or was started from Python without `controlled`, or does something else.",
        )
    question = {"secret": note["secret"], "do": action, **({} if most is None else {"most": most})}
    try:
        answer = orjson.loads(_exchange(int(note["port"]), orjson.dumps(question) + b"\n", patience))
    except (OSError, ValueError) as error:
        elsewhere = note.get("machine") != socket.gethostname()
        raise NotLiveError(
            f"{run}: the process at work on this run does not answer: {error or type(error).__name__}.",
            hint=f"It runs on {note['machine']}: ask there." if elsewhere else "Try again; is it stopped (SIGSTOP)?",
        ) from error
    if not isinstance(answer, dict) or not answer.get("ok"):
        raise UsageError(f"{run}: the run refuses: {answer.get('error') if isinstance(answer, dict) else answer}.")
    return answer


def _exchange(port: int, question: bytes, patience: float) -> bytes:
    with socket.create_connection((LOOPBACK, port), timeout=patience) as connection:
        connection.sendall(question)
        with connection.makefile("rb") as stream:
            return stream.readline()
