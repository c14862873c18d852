"""The rows of a run: what the source and the recipe together ask for, one `Seed` each.

A recipe that rewrites QAs takes one from the source a row; a recipe that needs a topic, or nothing, needs no source
and is asked so many times.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

import orjson

from smile_async.dialogue.model import QAPair
from smile_async.engine.feed import Unreadable
from smile_async.errors import SettingsError
from smile_async.prompt.recipe import Recipe
from smile_async.prompt.topics import Topic, draw_topic
from smile_async.settings import Intake
from smile_async.source.clean import MAX_CHARACTERS, SetAside, finder, load_words
from smile_async.source.prepare import prepare_pair
from smile_async.source.readers import Source, open_source, rows_from
from smile_async.source.rows import BadRow, ColumnMapping, SourceRow
from smile_async.source.sample import sample
from smile_async.values import light

Given = str | Path | Source | Iterable[QAPair | dict[str, Any]] | None
"""What a run may be given as its source: a file, a `Source`, QAs in memory, or None for recipes that need none."""


@light(frozen=True, slots=True)
class Seed:
    """What one dialogue grows from: a QA, a topic, or only its number (rows without a QA would be all alike)."""

    pair: QAPair | None = None
    topic: Topic | None = None
    number: int | None = None

    def dump(self) -> bytes:
        if self.pair is not None:
            pair = self.pair
            return orjson.dumps(
                {
                    "question": pair.question,
                    "description": pair.description,
                    "answer": pair.answer,
                    "source_id": pair.source_id,
                    "answer_index": pair.answer_index,
                    "keywords": pair.keywords,
                }
            )
        topic = None if self.topic is None else self.topic.model_dump()
        return orjson.dumps({"number": self.number, "topic": topic})

    @classmethod
    def load(cls, data: bytes) -> "Seed":
        values = orjson.loads(data)
        if "question" in values:
            return cls(pair=QAPair.model_validate(values))
        topic = values["topic"]
        return cls(topic=None if topic is None else Topic.model_validate(topic), number=values["number"])

    @property
    def source_id(self) -> str:
        return "" if self.pair is None else self.pair.source_id


def opened(given: Given, intake: Intake) -> Source | None:
    """The source behind what was given. Raises `SourceError` when a file cannot be used."""
    columns = ColumnMapping.parse(intake.columns) if intake.columns else ColumnMapping()
    if given is None:
        return None
    if isinstance(given, str | Path):
        return open_source(
            given,
            format=intake.format,
            columns=columns,
            skip_bad_rows=intake.skip_bad_rows,
            encoding=intake.encoding,
        )
    if hasattr(given, "estimate_rows"):
        return cast(Source, given)
    return rows_from(given, columns=columns, skip_bad_rows=intake.skip_bad_rows)


def expected_rows(source: Source | None, intake: Intake) -> int | None:
    """About how many rows there will be, before they are read; None when nothing can be said."""
    most = intake.sample or intake.limit
    known = source.estimate_rows() if source is not None else None
    return most if known is None else min(known, most or known)


def seeds(source: Source | None, recipe: Recipe, intake: Intake) -> Iterator[Seed | Unreadable]:
    """The rows, lazily. Rows that cannot be used come as `Unreadable` where the intake allows them to be skipped."""
    if recipe.needs != "qa":
        return _numbered(recipe, _how_many(source, recipe, intake), intake.seed)
    if source is None:
        raise SettingsError(f"Recipe {recipe.name!r} rewrites QAs, and no source was given.", hint="Name a file.")
    if intake.sample is not None:
        bad: list[BadRow] = []
        drawn = sample(source, n=intake.sample, first=intake.sample_from, seed=intake.seed, skipped=bad.append)
        rows: Iterable[SourceRow | BadRow] = [
            *bad,
            *(SourceRow(index, pair) for index, pair in enumerate(islice(drawn, intake.limit))),
        ]
    else:
        rows = islice(source, intake.limit)
    return _prepared(rows, recipe, intake)


def rows_identity(recipe: Recipe, intake: Intake) -> dict[str, Any]:
    """What of the intake shapes the rows: a run goes on only with the same. `limit` may grow, so it is left out."""
    if recipe.needs == "qa":
        clean, longest = _preparing(recipe, intake)
        drawn = [intake.sample, intake.sample_from, intake.seed] if intake.sample is not None else None
        words = [[word.old, word.new] for word in load_words()] if clean else []
        digest = hashlib.sha256(orjson.dumps(words)).hexdigest()[:16] if clean else None
        return {"words": digest, "max_characters": longest, "sample": drawn, "columns": intake.columns}
    return {"seed": intake.seed} if recipe.needs == "topic" else {}


def _preparing(recipe: Recipe, intake: Intake) -> tuple[bool, int | None]:
    """Whether QAs are cleaned, and the length they are cut to: for Chinese as the paper did, else only if told."""
    chinese = recipe.language.startswith("zh")
    clean = chinese if intake.clean is None else intake.clean
    return clean, intake.max_characters or (MAX_CHARACTERS if chinese else None)


def _how_many(source: Source | None, recipe: Recipe, intake: Intake) -> int:
    count = intake.limit or intake.sample
    if source is not None or count is None:
        raise SettingsError(
            f"Recipe {recipe.name!r} needs no source but a number of dialogues.",
            hint=f"smile generate - RUN --recipe {recipe.name} --limit 500",
        )
    return count


def _without_path(row: BadRow) -> str:
    """Where and why, the same however the path was typed: a run that goes on must know the row again."""
    field = f", field {row.error.field!r}" if row.error.field else ""
    return f"row {row.index + 1}{field}: {row.error.problem}"


def _numbered(recipe: Recipe, count: int, seed: int) -> Iterator[Seed]:
    for number in range(count):
        topic = draw_topic(seed, number, recipe.topics) if recipe.needs == "topic" else None
        yield Seed(topic=topic, number=number)


def _prepared(rows: Iterable[SourceRow | BadRow], recipe: Recipe, intake: Intake) -> Iterator[Seed | Unreadable]:
    clean, longest = _preparing(recipe, intake)
    words = load_words() if clean else ()
    holds_words = finder(words)
    most = sys.maxsize if longest is None else longest
    for row in rows:
        if isinstance(row, BadRow):
            yield Unreadable(_without_path(row))
            continue
        pair: QAPair | SetAside = row.pair
        question, description, answer = row.pair.question, row.pair.description, row.pair.answer
        if (
            len(question) + len(description) + len(answer) > most
            or holds_words(answer)
            or holds_words(description)
            or holds_words(question)
        ):
            pair = prepare_pair(row.pair, words, longest)
        if isinstance(pair, SetAside):
            yield Unreadable(f"row {row.index + 1}, field {pair.field!r}: {pair.code}")
        else:
            yield Seed(pair)
