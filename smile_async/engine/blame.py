"""Whose fault a failure is, the row's or its endpoint's, and what that means where there are several. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smile_async.engine.job import FATAL, Failure, FailureKind
from smile_async.engine.lane import Lane
from smile_async.engine.queue import Job
from smile_async.engine.retry import CHARGED, STUBBORN, Again, Decision, SetAside
from smile_async.engine.task import Item


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Where a run stood as an attempt failed at `lane`. `usable` are the endpoints not given up, `last`: no row is left
    that was not asked; `in_flight` others are, `now` by the clock."""

    lane: Lane
    lanes: Sequence[Lane]
    usable: Sequence[Lane]
    last: bool
    in_flight: int
    now: float

    @property
    def others(self) -> list[Lane]:
        return [other for other in self.usable if other is not self.lane]

    @property
    def answering(self) -> list[Lane]:
        """Other endpoints that answer."""
        return [other for other in self.others if not other.silence.deep]


def blame(job: Job[Item], kind: FailureKind, at: Circumstances) -> tuple[Job[Item], bool]:
    """The job with what the failure adds to its count, and whether it has to answer for it."""
    # Where no other row is left to show whose fault it is, the row answers for it: else the run would never end.
    charged = kind in CHARGED and ((at.last and not at.answering) or not at.lane.silence.deep)
    if kind is FailureKind.RATE_LIMITED:
        answered = any(one.silence.answered for one in at.lanes)
        asked_alone = job.limited >= STUBBORN or (at.last and at.in_flight == 0)
        charged = asked_alone and answered  # by a server that answers others
        if max([one.silence.newest for one in at.lanes]) > job.refused_at or (at.last and answered):
            job = job.evolve(limited=job.limited + 1, refused_at=at.now)
    elif kind is FailureKind.TOO_LARGE:
        job = job.evolve(unfit=job.unfit | {at.lane.name})
    return (job.evolve(failures=job.failures + 1) if charged else job), charged


def elsewhere(
    job: Job[Item], decision: Decision, failure: Failure, at: Circumstances, *, charged: bool, rest: float
) -> tuple[Decision, float | None]:
    """What ends a run at its only endpoint only rests one of several, and its rows go elsewhere at once.

    Returns what becomes of the row, and the seconds that the endpoint rests: `rest` at least, infinite when it is given
    up, None when it goes on."""
    others = at.others
    if failure.kind is FailureKind.TOO_LARGE and any(other.name not in job.unfit for other in others):
        return Again(0.0), None  # another may allow more
    if not others or isinstance(decision, SetAside):
        return decision, None
    if isinstance(decision, Again):
        return (decision if charged or decision.everybody or not at.answering else Again(0.0)), None
    if failure.kind in FATAL:
        return Again(0.0), math.inf
    if all(other.silence.spent for other in others):
        return decision, None
    nowhere = all(other.name in job.unfit for other in others)  # too large for all that answer
    return SetAside(str(FailureKind.TOO_LARGE)) if nowhere else Again(0.0), max(failure.retry_after or 0.0, rest)
