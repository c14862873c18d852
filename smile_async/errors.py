"""One tree of errors. Each message says what happened, where, and what to do next.

The command line turns any `SmileError` into its message on stderr and `exit_code`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar

SHOWN = 80  # characters of a setting that differs
_DIGEST = re.compile("[0-9a-f]{16,64}")


class SmileError(Exception):
    """Anything this package raises on purpose.

    `hint` is the next step for a person; `str(error)` holds the message and the hint.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message}\n  {hint}" if hint else message)
        self.message = message
        self.hint = hint


class UsageError(SmileError):
    """The call itself is wrong: a flag, a setting, a file that is not there."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is missing, unknown or out of range."""


class RecipeError(UsageError):
    """A recipe file cannot be used; the message names the file and the key."""


class SourceError(UsageError):
    """A source file or one row of it cannot be used.

    `file` is the path as given, `row` counts from 1 (None: the file as a whole), `field` is the column or
    JSON key (None: the row as a whole). `skippable`: only this row is wrong, what follows can be read.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str,
        row: int | None = None,
        field: str | None = None,
        hint: str = "",
        skippable: bool = False,
    ) -> None:
        place = file
        if row is not None:
            place += f", row {row}"
        if field is not None:
            place += f", field {field!r}"
        super().__init__(f"{place}: {problem}", hint=hint)
        self.file = file
        self.row = row
        self.field = field
        self.problem = problem
        self.skippable = skippable


class CorpusError(UsageError):
    """A corpus cannot be opened, or one record of it not be read.

    `file` is the path as given, `row` the line of a JSONL file or the place in a JSON array or Parquet file, from 1
    (None: the file as a whole).
    """

    def __init__(self, problem: str, *, file: str, row: int | None = None, hint: str = "") -> None:
        super().__init__(f"{file}{'' if row is None else f', row {row}'}: {problem}", hint=hint)
        self.file = file
        self.row = row
        self.problem = problem


class RunNotFoundError(UsageError):
    """The folder named is not a run."""


class RunInUseError(UsageError):
    """Another process is working on this run."""


class NotLiveError(UsageError):
    """No process that could be asked is at work on this run."""


class RunMismatchError(UsageError):
    """The run was started with other settings; the message lists what differs."""


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line for each key whose value (as JSON has it) is another. A digest tells a person nothing: of two it is only
    said that they differ."""
    return [
        _difference(key, before.get(key), now.get(key))
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def _difference(key: str, before: Any, now: Any) -> str:
    if _is_digest(before) and _is_digest(now):
        return f"{key}: has another content than it had"
    return f"{key}: was {_shown(before)}, now {_shown(now)}"


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _shown(value: Any) -> str:
    if _is_digest(value):
        return f"one of digest {value[:8]}"
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


class StoppedError(SmileError):
    """The run stopped before its end and can be resumed; `reason` is a short code for programs."""

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class MissingExtraError(UsageError):
    """An optional part of the package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part.", hint=f"pip install 'smile-async[{extra}]'")
