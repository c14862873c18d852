"""Python's collector of cyclic garbage, called more seldom while a run is at work.

A run makes thousands of short-lived values a second and hardly a cycle among them; looking for cycles each 700 values
cost a twentieth of its CPU.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = 10_000  # values made more than given back, before the youngest are looked at

_guard = threading.Lock()
_runs = 0
_before = (0, 0, 0)


@contextmanager
def collected_seldom() -> Iterator[None]:
    """While the block runs; several may, also in several threads. Left alone where the process collects as seldom
    already, or not at all; restored at the end unless somebody has changed it meanwhile."""
    global _runs, _before  # noqa: PLW0603 (as the collector is: one for the process)
    with _guard:
        if _runs == 0:
            _before = gc.get_threshold()
            if 0 < _before[0] < SELDOM:
                gc.set_threshold(SELDOM, *_before[1:])
        _runs += 1
    try:
        yield
    finally:
        with _guard:
            _runs -= 1
            if _runs == 0 and gc.get_threshold() == (SELDOM, *_before[1:]):
                gc.set_threshold(*_before)
