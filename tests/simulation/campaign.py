"""Many seeds, over all cores."""

import gc
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.story import play

CHUNK = 25  # seeds a task of a worker: what dead processes held in circles is let go of as often


@dataclass(slots=True)
class Found:
    """What some seeds came to: `broken` maps a seed to the invariant that did not hold and what was wrong."""

    seeds: int = 0
    broken: dict[int, tuple[str, str]] = field(default_factory=dict)
    happened: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Found") -> None:
        self.seeds += other.seeds
        self.broken |= other.broken
        self.happened += other.happened


def play_many(seeds: range, jobs: int | None = None) -> Iterator[Found]:
    """What was found so far, each time some more seeds have been played, by so many workers (None: one a core)."""
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    found = Found()
    for part in _played(chunks, jobs or os.cpu_count() or 1):
        found.add(part)
        yield found


def _played(chunks: list[range], jobs: int) -> Iterable[Found]:
    if jobs == 1 or len(chunks) == 1:
        yield from map(play_some, chunks)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as workers:
        yield from workers.map(play_some, chunks)


def play_some(seeds: range) -> Found:
    """Play these seeds here. What a seed raises beside broken invariants is a broken one, too."""
    found = Found()
    gc.disable()
    try:
        for seed in seeds:
            found.seeds += 1
            try:
                told = play(seed)
            except Exception as error:  # noqa: BLE001  (one seed must not hide what the others find)
                found.broken[seed] = "error", f"{type(error).__name__}: {error}"
                continue
            found.happened += told.happened
            if told.broken:
                found.broken[seed] = told.broken, told.message
    finally:
        gc.enable()
        gc.collect()
    return found
