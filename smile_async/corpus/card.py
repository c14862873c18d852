"""The card of a dataset folder: what a stranger must know before training on it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from smile_async.corpus.formats import RoleMap
from smile_async.corpus.statistics import UNITS, CorpusStatistics, Line, paper_table

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
          (10_000_000, "1M<n<10M"))  # fmt: skip

COLUMNS = {
    "id": "row id of the run that made it",
    "questionID": "the source's own id of the question",
    "question": "the question that the dialogue was rewritten from",
    "description": "what was said beside the question",
    "answer": "the answer that the dialogue was rewritten from",
    "answer_index": "which of the question's answers, from 0",
    "topic": "the topic that the dialogue was asked for",
    "topics": "topics that an annotator model gave the dialogue",
    "crisis": "whether one of them is a crisis topic",
    "flags": "what is odd about the dialogue, by code (`non-alternating`, ...)",
    "turns": "whole exchanges: utterances // 2",
    "dialogue": "the dialogue as it is: a list of role and content",
    "messages": "the same as trainers need it, user and assistant by turns; empty where no exchange is left",
}


@dataclass(frozen=True, slots=True)
class Making:
    """How a run made its dialogues; `source` is a file's name without its folders."""

    recipe: str
    version: str
    title: str
    language: str
    model: str
    source: str
    rules: Sequence[str]
    min_turns: int
    rows: int
    accepted: int
    set_aside: int
    sampling: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Card:
    """`language`: codes of it, `license`: an identifier of Hugging Face's list; `rows` by split; `columns` in their
    order; `crisis`: rows that are flagged, of `labelled` ones, None where nothing was labelled; `by_question`: the
    source's question of every row is known, so that the splits keep its dialogues together."""

    name: str
    language: str
    license: str
    roles: RoleMap
    rows: Mapping[str, int]
    columns: Sequence[str]
    found: CorpusStatistics
    crisis: int | None = None
    labelled: int = 0
    by_question: bool = True
    making: Making | None = None


def card_text(card: Card) -> str:
    """README.md: front matter, then prose and tables."""
    parts = [
        _front_matter(card),
        f"# {escaped(card.name)}\n\nMulti-turn dialogues for mental health support, made by a language model.",
        _ETHICS,
        _crisis(card),
        _contents(card),
        _statistics(card),
        "## How it was made\n\n" + (_making(card.making) if card.making else _UNKNOWN_MAKING),
        _USE.format(name=orjson.dumps(card.name).decode()),
    ]
    return "\n\n".join(parts) + "\n"


_ETHICS = """## Before you use it

- **It is no substitute for professional help**, and neither is a model that is trained on it. Nobody in need should be
  left with it; whoever is in danger needs a person: a local emergency number or crisis line.
- The dialogues are synthetic. No counselor has said these words, and no professional has reviewed each of them: advice
  in them may be wrong or harmful.
- They grow from what people asked in public. Do not try to find out who they are.
- The source may bind those who use what is derived from it: PsyQA's owner asks for a signed agreement.
- Evaluate a model that is trained on it with professionals before anyone talks to it, and keep a way to a person open.

It was written by the tools around the paper "SMILE: Single-turn to Multi-turn Inclusive Language Expansion via ChatGPT
for Mental Health Support" (Findings of EMNLP 2024), whose corpus and model were released for research."""

_UNKNOWN_MAKING = "This folder was exported from a corpus, not from a run: nothing is known about how it was made."

_USE = """## Use

```python
from datasets import load_dataset

rows = load_dataset({name})  # this folder, or its name on the hub
```

`dataset_info.json` holds the entries for LLaMA-Factory (`--dataset_dir` is this folder)."""


def _front_matter(card: Card) -> str:
    total = sum(card.rows.values())
    size = next((name for most, name in _SIZES if total < most), "n>10M")
    files = "\n".join(f"  - split: {split}\n    path: data/{split}-*" for split in card.rows)
    return f"""---
pretty_name: {_yaml(card.name)}
language:
- {_yaml(card.language)}
license: {_yaml(card.license)}
size_categories:
- {_yaml(size)}
task_categories:
- text-generation
tags:
- conversational
- mental-health
- synthetic
configs:
- config_name: default
  data_files:
{files}
---"""


def _crisis(card: Card) -> str:
    if card.crisis is None:
        return (
            "## Crisis topics\n\nThe dialogues were not labelled, so no column tells those about suicide or self-harm."
        )
    flagged = f"{card.crisis:,} of {card.labelled:,} labelled rows"
    unknown = card.found.dialogues - card.labelled
    rest = f" {unknown:,} rows have no label (null): nothing is known of them." if unknown else ""
    return (
        f"## Crisis topics\n\n`crisis` is true in {flagged}: an annotator model gave them one of the topics of crisis"
        " (suicide, self-harm and the like). Route them to people, or leave them out; the model may have overlooked"
        f" others.{rest}"
    )


_KEPT_TOGETHER = "All answers to one question are in one split."
_QUESTIONS_UNKNOWN = (
    "The source's questions are not known for all rows: dialogues that were made from one question may be in different"
    " splits."
)


def _contents(card: Card) -> str:
    splits = [(split, f"{rows:,}") for split, rows in card.rows.items()]
    columns = [(f"`{name}`", COLUMNS[name]) for name in card.columns]
    return (
        "## What it holds\n\n"
        f"{markdown_table(('Split', 'Dialogues'), splits)}\n\n"
        f"{_KEPT_TOGETHER if card.by_question else _QUESTIONS_UNKNOWN}\n\n"
        f"{markdown_table(('Column', 'Holds'), columns, raw=True)}\n\n"
        f"In `dialogue`, {escaped(card.roles.user)} is the client and {escaped(card.roles.assistant)} the counselor."
    )


def _statistics(card: Card) -> str:
    tables = [_rows(paper_table(card.found, unit)) for unit in UNITS]
    heads = ("", "Total", "Client", "Counselor")
    first, second = (markdown_table(heads, rows) for rows in tables)
    found = card.found
    return (
        "## Statistics\n\n"
        "By sentences, as Table 3 of the paper (which calls them utterances); a sentence ends with 。！ or ？:\n\n"
        f"{first}\n\nBy whole utterances, as Table 6:\n\n{second}\n\n"
        f"{found.below_min_turns:,} dialogues have fewer than five whole exchanges, in {found.non_alternating:,}"
        f" somebody speaks twice in a row, {found.opened_by_counselor:,} are opened by the counselor."
    )


def _rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    return [(line.name, *line.printed(",")) for line in lines]


def _making(making: Making) -> str:
    version = f" (version {making.version})" if making.version else ""
    facts = [
        ("Recipe", f"{making.recipe}{version}: {making.title}" if making.title else f"{making.recipe}{version}"),
        ("Model", making.model or "not told"),
        ("Sampling", ", ".join(f"{name} {value}" for name, value in making.sampling.items()) or "the server's own"),
        ("Source", making.source or "not told"),
        ("Rules", f"{', '.join(making.rules)}; at least {making.min_turns} exchanges"),
        ("Rows asked for", f"{making.rows:,}"),
        ("Accepted", f"{making.accepted:,}"),
        ("Set aside", f"{making.set_aside:,}"),
        *((f"Set aside: {reason}", f"{rows:,}") for reason, rows in making.reasons.items()),
    ]
    return markdown_table(("What", ""), facts)


def _yaml(text: str) -> str:
    """Quoted, as JSON does it: YAML reads that, and takes a bare `no` for false."""
    return orjson.dumps(text).decode()


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, raw: bool = False) -> str:
    """A GitHub table, numbers to the right where the first row has them; `raw`: the cells are Markdown already."""
    number = [bool(re.fullmatch(r"[-\d.,]+", cell)) for cell in rows[0]] if rows else [False] * len(columns)
    rule = ["---:" if right else "---" for right in number]
    shown = [columns, *(row if raw else [escaped(cell) for cell in row] for row in rows)]
    lines = ["| " + " | ".join(row) + " |" for row in shown]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def escaped(text: str) -> str:
    """Text from outside as Markdown that shows it and nothing else, on one line; as GitHub and Hugging Face read it.

    A backslash does not keep them from formulas ($), mentions and mail addresses (@) and emoji (:smile:), which they
    look for in what was rendered: a sign that stands in an element of its own is none of these.
    """
    one_line = re.sub(r"([\\`*_<>\[\]|#&~])", r"\\\1", " ".join(text.split()))
    unlinked = re.sub(r"\b(www)(?=\.)", r"\1\\", one_line.replace("://", "\\://"), flags=re.IGNORECASE)
    return re.sub(r"(\$|@(?=\w)|:(?=[\w+-]+:))", r"<span>\1</span>", unlinked)
