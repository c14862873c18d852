"""How long dialogues are, in turns and characters, and who says how much."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from smile_async.analysis.distribution import Distribution, distribution
from smile_async.corpus.formats import Record, RoleMap

BINS = 40  # of lengths, about
FAR = 0.995  # share that the bins of lengths cover: a few giants would squeeze all others into one


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the dialogues that hold an utterance at all. A turn is one exchange: utterances // 2 (paper notes,
    Filtering). Lengths are in characters; those of utterances are of whole utterances, not of the sentences that
    Table 3 counts. `shares` is the client's share of a dialogue's characters."""

    dialogues: int
    utterances: int
    turns: Distribution
    length: Distribution
    client: Distribution
    counselor: Distribution
    shares: Distribution


def shape(records: Iterable[Record], roles: RoleMap) -> Shape:
    """In one pass; keeps one number an utterance (4 bytes and a list's place each)."""
    turns: list[int] = []
    lengths: list[int] = []
    said: dict[str, list[int]] = {roles.user: [], roles.assistant: []}
    shares: list[float] = []
    utterances = 0
    for record in records:
        if not record.dialogue.utterances:
            continue
        by_role = dict.fromkeys(said, 0)
        total = 0
        for one in record.dialogue.utterances:
            length = len(one.content)
            total += length
            if one.role in said:
                said[one.role].append(length)
                by_role[one.role] += length
        utterances += len(record.dialogue.utterances)
        turns.append(record.dialogue.turns)
        lengths.append(total)
        if total:
            shares.append(by_role[roles.user] / total)
    both = utterance_edges([*said[roles.user], *said[roles.assistant]])
    return Shape(
        dialogues=len(turns),
        utterances=utterances,
        turns=distribution(turns, range(max(turns, default=0) + 2)),
        length=distribution(lengths, utterance_edges(lengths)),
        client=distribution(said[roles.user], both),
        counselor=distribution(said[roles.assistant], both),
        shares=distribution(shares, [place / 20 for place in range(21)]),
    )


def utterance_edges(numbers: Sequence[int]) -> list[float]:
    """Edges of bins of a round width, from 0 to where nearly all `numbers` (`FAR`) lie, or all where these are near."""
    ordered = sorted(numbers)
    if not ordered:
        return [0.0, 1.0]
    far = ordered[min(int(FAR * len(ordered)), len(ordered) - 1)]
    most = ordered[-1] if ordered[-1] <= 1.5 * far else far
    width = round_width(most / BINS)
    return [width * place for place in range(int(most / width) + 2)]


def round_width(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, 50, ... that is at least `least`."""
    if least <= 1:
        return 1.0
    size = 10 ** math.floor(math.log10(least))
    return float(next(factor * size for factor in (1, 2, 5, 10) if factor * size >= least))
