"""The dialogue topics that `standardT` draws from: Appendix G's 60, in Chinese and English, or a user's own."""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from smile_async.errors import RecipeError
from smile_async.prompt.document import Document, invalid, read_document


class Topic(BaseModel):
    """`index` counts from 1, as in Figures 14 to 17; the two languages are aligned by it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int = Field(ge=1)
    name: str = Field(min_length=1)
    definition: str = ""

    @property
    def text(self) -> str:
        """Name and definition as the paper's figures print a topic: `择偶：不知道如何……`, `Loss: Loss of ...`."""
        colon = ": " if self.name.isascii() else "："
        return f"{self.name}{colon}{self.definition}" if self.definition else self.name


_TOPICS = TypeAdapter(tuple[Topic, ...])


@cache
def load_topics(language: str) -> tuple[Topic, ...]:
    """The 60 topics of Appendix G. `language` is zh (Figures 14, 15) or en (Figures 16, 17)."""
    if language not in ("zh", "en"):
        raise RecipeError(f"There are no built-in topics in {language!r}.", hint="There are zh and en.")
    name = f"topics-{language}.toml"
    return _from_document(read_document(files("smile_async.prompt") / "data" / name, name))


def read_topics(path: Path) -> tuple[Topic, ...]:
    """Topics of a user's own: a TOML file of `[[topics]]` tables with `name` and, if wanted, `definition`."""
    return _from_document(read_document(path, str(path)))


def _from_document(document: Document) -> tuple[Topic, ...]:
    listed = document.data.get("topics")
    if not isinstance(listed, list) or not listed:
        raise RecipeError(f"{document.name}: holds no topics.", hint="Write one [[topics]] table with a name for each.")
    try:
        return _TOPICS.validate_python(numbered(listed))
    except ValidationError as error:
        raise invalid(error, [document], under=("topics",)) from error


def numbered(listed: Sequence[Any]) -> list[Any]:
    """Topics written as names or as tables, given their index; anything else is left for validation to name."""
    return [
        {"index": index, "name": topic}
        if isinstance(topic, str)
        else {"index": index, **topic}
        if isinstance(topic, dict)
        else topic
        for index, topic in enumerate(listed, 1)
    ]


def draw_topic(seed: int, ordinal: int, topics: Sequence[Topic]) -> Topic:
    """The topic of row `ordinal`: uniform over `topics`, and the same in every process and in whatever order rows run.

    `topics` is not empty.
    """
    digest = hashlib.blake2b(f"{seed}:{ordinal}".encode(), digest_size=8).digest()
    return topics[int.from_bytes(digest) % len(topics)]  # 2**64 over 60: the bias is below 1e-17
