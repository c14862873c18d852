"""One tree of errors. Each message says what happened, where, and what to do next.

The command line turns any `SmileError` into its message on stderr and `exit_code`.
"""

from typing import ClassVar


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


class StoppedError(SmileError):
    """The run stopped before its end and can be resumed; `reason` is a short code for programs."""

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class MissingExtraError(UsageError):
    """An optional part of the package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part.", hint=f"pip install 'smile-async[{extra}]'")
