"""Votes counted (section 6.3.2, Figure 6): majorities, win and loss rates of each pair of systems, agreement, bias.

A comparison counts once every rater has voted on it; what is unfinished is counted apart.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from smile_async.chatbot.agreement import RESAMPLES, Agreement, Interval, agreement, bootstrap, flip_test
from smile_async.chatbot.ballots import LETTERS, TIE, Key, pairs_of
from smile_async.chatbot.votes import Cast, Vote
from smile_async.errors import UsageError

FIRST, SECOND, TIED = range(3)  # columns of a table of votes
UNDECIDED = 3
FEW = 30  # cases: the paper has 100


@dataclass(frozen=True, slots=True)
class PairTally:
    """`first` against `second` over the cases that all raters judged: `wins + losses + ties + undecided` is their
    number. Undecided: no choice has more than half of the votes."""

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    undecided: int
    unfinished: int
    win_interval: Interval | None
    loss_interval: Interval | None
    agreement: Agreement

    @property
    def cases(self) -> int:
        return self.wins + self.losses + self.ties + self.undecided

    def rate(self, count: int) -> float | None:
        return count / self.cases if self.cases else None


@dataclass(frozen=True, slots=True)
class RaterTally:
    """`circular`: finished ballots in which the rater prefers one response to another, that one to a third, and the
    third to the first."""

    name: str
    votes: int
    finished: int
    cases: int
    circular: int
    changed: int


@dataclass(frozen=True, slots=True)
class Position:
    """Of the comparisons (ties left out) in which a letter stood, how many it won."""

    letter: str
    compared: int
    won: int


@dataclass(frozen=True, slots=True)
class PositionBias:
    """`earlier` and `later` count votes for the response that stood first and second of the two; `p_value` is
    `agreement.flip_test`'s (None: no vote)."""

    positions: tuple[Position, ...]
    earlier: int
    later: int
    p_value: float | None


@dataclass(frozen=True, slots=True)
class Tally:
    """`silent` have a link and gave no vote: nobody waits for theirs."""

    drawn: str
    cases: int
    finished: int
    ties_allowed: bool
    pairs: tuple[PairTally, ...]
    raters: tuple[RaterTally, ...]
    silent: tuple[str, ...]
    bias: PositionBias
    seed: int
    resamples: int

    @property
    def warning(self) -> str:
        """What so few cases allow to say, for a person; empty where there are enough."""
        judged = min(pair.cases for pair in self.pairs)
        if judged >= FEW:
            return ""
        return (
            f"{judged:,} {'case was' if judged == 1 else 'cases were'} judged by all: too few for shares to say much"
            " (the paper has 100), and their intervals, drawn from those cases alone, are too narrow"
        )


def majority(votes: Sequence[int]) -> int:
    """What more than half of the voters chose, from their number by column; `UNDECIDED` when nothing was."""
    return next((column for column, count in enumerate(votes) if 2 * count > sum(votes)), UNDECIDED)


def tally(
    key: Key, casts: Sequence[Cast], *, raters: Sequence[str] = (), seed: int = 0, resamples: int = RESAMPLES
) -> Tally:
    """Count; `raters` (default: all who voted) are those whose votes a comparison needs, all of them.

    `UsageError` when votes are on other ballots than the key, when nobody voted, or for a rater who did not.
    """
    votes = _gathered(key, casts)
    names = _raters(votes, raters)
    standing = {(vote.rater, vote.case, vote.pair): vote.choice for vote in votes if vote.rater in names}
    told = [_rater(key, name, standing, casts) for name in names]
    finished = sum(all((name, case, pair) in standing for name in names for pair in _pairs(key)) for case in key.places)
    return Tally(
        drawn=key.drawn,
        cases=len(key.places),
        finished=finished,
        ties_allowed=key.ties,
        pairs=tuple(
            _pair(key, first, second, standing, names, seed=seed, resamples=resamples)
            for first, second in combinations(key.systems, 2)
        ),
        raters=tuple(told),
        silent=tuple(sorted({name for each in casts for name in each.raters} - {vote.rater for vote in votes})),
        bias=_bias(key, standing, seed=seed),
        seed=seed,
        resamples=resamples,
    )


Standing = dict[tuple[str, str, str], str]
"""The choice that counts, by rater, case and pair."""


def _gathered(key: Key, casts: Iterable[Cast]) -> list[Vote]:
    """Of several stores: who voted in two of them is counted once, by the later vote."""
    votes: list[Vote] = []
    for cast in casts:
        if cast.drawn != key.drawn:
            message = f"The votes are on ballots {cast.drawn}, the key is for {key.drawn}."
            raise UsageError(message, hint="Name the key that was written with those ballots.")
        votes += cast.votes
    if not votes:
        raise UsageError("There is no vote to count.", hint="smile vote takes votes.")
    return sorted(votes, key=lambda vote: vote.at)


def _raters(votes: Iterable[Vote], wanted: Sequence[str]) -> list[str]:
    there = sorted({vote.rater for vote in votes})
    if strangers := [name for name in wanted if name not in there]:
        raise UsageError(f"No votes by {', '.join(strangers)}.", hint=f"Votes are by {', '.join(there)}.")
    return list(dict.fromkeys(wanted)) or there


def _pairs(key: Key) -> tuple[str, ...]:
    return pairs_of(LETTERS[: len(key.systems)])


def _letters(key: Key, case: str, first: str, second: str) -> tuple[str, str]:
    letter = {system: letter for letter, system in key.places[case].items()}
    return letter[first], letter[second]


def _pair(
    key: Key, first: str, second: str, standing: Standing, names: Sequence[str], *, seed: int, resamples: int
) -> PairTally:
    table = []
    for case in key.places:
        one, other = _letters(key, case, first, second)
        pair = "".join(sorted((one, other)))
        column = {one: FIRST, other: SECOND, TIE: TIED}
        given = [standing[name, case, pair] for name in names if (name, case, pair) in standing]
        if len(given) == len(names):
            counted = Counter(column[choice] for choice in given)
            table.append([counted[each] for each in (FIRST, SECOND, TIED)])
    decided = [majority(row) for row in table]
    count = Counter(decided)

    def sure(outcome: int) -> Interval | None:
        won = [each == outcome for each in decided]
        return bootstrap(won, lambda drawn: float(drawn.mean()), seed=seed, resamples=resamples) if won else None

    return PairTally(
        first=first, second=second,
        wins=count[FIRST], losses=count[SECOND], ties=count[TIED], undecided=count[UNDECIDED],
        unfinished=len(key.places) - len(table),
        win_interval=sure(FIRST), loss_interval=sure(SECOND),
        agreement=agreement(table, seed=seed, resamples=resamples),
    )  # fmt: skip


def _rater(key: Key, name: str, standing: Standing, casts: Iterable[Cast]) -> RaterTally:
    ballots: dict[str, dict[str, str]] = {}
    for (rater, case, pair), choice in standing.items():
        if rater == name:
            ballots.setdefault(case, {})[pair] = choice
    return RaterTally(
        name=name,
        votes=sum(map(len, ballots.values())),
        finished=sum(len(choices) == len(_pairs(key)) for choices in ballots.values()),
        cases=len(key.places),
        circular=sum(is_circular(choices) for choices in ballots.values()),
        changed=sum(cast.changed.get(name, 0) for cast in casts),
    )


def is_circular(choices: dict[str, str]) -> bool:
    """Whether three of a ballot's choices (by pair) go round in a circle: A over B, B over C, C over A."""
    beaten = {(choice, pair.replace(choice, "")) for pair, choice in choices.items() if choice != TIE}
    letters = sorted({letter for pair in beaten for letter in pair})
    return any(
        {(one, two), (two, three), (three, one)} <= beaten or {(two, one), (three, two), (one, three)} <= beaten
        for one, two, three in combinations(letters, 3)
    )


def _bias(key: Key, standing: Standing, *, seed: int) -> PositionBias:
    won: Counter[str] = Counter()
    compared: Counter[str] = Counter()
    leaning: Counter[str] = Counter()
    earlier = later = 0
    for (_, case, pair), choice in standing.items():
        if choice == TIE:
            continue
        won[choice] += 1
        compared.update(pair)
        first = choice == pair[0]
        earlier, later = earlier + first, later + (not first)
        leaning[case] += 1 if first else -1
    letters = LETTERS[: len(key.systems)]
    positions = tuple(Position(letter, compared[letter], won[letter]) for letter in letters)
    p_value = flip_test(list(leaning.values()), seed=seed) if leaning else None
    return PositionBias(positions, earlier, later, p_value)
