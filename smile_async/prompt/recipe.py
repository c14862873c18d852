"""A recipe: what to ask and what a good answer looks like. Method = template + roles + language + rules, as data.

Built-in recipes are files under `data/recipes`; a user's own is one TOML file, which may extend another.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from smile_async.dialogue.model import QAPair
from smile_async.dialogue.rules import DialogueFormat
from smile_async.dialogue.steps import read_steps
from smile_async.errors import RecipeError, SettingsError
from smile_async.prompt.document import Document, invalid, read_document
from smile_async.prompt.template import QA, QA_SLOTS, TOPIC_SLOTS, fill, slots_in
from smile_async.prompt.topics import Topic, load_topics, numbered, read_topics
from smile_async.settings import Sampling

Messages: TypeAlias = tuple[tuple[str, str], ...]
"""Chat messages as (role, content); the role is system, user or assistant."""

_OWN_KEYS = ("name", "title", "description", "extends")  # never taken over from the recipe that is extended
_WHOLE_KEYS = ("roles",)  # replaced, not merged: other roles are other speakers
_RECIPES = files("smile_async.prompt") / "data" / "recipes"


class Example(BaseModel):
    """A worked example before the real question (few-shot), word for word: slots are not filled here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str = Field(min_length=1)
    assistant: str = Field(min_length=1)


class Recipe(BaseModel):
    """`needs` says what a row is: a QA pair, a topic drawn for the row, or nothing but its number.

    `template` (the user message) and `system` hold the slots `{QA}`, `{question}`, `{description}`, `{answer}`, or
    `[Dialogue Topic]`, `{topic}`, `{topic_definition}`; `qa` says how a pair is written where `{QA}` stands.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    version: str = "1"
    title: str = ""
    description: str = ""
    language: str = "zh"
    needs: Literal["qa", "topic", "nothing"] = "qa"
    system: str = ""
    template: str = Field(min_length=1)
    qa: str = "求助者: {question}{description}\n支持者: {answer}"
    examples: tuple[Example, ...] = ()
    format: DialogueFormat
    sampling: Sampling = Sampling()
    topics: tuple[Topic, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _hands_its_language_on(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("format"), dict) and "language" in data:
            return {**data, "format": {"language": data["language"], **data["format"]}}
        return data

    @field_validator("topics", mode="before")
    @classmethod
    def _finds_its_topics(cls, topics: Any) -> Any:
        if isinstance(topics, str):
            return topics_named(topics, Path())
        return numbered(topics) if isinstance(topics, list) else topics

    @model_validator(mode="after")
    def _asks_for_what_it_needs(self) -> "Recipe":
        used = slots_in(self.template) | slots_in(self.system)
        about_pair, about_topic = used & (QA_SLOTS | {QA}), used & TOPIC_SLOTS
        if self.needs != "qa" and about_pair:
            raise ValueError(f"the template uses {min(about_pair)} while needs = {self.needs!r}: set needs = 'qa'")
        if self.needs != "topic" and about_topic:
            raise ValueError(f"the template uses {min(about_topic)} while needs = {self.needs!r}: set needs = 'topic'")
        if self.needs != "nothing" and not used:
            slot = "{QA}" if self.needs == "qa" else "[Dialogue Topic]"
            raise ValueError(f"needs = {self.needs!r} and the template has no slot for it: write {slot} into it")
        if self.needs == "topic" and not self.topics:
            raise ValueError(
                "needs = 'topic' and there are none: set topics = 'builtin-zh', 'builtin-en', a file, a list"
            )
        if strange := slots_in(self.qa) - QA_SLOTS:
            raise ValueError(f"qa uses {min(strange)}: only {{question}}, {{description}} and {{answer}} stand in it")
        if self.format.language != self.language:
            raise ValueError(f"language is {self.language!r} and format.language {self.format.language!r}: say it once")
        return self

    def render(self, pair: QAPair | None = None, topic: Topic | None = None) -> Messages:
        """The messages for one row. What a pair or topic holds goes in verbatim, braces and slot names included."""
        if self.needs == "qa" and pair is None:
            raise RecipeError(f"Recipe {self.name!r} rewrites QA pairs, and none was given.", hint="Pass pair=.")
        if self.needs == "topic" and topic is None:
            raise RecipeError(f"Recipe {self.name!r} needs a topic, and none was given.", hint="Use draw_topic.")
        values = self._values(pair, topic)
        user = ("user", fill(self.template, values, self.qa))
        if not (self.system or self.examples):
            return (user,)
        messages = [("system", fill(self.system, values, self.qa))] if self.system else []
        for example in self.examples:
            messages += (("user", example.user), ("assistant", example.assistant))
        return (*messages, user)

    def _values(self, pair: QAPair | None, topic: Topic | None) -> dict[str, str]:
        values: dict[str, str] = {}
        if pair is not None:
            values = {"{question}": pair.question, "{description}": pair.description, "{answer}": pair.answer}
        if topic is not None:
            # The paper's slot holds a topic with its definition (the client of its Figure 20 retells that of topic 1),
            # and its template puts the full stop.
            values["[Dialogue Topic]"] = topic.text.rstrip("。.")
            values |= {"{topic}": topic.name, "{topic_definition}": topic.definition}
        return values

    def salvaging(self, steps: str | Sequence[str] | None) -> "Recipe":
        """The recipe with these steps of salvage in place of its own; None: as it is. Raises `SettingsError`."""
        if steps is None:
            return self
        try:
            wanted = read_steps(steps)
        except ValueError as error:
            raise SettingsError(f"salvage: {error}.") from error
        salvage = self.format.salvage.model_copy(update={"steps": wanted})
        return self.model_copy(update={"format": self.format.model_copy(update={"salvage": salvage})})

    @property
    def digest(self) -> str:
        """SHA-256 over what shapes the request: name, version, messages, sampling and the topics drawn from. The rules
        are left out: they can change and be applied again to answers already paid for. Stable across releases."""
        shape: dict[str, Any] = {
            "recipe": [self.name, self.version, self.needs],
            "messages": [self.system, self.template, self.qa],
            "examples": [[example.user, example.assistant] for example in self.examples],
            "sampling": self.sampling.model_dump(mode="json", exclude_none=True),
            "topics": [[topic.name, topic.definition] for topic in self.topics] if self.needs == "topic" else [],
        }
        return _hash(shape)

    @property
    def rules_digest(self) -> str:
        """SHA-256 over what decides whether an answer is accepted."""
        return _hash(self.format.model_dump(mode="json"))


def _hash(shape: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(shape, ensure_ascii=False, sort_keys=True).encode()).hexdigest()


def builtin_recipes() -> tuple[str, ...]:
    """Names that `load_recipe` knows, sorted."""
    return tuple(sorted(file.name.removesuffix(".toml") for file in _RECIPES.iterdir() if file.name.endswith(".toml")))


def recipe_text(name: str) -> str:
    """A built-in recipe's file, word for word. Raises `RecipeError` for a name that is none."""
    if name not in builtin_recipes():
        raise _unknown(name)
    return (_RECIPES / f"{name}.toml").read_text("utf-8")


def load_recipe(name_or_path: str | os.PathLike[str]) -> Recipe:
    """A built-in recipe by its name, or the file at a path: a path ends in .toml or has a separator in it.

    Raises RecipeError, which names the file, the line and the key.
    """
    documents, data = _chain(os.fspath(name_or_path), Path(), ())
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise invalid(error, documents) from error


def topics_named(topics: str, folder: Path) -> tuple[Topic, ...]:
    """`builtin-zh`, `builtin-en`, or the topics of a TOML file; `folder` is where a relative path starts."""
    if topics.startswith("builtin-"):
        return load_topics(topics.removeprefix("builtin-"))
    return read_topics(folder / topics)


def _chain(wanted: str, folder: Path, extended_by: tuple[str, ...]) -> tuple[list[Document], dict[str, Any]]:
    """The recipe's document and those it extends, nearest first, and what they say together."""
    document, home = _find(wanted, folder)
    if document.name in extended_by:
        circle = " extends ".join((*extended_by[extended_by.index(document.name) :], document.name))
        raise RecipeError(f"{circle}: a circle.", hint="Take one extends away.")
    data = dict(document.data)
    if isinstance(data.get("topics"), str):
        data["topics"] = topics_named(data["topics"], home)
    base = data.pop("extends", None)
    if base is None:
        return [document], data
    if not isinstance(base, str):
        raise RecipeError(f"{document.place(('extends',))}: is not a recipe's name or path.")
    documents, inherited = _chain(base, home, (*extended_by, document.name))
    kept = {key: value for key, value in inherited.items() if key not in _OWN_KEYS}
    if "language" in data and isinstance(kept.get("format"), dict):
        kept["format"] = {key: value for key, value in kept["format"].items() if key != "language"}
    return [document, *documents], _merged(kept, data)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        both_tables = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merged(base[key], value) if both_tables and key not in _WHOLE_KEYS else value
    return merged


def _find(wanted: str, folder: Path) -> tuple[Document, Path]:
    """The document, and the folder from which its own paths start."""
    if wanted.endswith(".toml") or "/" in wanted or os.sep in wanted:
        path = folder / Path(wanted).expanduser()
        return read_document(path, str(path)), path.parent
    if wanted not in builtin_recipes():
        raise _unknown(wanted)
    return read_document(_RECIPES / f"{wanted}.toml", wanted), Path()


def _unknown(name: str) -> RecipeError:
    return RecipeError(
        f"There is no recipe {name!r}.",
        hint=f"Built in: {', '.join(builtin_recipes())}. A recipe of your own is a path that ends in .toml.",
    )
