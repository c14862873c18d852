"""Dialogues to look at: some of the accepted and some of each reason of rejection, drawn by seed."""

import random
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from smile_async.corpus.formats import Record
from smile_async.dialogue.model import QAPair
from smile_async.dialogue.parse import without_escapes
from smile_async.dialogue.rules import DialogueFormat
from smile_async.dialogue_task import load_dialogue
from smile_async.engine import history
from smile_async.engine.account import ACCEPTED
from smile_async.rows import Seed

LONGEST = 12_000  # characters of one sample: a loop of a model that never ended fills no page
NOBODY = ""  # role of a line before which no label stands


@dataclass(frozen=True, slots=True)
class Sample:
    """`reason` is `accepted` or a rule's code, `end` what became of its row (accepted, set-aside, or empty: pending),
    `said` role and text, the role empty where a line has no speaker; `cut` characters were left out at the end.
    `topic` is what it was asked for, `topics` what it was labelled with."""

    reason: str
    row_id: str
    source_id: str
    said: tuple[tuple[str, str], ...]
    end: str = ACCEPTED
    detail: str = ""
    endpoint: str = ""
    flags: tuple[str, ...] = ()
    pair: QAPair | None = None
    topic: str = ""
    cut: int = 0
    topics: tuple[str, ...] = ()
    crisis: bool = False

    def as_json(self) -> dict[str, Any]:
        """Short names: there may be hundreds."""
        pair = None if self.pair is None else [self.pair.question, self.pair.description, self.pair.answer]
        told = {
            "reason": self.reason,
            "id": self.row_id,
            "source": self.source_id,
            "end": self.end,
            "detail": self.detail,
            "endpoint": self.endpoint,
            "flags": list(self.flags),
            "pair": pair,
            "topic": self.topic,
            "cut": self.cut,
            "topics": list(self.topics),
            "crisis": self.crisis,
        }
        return {"said": [list(one) for one in self.said]} | {name: value for name, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class Samples:
    """`of` says how many there are of each reason, of which these were drawn."""

    samples: tuple[Sample, ...] = ()
    of: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many to draw. `accepted=0, rejected=0` keeps dialogue text out of the page."""

    accepted: int = 80
    rejected: int = 10
    seed: int = 0


Label = Callable[[Record], Record]
"""Gives a record the topics that an annotation has of it."""


def run_samples(
    connection: sqlite3.Connection, form: DialogueFormat, wanted: Wanted, label: Label = lambda record: record
) -> Samples:
    """From a run of dialogues. The rest of a row stays in the ledger: only what is drawn is read."""
    draw = random.Random(wanted.seed)
    accepted = history.accepted_rows(connection)
    rejected = history.rejected_replies(connection)
    ordinals = _drawn(draw, accepted, wanted.accepted)
    samples = [_of_row(row, label) for row in history.rows_with_values(connection, ordinals)]
    for attempts in (rejected[reason] for reason in sorted(rejected)):
        chosen = _drawn(draw, attempts, wanted.rejected)
        samples += [_of_reply(reply, form) for reply in history.replies(connection, chosen)]
    of = {ACCEPTED: len(accepted)} | {reason: len(attempts) for reason, attempts in rejected.items()}
    return Samples(tuple(samples), of, wanted.seed)


def corpus_samples(records: Iterable[Record], wanted: Wanted, label: Label = lambda record: record) -> Samples:
    """From a corpus that is read once: each record has the same chance (a reservoir), kept in the corpus's order."""
    draw, kept, count = random.Random(wanted.seed), list[tuple[int, Record]](), 0
    for count, record in enumerate(records, start=1):
        if len(kept) < wanted.accepted:
            kept.append((count, record))
        elif (place := draw.randrange(count)) < wanted.accepted:
            kept[place] = (count, record)
    samples = tuple(_of_record(label(record)) for _, record in sorted(kept, key=lambda one: one[0]))
    return Samples(samples, {ACCEPTED: count}, wanted.seed)


def _drawn(draw: random.Random, numbers: Sequence[int], most: int) -> list[int]:
    return sorted(draw.sample(numbers, min(most, len(numbers))))


def _of_row(row: history.AcceptedRow, label: Label) -> Sample:
    pair, topic = _grown_from(row.item)
    record = Record(row.row_id, row.source_id, pair, load_dialogue(row.value), row.flags, topic=topic)
    return replace(_of_record(label(record)), endpoint=row.endpoint)


def _of_reply(reply: history.JudgedReply, form: DialogueFormat) -> Sample:
    pair, topic = _grown_from(reply.item)
    said, cut = _bounded(spoken_lines(reply.text, form))
    return Sample(
        reply.verdict, reply.row_id, reply.source_id, said, end=reply.state, detail=reply.detail,
        endpoint=reply.endpoint, pair=pair, topic=topic, cut=cut,
    )  # fmt: skip


def _of_record(record: Record) -> Sample:
    said, cut = _bounded([(one.role, one.content) for one in record.dialogue.utterances])
    return Sample(
        ACCEPTED, record.row_id, record.source_id, said, flags=record.flags, pair=record.pair, topic=record.topic,
        cut=cut, topics=record.topics, crisis=bool(record.crisis),
    )  # fmt: skip


def spoken_lines(text: str, form: DialogueFormat) -> list[tuple[str, str]]:
    """A rejected answer line by line: nothing is mended and nothing left out, so that a person sees what was wrong."""
    lines: list[tuple[str, str]] = []
    for raw in without_escapes(text).split("\n"):
        line = raw.strip()
        found = next((prefix for prefix in form.prefixes if line.startswith(prefix)), "")
        if line:
            lines.append((form.prefixes.get(found, NOBODY), line[len(found) :].strip()))
    return lines


def _grown_from(item: bytes | None) -> tuple[QAPair | None, str]:
    seed = Seed() if item is None else Seed.load(item)
    return seed.pair, "" if seed.topic is None else seed.topic.name


def _bounded(said: Sequence[tuple[str, str]]) -> tuple[tuple[tuple[str, str], ...], int]:
    left, kept = LONGEST, list[tuple[str, str]]()
    for role, text in said:
        if left > 0:
            kept.append((role, text[:left]))
        left -= len(text)
    return tuple(kept), max(-left, 0)
