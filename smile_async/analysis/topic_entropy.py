"""How many topics a set of dialogues has, and how evenly (section 5.3, Table 2)."""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from smile_async.analysis.labels import CRISIS, Labels, key
from smile_async.prompt.topics import Topic

Label = TypeVar("Label", bound=Hashable)


def shares(labels: Iterable[Collection[Label]]) -> dict[Label, float]:
    """p(x): the share of dialogues in which x occurs, a dialogue having several labels; each counts once in it. The
    shares sum to the mean number of labels, not to 1. The most frequent first."""
    counts: Counter[Label] = Counter()
    dialogues = 0
    for each in labels:
        counts.update(set(each))
        dialogues += 1
    return {label: count / dialogues for label, count in counts.most_common()}


def occurrence_entropy(share: Mapping[Any, float]) -> float:
    """Bits: the sum of -p log2 p over shares that do not sum to 1. This is the paper's Equation 4 and Table 2: over 60
    topics it reaches 60 x 0.53 bits (at p = 1/e), a distribution's entropy at most log2 60 = 5.9."""
    return math.fsum(-p * math.log2(p) for p in share.values() if p > 0)


def normalised_entropy(share: Mapping[Any, float]) -> float:
    """Bits: Shannon's entropy of the shares divided by their sum: of a label drawn from all that were given."""
    total = math.fsum(share.values())
    return math.fsum(-p / total * math.log2(p / total) for p in share.values() if p > 0) if total else 0.0


def evenness(share: Mapping[Any, float], kinds: int) -> float:
    """The normalised entropy as a share of the most that `kinds` labels can have; 1.0: all equally frequent."""
    return normalised_entropy(share) / math.log2(kinds) if kinds > 1 else 0.0


@dataclass(frozen=True, slots=True)
class TopicRow:
    """One of the 60 in a set: in how many dialogues it occurs."""

    index: int
    name: str
    dialogues: int
    share: float
    crisis: bool


@dataclass(frozen=True, slots=True)
class TopicTable:
    """Table 2 and the distribution for one set. `limited` counts the 60, `unlimited` whatever was answered; entropies
    in bits. `rows` has all 60, the most frequent first; `crisis` dialogues bear one of topics 57 to 60; of `in_part`
    the annotator was shown beginning and end alone."""

    dialogues: int
    limited: float
    unlimited: float
    limited_normalised: float
    unlimited_normalised: float
    evenness: float
    topics_each: float
    other_labels: int
    near_misses: Mapping[str, int]
    crisis: int
    crisis_near: int
    rows: tuple[TopicRow, ...]
    in_part: int = 0

    @property
    def note(self) -> str:
        """What a reader of the table has to know of how the dialogues were read; mostly nothing."""
        if not self.in_part:
            return ""
        return (
            f"Of {self.in_part:,} of the {self.dialogues:,} dialogues the annotator was shown beginning and end alone: "
            "topics of the middle are missing."
        )

    @property
    def average(self) -> float:
        """The last line of Table 2."""
        return (self.limited + self.unlimited) / 2

    def as_json(self) -> dict[str, Any]:
        return {
            "dialogues": self.dialogues,
            "entropy": {
                "limited": self.limited,
                "unlimited": self.unlimited,
                "average": self.average,
                "limited_normalised": self.limited_normalised,
                "unlimited_normalised": self.unlimited_normalised,
                "evenness": self.evenness,
            },
            "topics_per_dialogue": self.topics_each,
            "other_labels": self.other_labels,
            "near_misses": dict(self.near_misses),
            "crisis": self.crisis,
            "crisis_near": self.crisis_near,
            "in_part": self.in_part,
            "topics": [
                {"index": row.index, "topic": row.name, "dialogues": row.dialogues, "share": row.share,
                 "crisis": row.crisis}
                for row in self.rows
            ],
        }  # fmt: skip


def topic_table(labelled: Iterable[Labels], topics: Collection[Topic]) -> TopicTable:
    """From the labels of each dialogue of a set."""
    given = list(labelled)
    names = {topic.index: topic.name for topic in topics}
    limited = shares(labels.topics for labels in given)
    unlimited = shares([*labels.topics, *map(key, labels.others)] for labels in given)
    near = Counter(f"{miss.label} ({names[miss.index]}?)" for labels in given for miss in labels.near)
    rows = [
        TopicRow(index, name, round(limited.get(index, 0.0) * len(given)), limited.get(index, 0.0), index in CRISIS)
        for index, name in names.items()
    ]
    return TopicTable(
        dialogues=len(given),
        limited=occurrence_entropy(limited),
        unlimited=occurrence_entropy(unlimited),
        limited_normalised=normalised_entropy(limited),
        unlimited_normalised=normalised_entropy(unlimited),
        evenness=evenness(limited, len(names)),
        topics_each=math.fsum(limited.values()),
        other_labels=len(unlimited) - len(limited),
        near_misses=dict(near.most_common()),
        crisis=sum(labels.crisis for labels in given),
        crisis_near=sum(labels.crisis_near and not labels.crisis for labels in given),
        in_part=sum(labels.in_part for labels in given),
        rows=tuple(sorted(rows, key=lambda row: (-row.dialogues, row.index))),
    )
