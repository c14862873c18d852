"""Jobs that wait for their turn: a FIFO of ready ones, a heap of those that become ready later, and one of those that
are asked alone, when there is nothing else."""

import heapq
import math
from collections import deque
from dataclasses import replace
from itertools import count
from typing import Any, Generic

from smile_async.engine.task import Amended, Item
from smile_async.values import light


@light(frozen=True, slots=True)
class Job(Generic[Item]):
    """One row on its way. `ordinal` is its place in the run (from 0), `replies` and `failures` what it cost so far.

    `limited`: refusals for rate (429) of this one while others were admitted; `refused_at`: the clock's time of the
    last of them. `amended`: what to ask in place of the row's own request; `amends`: how often the task has given one;
    both are forgotten when the process ends: the row is then asked plainly.
    """

    ordinal: int
    row_id: str
    item: Item
    replies: int = 0
    failures: int = 0
    limited: int = 0
    refused_at: float = -math.inf
    avoid: str = ""  # the endpoint that refused it, while there are others
    unfit: frozenset[str] = frozenset()  # endpoints for whose limits it is too large
    amended: Amended | None = None
    amends: int = 0

    def evolve(self, **changes: Any) -> "Job[Item]":
        return replace(self, **changes)


class JobQueue(Generic[Item]):
    """Retries. Ready ones leave in the order in which they became ready."""

    def __init__(self) -> None:
        self._ready: deque[Job[Item]] = deque()
        self._later: list[tuple[float, int, Job[Item]]] = []
        self._alone: list[tuple[float, int, Job[Item]]] = []
        self._tie = count()

    def __len__(self) -> int:
        return len(self._ready) + len(self._later) + len(self._alone)

    def __repr__(self) -> str:
        alone = f", {len(self._alone)} alone" if self._alone else ""
        return f"<JobQueue [{len(self._ready)} ready, {len(self._later)} later{alone}]>"

    def push(self, job: Job[Item], *, at: float | None = None) -> None:
        """Ready now, or at the clock's time `at`."""
        if at is None:
            self._ready.append(job)
        else:
            heapq.heappush(self._later, (at, next(self._tie), job))

    def pop(self, now: float) -> Job[Item] | None:
        """The next job that is ready at `now`; None when there is none."""
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        return self._ready.popleft() if self._ready else None

    def push_alone(self, job: Job[Item], *, at: float) -> None:
        """To be asked alone, when no other is left, and not before the clock's time `at`."""
        heapq.heappush(self._alone, (at, next(self._tie), job))

    def pop_alone(self, now: float) -> Job[Item] | None:
        """The next of those that are asked alone; None while there are others, or while none is due."""
        if self._ready or self._later or not self._alone or self._alone[0][0] > now:
            return None
        return heapq.heappop(self._alone)[2]

    def recall(self) -> None:
        """Those that were to be asked alone are ready now, like others."""
        while self._alone:
            self._ready.append(heapq.heappop(self._alone)[2])

    @property
    def next_due(self) -> float | None:
        """When the next delayed job becomes ready; None when none is delayed."""
        return self._later[0][0] if self._later else None

    @property
    def next_alone(self) -> float | None:
        """When the next of those that are asked alone is due; None when there is none."""
        return self._alone[0][0] if self._alone else None
