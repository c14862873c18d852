"""Jobs that wait for their turn: a FIFO of ready ones and a heap of those that become ready later."""

import heapq
from collections import deque
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Generic

from smile_async.engine.task import Item


@dataclass(frozen=True, slots=True)
class Job(Generic[Item]):
    """One row on its way. `ordinal` is its place in the run (from 0), `replies` and `failures` what it cost so far."""

    ordinal: int
    row_id: str
    item: Item
    replies: int = 0
    failures: int = 0

    def evolve(self, **changes: Any) -> "Job[Item]":
        return replace(self, **changes)


class JobQueue(Generic[Item]):
    """Retries. Ready ones leave in the order in which they became ready."""

    def __init__(self) -> None:
        self._ready: deque[Job[Item]] = deque()
        self._later: list[tuple[float, int, Job[Item]]] = []
        self._tie = count()

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)

    def __repr__(self) -> str:
        return f"<JobQueue [{len(self._ready)} ready, {len(self._later)} later]>"

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

    @property
    def next_due(self) -> float | None:
        """When the next delayed job becomes ready; None when none is delayed."""
        return self._later[0][0] if self._later else None
