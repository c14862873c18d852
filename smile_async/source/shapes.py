"""Rows of the usual types, seen through at a third of what `rows_of` costs. What is odd in any way is left to it."""

from dataclasses import dataclass
from typing import Any

from smile_async.dialogue.model import QAPair
from smile_async.source.rows import ColumnMapping

KEPT = 64  # shapes remembered: rows of one file have one, or a few


@dataclass(frozen=True, slots=True)
class Shape:
    """Which keys of a row hold what; None: no key does."""

    question: str
    description: str | None
    answer: str
    id: str | None
    answer_index: str | None
    keywords: str | None


class Shapes:
    """Finds the columns once for all rows with the same keys. Only for text that holds no lone surrogates, such as
    JSON's parser and decoded bytes give: nothing is validated a second time."""

    def __init__(self, columns: ColumnMapping) -> None:
        self._columns = columns
        self._known: dict[tuple[str, ...], Shape | None] = {}

    def pairs(self, item: Any) -> list[QAPair] | None:
        """What `rows_of` gives, where all is as it should be; None: ask it, also for the words of an error."""
        if type(item) is not dict:
            return None
        keys = tuple(item)
        shape = self._known[keys] if keys in self._known else self._learn(keys)
        if shape is None:
            return None
        question = item[shape.question]
        description = "" if shape.description is None else item[shape.description]
        source_id = "" if shape.id is None else item[shape.id]
        keywords = "" if shape.keywords is None else item[shape.keywords]
        if type(source_id) is int:
            source_id = str(source_id)
        words = _words(keywords)
        if words is None or not (_says(question) and type(description) is str and type(source_id) is str):
            return None
        texts, first = _answers(item, shape)
        if not texts or None in texts:
            return None
        return [
            QAPair.trusted(question, description, text, source_id, index, words)
            for index, text in enumerate(texts, first)
            if text is not None
        ]

    def _learn(self, keys: tuple[str, ...]) -> Shape | None:
        if len(self._known) >= KEPT:
            self._known.clear()
        columns, names = self._columns, list(keys)
        question, answer = columns.find("question", names), columns.find("answer", names)
        shape = None
        if question is not None and answer is not None and columns.missing_in(names) is None:
            rest = {key: columns.find(key, names) for key in ("description", "id", "answer_index", "keywords")}
            shape = Shape(question=question, answer=answer, **rest)
        self._known[keys] = shape
        return shape


def _says(text: Any) -> bool:
    return type(text) is str and text != "" and not text.isspace()


def _answers(item: dict[str, Any], shape: Shape) -> tuple[list[str | None], int]:
    """The answers, None for what is none, and the index of the first."""
    answers = item[shape.answer]
    if type(answers) is list:
        return [_listed(answer) for answer in answers], 0
    index = 0 if shape.answer_index is None else item[shape.answer_index]
    return ([answers], index) if _says(answers) and type(index) is int and index >= 0 else ([], 0)


def _listed(answer: Any) -> str | None:
    if type(answer) is dict:
        answer = answer.get("answer_text") if "answer_text" in answer else answer.get("answer")
    return answer if _says(answer) else None


def _words(keywords: Any) -> tuple[str, ...] | None:
    """PsyQA writes "a,b"; our own format a list."""
    if type(keywords) is list:
        return tuple(keywords) if all(type(word) is str for word in keywords) else None
    if type(keywords) is not str:
        return None
    return tuple([word for piece in keywords.replace("，", ",").split(",") if (word := piece.strip())])
