"""What a corpus holds, counted: Tables 3 and 6.

Units. A *dialogue* is one record. An *utterance* is what one speaker says without interruption. A *sentence* is a piece
of an utterance up to and with its 。！？: Table 3 calls sentences utterances, Table 6 means whole utterances. A *turn*
is one exchange, two utterances. Lengths are Unicode characters, punctuation and spaces with them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from typing import Literal

from smile_async.corpus.formats import PAPER_ROLES, Record, RoleMap

Unit = Literal["sentences", "utterances"]
UNITS: tuple[Unit, ...] = ("sentences", "utterances")

PAPER_MIN_TURNS = 5  # Appendix B: fewer are to be discarded; 18.6 percent of the released files have fewer

ENDS = "。！？"  # of a sentence
_SENTENCE = re.compile("[^。！？]+[。！？]+|[^。！？]+$")


def sentences(text: str) -> list[str]:
    """An utterance as its sentences, as the authors' annotation of the released corpus cuts it: after each run of
    。！？ (full-width only: `.`, `…` and line breaks end none). A run at the very start belongs to no sentence."""
    return _SENTENCE.findall(text)


@dataclass(frozen=True, slots=True)
class Amount:
    """How many sentences or utterances, and how many characters they have together."""

    count: int = 0
    characters: int = 0

    @property
    def mean_length(self) -> float:
        """Characters; nan of none."""
        return self.characters / self.count if self.count else float("nan")

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.count + other.count, self.characters + other.characters)


@dataclass(frozen=True, slots=True)
class Speech:
    """What the client, the counselor and others (roles that are neither) say, in one unit."""

    client: Amount
    counselor: Amount
    others: Amount = Amount()

    @property
    def total(self) -> Amount:
        return self.client + self.counselor + self.others


@dataclass(frozen=True, slots=True)
class CorpusStatistics:
    """`turns` is a distribution: dialogues by their number of whole exchanges, utterances // 2 (notes on Appendix B).

    `test_cases`: counselor utterances with something said before them in their dialogue, which is one training sample
    (section 6) or one test case (Table 6) each. `non_alternating`: dialogues in which somebody speaks twice in a row,
    which happens `spoken_twice` times; `one_sided`: dialogues in which only one speaks, or nobody.
    """

    dialogues: int
    sentences: Speech
    utterances: Speech
    turns: Mapping[int, int]
    test_cases: int
    non_alternating: int
    spoken_twice: int
    one_sided: int
    opened_by_counselor: int
    ended_by_client: int

    def speech(self, unit: Unit) -> Speech:
        return self.sentences if unit == "sentences" else self.utterances

    def per_dialogue(self, count: int) -> float:
        """nan without a dialogue."""
        return count / self.dialogues if self.dialogues else float("nan")

    @property
    def turns_per_dialogue(self) -> float:
        """Utterances / 2 / dialogues, as Tables 3 and 6 have it: a half exchange counts as a half."""
        return self.per_dialogue(self.utterances.total.count) / 2

    @property
    def below_min_turns(self) -> int:
        """Dialogues with fewer whole exchanges than the five that Appendix B asks for."""
        return sum(dialogues for turns, dialogues in self.turns.items() if turns < PAPER_MIN_TURNS)

    def as_json(self) -> dict[str, object]:
        """The names that programs may rely on; averages are not rounded, and null of nothing."""
        return {
            "dialogues": self.dialogues,
            "turns_per_dialogue": _number(self.turns_per_dialogue),
            "sentences": self._unit_json(self.sentences),
            "utterances": self._unit_json(self.utterances),
            "test_cases": self.test_cases,
            "turns": {str(turns): dialogues for turns, dialogues in self.turns.items()},
            "below_five_turns": self.below_min_turns,
            "non_alternating": self.non_alternating,
            "spoken_twice": self.spoken_twice,
            "one_sided": self.one_sided,
            "opened_by_counselor": self.opened_by_counselor,
            "ended_by_client": self.ended_by_client,
        }

    def _unit_json(self, speech: Speech) -> dict[str, dict[str, object]]:
        shares = {
            "total": speech.total,
            "client": speech.client,
            "counselor": speech.counselor,
            "others": speech.others,
        }
        return {
            who: {
                "count": amount.count,
                "per_dialogue": _number(self.per_dialogue(amount.count)),
                "characters": amount.characters,
                "mean_length": _number(amount.mean_length),
            }
            for who, amount in shares.items()
        }


def _number(value: float) -> float | None:
    return None if isnan(value) else value  # JSON has no nan


def corpus_statistics(records: Iterable[Record], roles: RoleMap = PAPER_ROLES) -> CorpusStatistics:
    """Count a corpus in one pass; memory does not grow with it."""
    spoken: dict[str, list[int]] = {}  # by role: utterances, their characters, sentences, theirs
    turns: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    for record in records:
        utterances = record.dialogue.utterances
        turns[len(utterances) // 2] += 1
        order = []
        for one in utterances:
            role, text = one.role, one.content
            order.append(role)
            counts = spoken.get(role) or spoken.setdefault(role, [0, 0, 0, 0])
            counts[0] += 1
            counts[1] += len(text)
            counts[2] += len(_SENTENCE.findall(text))
            counts[3] += len(text.lstrip(ENDS))  # of all its sentences together
        _note(seen, order, roles)
    named = {roles.user: 0, roles.assistant: 1}
    shares = [[Amount(), Amount()] for _ in range(3)]
    for role, (count, characters, parts, in_parts) in spoken.items():
        share = shares[named.get(role, 2)]
        share[0] += Amount(count, characters)
        share[1] += Amount(parts, in_parts)
    return CorpusStatistics(
        dialogues=turns.total(),
        sentences=Speech(*(share[1] for share in shares)),
        utterances=Speech(*(share[0] for share in shares)),
        turns=dict(sorted(turns.items())),
        test_cases=seen["test_cases"],
        non_alternating=seen["non_alternating"],
        spoken_twice=seen["spoken_twice"],
        one_sided=seen["one_sided"],
        opened_by_counselor=seen["opened_by_counselor"],
        ended_by_client=seen["ended_by_client"],
    )


def _note(seen: Counter[str], order: list[str], roles: RoleMap) -> None:
    """Count what a dialogue shows by the order of its speakers."""
    twice = sum(a == b for a, b in pairwise(order))
    seen["spoken_twice"] += twice
    seen["non_alternating"] += twice > 0
    seen["one_sided"] += len(set(order)) < 2
    seen["opened_by_counselor"] += order[:1] == [roles.assistant]
    seen["ended_by_client"] += order[-1:] == [roles.user]
    seen["test_cases"] += order[1:].count(roles.assistant)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of Table 3 or 6. `values`: total, client (help-seeker), counselor (supporter); None where the paper prints
    a dash. Counts are whole numbers, averages are printed with one decimal."""

    name: str
    values: tuple[int | float | None, int | float | None, int | float | None]

    def printed(self, thousands: Literal["", ","] = "") -> tuple[str, ...]:
        return tuple(_printed(value, thousands) for value in self.values)


def _printed(value: float | None, thousands: str) -> str:
    if value is None or isnan(value):
        return "-"
    return f"{value:{thousands}}" if isinstance(value, int) else f"{value:{thousands}.1f}"


def paper_table(found: CorpusStatistics, unit: Unit) -> tuple[Line, ...]:
    """Table 3 (`sentences`) or Table 6 (`utterances`), line by line, the unit named."""
    speech = found.speech(unit)
    shares = (speech.total, speech.client, speech.counselor)
    counts = (speech.total.count, speech.client.count, speech.counselor.count)
    each = (found.per_dialogue(counts[0]), found.per_dialogue(counts[1]), found.per_dialogue(counts[2]))
    one = unit.removesuffix("s")
    lines = [
        Line("Dialogues", (found.dialogues, None, None)),
        Line(unit.capitalize(), counts),
        Line("Turns per dialogue", (found.turns_per_dialogue, None, None)),
        Line(f"{unit.capitalize()} per dialogue", each),
        Line(f"Characters per {one}", (shares[0].mean_length, shares[1].mean_length, shares[2].mean_length)),
    ]
    cases = [Line("Test cases", (found.test_cases, None, None))] if unit == "utterances" else []
    return (*lines, *cases)
