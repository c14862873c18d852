"""The pace of a limit, in a bucket of a fraction of a second: what goes at once, and how long the next has to wait."""

from collections.abc import Callable

from aiolimiter import AsyncLimiter


class Pacer:
    """A rate with a small burst, by aiolimiter, which also says how long a wait will be. For one waiter at a time.

    aiolimiter does not tell when it will have room; with one waiter its level is known, so it is kept beside it.
    """

    def __init__(self, rate: float, burst: float, *, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._clock = clock
        self._burst = burst
        self._limiter = AsyncLimiter(burst, burst / rate)
        self._level = 0.0
        self._at = clock()

    def wait(self, amount: float) -> float:
        """Seconds until `amount` may go; one above the burst widens the burst."""
        if amount > self._burst:
            self._burst = amount
            self._limiter = AsyncLimiter(amount, amount / self.rate)
            self._level = 0.0
        if self._limiter.has_capacity(amount):
            return 0.0
        return max((self._now_at() + amount - self._burst) / self.rate, 0.001)

    async def take(self, amount: float) -> None:
        """Follow a `wait` of 0 with it: then it does not wait."""
        await self._limiter.acquire(amount)
        self._level, self._at = self._now_at() + amount, self._clock()

    def _now_at(self) -> float:
        return max(self._level - (self._clock() - self._at) * self.rate, 0.0)
