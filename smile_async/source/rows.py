"""One parsed object (JSON row, CSV row, Parquet row, dict in memory) becomes QA pairs, or a problem that says what is
wrong with it.

Both shapes are understood: flat rows `{question, description, answer, ...}` and PsyQA's, whose `answers` list makes one
row of each answer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self

from pydantic import ValidationError

from smile_async.dialogue.model import QAPair
from smile_async.errors import SettingsError, SourceError

EXACT_FLOAT = 2**53  # beyond it a float no longer tells one integer from the next
SHOWN_CHARACTERS = 40  # of a wrong value, in a message


@dataclass(frozen=True, slots=True)
class SourceRow:
    """`index` counts from 0 among all rows of the source, the bad ones included."""

    index: int
    pair: QAPair


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row set aside; `index` as in `SourceRow`, `error.row` is `index + 1`."""

    index: int
    error: SourceError


@dataclass(frozen=True, slots=True)
class RowProblem:
    """Why one row cannot be used, before anybody knows its number."""

    problem: str
    field: str | None = None
    hint: str = ""

    def at(self, file: str, index: int) -> SourceError:
        return SourceError(self.problem, file=file, row=index + 1, field=self.field, hint=self.hint, skippable=True)


class RowRejected(Exception):  # noqa: N818 - never leaves this folder: it carries a RowProblem to its reader
    def __init__(self, problem: str, field: str | None = None, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = RowProblem(problem, field, hint)


_DEFAULTS: dict[str, tuple[str, ...]] = {
    "question": ("question",),
    "description": ("description",),
    "answer": ("answers", "answer", "answer_text"),
    "id": ("questionID", "question_id", "source_id", "id"),
    "answer_index": ("answer_index",),
    "keywords": ("keywords",),
}


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Which column or JSON key holds what. None: the usual names (`question`, `description`, `answer` or PsyQA's
    `answers`, `questionID` or `question_id` or `source_id` or `id`, `answer_index`, `keywords`).

    A name that is given must be there in every row; a usual one may be missing, but for question and answer.
    The column of the answer may hold a list: of texts, or of objects with `answer_text`.
    """

    question: str | None = None
    description: str | None = None
    answer: str | None = None
    id: str | None = None
    answer_index: str | None = None
    keywords: str | None = None

    _names: dict[str, tuple[str, ...]] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        given = {key: getattr(self, key) for key in _DEFAULTS}
        names = {key: _DEFAULTS[key] if name is None else (name,) for key, name in given.items()}
        object.__setattr__(self, "_names", names)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `question=title,description=body,answer=reply,id=qid`. `SettingsError` when it is not of that form."""
        known = list(_DEFAULTS)
        named: dict[str, str] = {}
        for part in filter(None, (piece.strip() for piece in text.split(","))):
            key, equals, column = (piece.strip() for piece in part.partition("="))
            if not equals or not column or key not in known or key in named:
                raise SettingsError(
                    f"The column mapping {text!r} cannot be read at {part!r}.",
                    hint=f"Write each of {', '.join(known)} at most once, as in 'question=title,answer=reply'.",
                )
            named[key] = column
        return cls(**named)

    def find(self, key: str, columns: Iterable[str] | Mapping[str, Any]) -> str | None:
        """The column that holds `key` among `columns`; None when there is none."""
        for name in self._names[key]:
            if name in columns:
                return name
        return None

    def missing_in(self, columns: list[str]) -> str | None:
        """The first name that is needed and not among `columns`: for tables, whose header says it for every row."""
        for key in _DEFAULTS:
            needed = key in {"question", "answer"} or getattr(self, key) is not None
            if needed and self.find(key, columns) is None:
                return getattr(self, key) or key
        return None


USUAL_COLUMNS = ColumnMapping()


def rows_of(item: Any, columns: ColumnMapping) -> list[QAPair | RowProblem]:
    """One entry for each answer of `item`; what is wrong with the question makes every answer of it a problem."""
    if type(item) is not dict:
        return [RowProblem(f"a row must be a JSON object, found {found(item)}")]
    key = columns.find("answer", item)
    answers = item.get(key) if key is not None else None
    if type(answers) is not list:
        return [_one(item, columns, key)]
    if not answers:
        return [RowProblem("the question has no answer", key)]
    try:
        shared = _shared(item, columns)
    except RowRejected as bad:
        return [bad.problem] * len(answers)
    return [_answer_row(shared, answer, f"{key}[{place}]", place) for place, answer in enumerate(answers)]


def _one(item: dict[str, Any], columns: ColumnMapping, key: str | None) -> QAPair | RowProblem:
    try:
        shared = _shared(item, columns)
        answer = _text(item, key or columns.answer or "answer")
        return _pair(shared, answer, _answer_index(item, columns))
    except RowRejected as bad:
        return bad.problem


def _answer_row(shared: dict[str, Any], answer: Any, place: str, index: int) -> QAPair | RowProblem:
    try:
        return _pair(shared, _listed_answer(answer, place), index)
    except RowRejected as bad:
        return bad.problem


def _listed_answer(answer: Any, place: str) -> str:
    if type(answer) is not dict:
        return _checked(answer, place)
    key = "answer" if "answer" in answer and "answer_text" not in answer else "answer_text"
    if key not in answer:
        raise RowRejected("the field is missing", f"{place}.{key}", _names_hint(answer))
    return _checked(answer[key], f"{place}.{key}")


def _shared(item: dict[str, Any], columns: ColumnMapping) -> dict[str, Any]:
    """What all answers of one question have in common, as arguments of `QAPair`."""
    return {
        "question": _text(item, columns.find("question", item) or columns.question or "question"),
        "description": _description(item, columns),
        "source_id": _identity(item, columns),
        "keywords": _keywords(item, columns),
    }


def _text(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    if type(value) is str and value and not value.isspace():
        return value
    if value is None and key not in item:
        raise RowRejected("the field is missing", key, _names_hint(item))
    return _checked(value, key)


def _checked(value: Any, place: str) -> str:
    if type(value) is not str:
        raise RowRejected(f"must be text, found {found(value)}", place)
    if not value or value.isspace():
        raise RowRejected("must not be empty", place, "A row needs a question and an answer.")
    return value


def _optional(item: dict[str, Any], columns: ColumnMapping, key: str) -> tuple[str, Any]:
    """Column and value; a column that the user named must be there, a usual one need not."""
    name = columns.find(key, item)
    if name is None:
        given = getattr(columns, key)
        if given is not None:
            raise RowRejected("the field is missing", given, _names_hint(item))
        return key, None
    return name, item[name]


def _description(item: dict[str, Any], columns: ColumnMapping) -> str:
    name, value = _optional(item, columns, "description")
    if value is None:
        return ""
    if type(value) is not str:
        raise RowRejected(f"must be text, found {found(value)}", name)
    return value


def _identity(item: dict[str, Any], columns: ColumnMapping) -> str:
    name, value = _optional(item, columns, "id")
    if value is None:
        return ""
    if type(value) is str:
        return value
    number = _integer(value)
    if number is None:
        raise RowRejected(f"must be text or a whole number, found {found(value)}", name)
    return str(number)


def _answer_index(item: dict[str, Any], columns: ColumnMapping) -> int:
    name, value = _optional(item, columns, "answer_index")
    if value is None or value == "":
        return 0
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    number = _integer(value)
    if number is None or number < 0:
        raise RowRejected(f"must be a whole number from 0, found {found(value)}", name)
    return number


def _integer(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float | Decimal) and abs(float(value)) < EXACT_FLOAT and value == int(value):
        return int(value)  # a Parquet column of ids with nulls in it arrives as floats
    return None


def _keywords(item: dict[str, Any], columns: ColumnMapping) -> tuple[str, ...]:
    """PsyQA writes "a,b"; our own format a list."""
    name, value = _optional(item, columns, "keywords")
    if value is None:
        return ()
    if type(value) is str:
        return tuple(word for piece in value.replace("，", ",").split(",") if (word := piece.strip()))
    if type(value) is list and all(type(word) is str for word in value):
        return tuple(value)
    raise RowRejected(f"must be text such as 'a,b' or a list of texts, found {found(value)}", name)


def _pair(shared: dict[str, Any], answer: str, answer_index: int) -> QAPair:
    try:
        return QAPair(answer=answer, answer_index=answer_index, **shared)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "string_unicode":
            raise RowRejected(LONE_SURROGATE, field, SURROGATE_HINT) from None
        raise RowRejected(first["msg"], field) from None


LONE_SURROGATE = "holds half of a surrogate pair (such as \\ud800 alone), which is no character"
SURROGATE_HINT = "An emoji was cut in two where this file was made; remove or complete it."


def _names_hint(item: dict[str, Any]) -> str:
    names = ", ".join(str(name) for name in list(item)[:12]) or "nothing"
    return f"The row holds: {names}. Name other columns with a mapping such as 'question=title,answer=reply'."


def found(value: Any) -> str:
    """A wrong value in words, short enough for one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return f"the number {abbreviated(str(value))}"
    if isinstance(value, str):
        return f"the text {abbreviated(repr(value))}"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return f"a {type(value).__name__}"


def abbreviated(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
