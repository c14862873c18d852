"""When to use no connection again: some servers and proxies close after each answer and do not say so. Pure.

A request that meets such a close may have been billed, for all its sender knows. tinyproxy does it on plain HTTP.
"""

QUICK = 0.25  # seconds: an end so soon after the request left was under way before it
ENDS = 3  # quick ends within `FIRST`, until no connection is used again for a while
FIRST, LONGEST = 30.0, 600.0  # seconds: how long, doubling each time


class Wariness:
    """One server's. `until`: before that time no connection is used again."""

    __slots__ = ("_ends", "_length", "until")

    def __init__(self, until: float = 0.0) -> None:
        self.until = until
        self._ends: list[float] = []
        self._length = FIRST

    def met_a_close(self, sent: float, now: float) -> None:
        """A request that left at `sent` over a connection used before met its close at `now`, unanswered."""
        if now - sent >= QUICK or now < self.until:
            return
        self._ends = [end for end in self._ends if now - end < FIRST] + [now]
        if len(self._ends) >= ENDS:
            self._ends.clear()
            self.until, self._length = now + self._length, min(self._length * 2, LONGEST)
