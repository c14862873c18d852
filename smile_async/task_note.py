"""What a run of another task than dialogue generation says of itself. Light: `smile status` reads it."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from smile_async.engine import account
from smile_async.errors import RunNotFoundError, UsageError

TASK = "task"  # the key of a `TaskNote`
DIALOGUE = "dialogue"  # the task of runs that have none


class NotDialoguesError(UsageError):
    """The run holds other results than dialogues; the hint says which command is its own."""


@dataclass(frozen=True, slots=True)
class TaskNote:
    """What a run of another task than dialogue generation says of itself. `command` is what to call to go on with it
    (empty: nobody can say), `files` are the names of its results in the run folder."""

    name: str
    command: str = ""
    files: tuple[str, ...] = ()

    @property
    def go_on(self) -> str:
        """What to do next, for a person."""
        return f"Go on with: {self.command}" if self.command else "Go on with the call that started it."


def read_task_note(reader: sqlite3.Connection) -> TaskNote | None:
    """None: a run of dialogues."""
    noted = account.read_meta(reader, TASK)
    return None if noted is None else TaskNote(noted["name"], noted["command"], tuple(noted["files"]))


def check_dialogues(reader: sqlite3.Connection, folder: Path) -> None:
    """Raises `NotDialoguesError` for a run of another task, `RunNotFoundError` for one that never began."""
    note = read_task_note(reader)
    if note is not None:
        again = " (with --retry: also for what was set aside)" if note.command else ""
        raise NotDialoguesError(f"{folder} holds {note.name}, no dialogues.", hint=note.go_on + again)
    if account.read_meta(reader, "recipe") is None:
        raise RunNotFoundError(f"{folder}: the run ended before its first row.", hint="Start it again.")
