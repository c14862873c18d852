"""The three values everything else speaks of: a QA pair, an utterance, a dialogue."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field


class QAPair(BaseModel):
    """One question with one answer: one row of work.

    PsyQA gives a question several answers; each is a `QAPair` of its own (`answer_index` counts from 0).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(min_length=1)
    description: str = ""
    answer: str = Field(min_length=1)
    source_id: str = ""
    """The source's own id (PsyQA: `questionID`), as text; empty when it has none."""
    answer_index: int = Field(default=0, ge=0)
    keywords: tuple[str, ...] = ()

    @classmethod
    def trusted(
        cls,
        question: str,
        description: str,
        answer: str,
        source_id: str,
        answer_index: int,
        keywords: tuple[str, ...],
    ) -> Self:
        """What a reader has looked at field by field, not validated again: half the cost, and of `model_construct`."""
        pair = cls.__new__(cls)
        fields = {
            "question": question,
            "description": description,
            "answer": answer,
            "source_id": source_id,
            "answer_index": answer_index,
            "keywords": keywords,
        }
        put = object.__setattr__  # as pydantic itself fills a frozen model
        put(pair, "__dict__", fields)
        put(pair, "__pydantic_fields_set__", set(fields))
        put(pair, "__pydantic_extra__", None)
        put(pair, "__pydantic_private__", None)
        return pair


class Utterance(BaseModel):
    """What one speaker says without interruption. `role` is a role name of the recipe (SMILE: client, counselor)."""

    model_config = ConfigDict(frozen=True)

    role: str
    content: str


class Dialogue(BaseModel):
    """A multi-turn dialogue. A turn is one exchange: `turns == len(utterances) // 2` (paper notes, Filtering)."""

    model_config = ConfigDict(frozen=True)

    utterances: tuple[Utterance, ...]

    @property
    def turns(self) -> int:
        return len(self.utterances) // 2

    @property
    def alternates(self) -> bool:
        """False when somebody speaks twice in a row: 567 times in the released corpus; kept and flagged."""
        return all(a.role != b.role for a, b in zip(self.utterances, self.utterances[1:], strict=False))
