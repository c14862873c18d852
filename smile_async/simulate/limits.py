"""Server-side limits: what was admitted is counted exactly; a refused request is charged nothing.

Time is handed in, in seconds of any monotonic clock. An amount admitted at `t` leaves a sliding window at
`t + seconds`: at that very instant its room is free again.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal, Protocol

from smile_async.engine.job import LimitWord, ServerPace
from smile_async.simulate.settings import LimitSettings


class Limit(Protocol):
    """One limit on one amount."""

    limit: int
    peak: float
    """The most that was ever in use at once."""

    def wait(self, now: float, amount: int) -> float:
        """Seconds until `amount` fits: 0 now, inf never."""
        ...

    def take(self, now: float, amount: int) -> None: ...

    def remaining(self, now: float) -> int: ...

    def reset(self, now: float) -> float:
        """Seconds until the limit is wholly free again."""
        ...


class SlidingWindow:
    """An exact log of what was taken within the last `seconds`, with its running sum."""

    GRAIN = 1e-9  # seconds: who waits exactly as long as told must not fail by a rounding

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.peak: float = 0
        self._seconds = seconds
        self._log: deque[tuple[float, int]] = deque()  # (instant at which it leaves, amount)
        self._used = 0

    def _expire(self, now: float) -> None:
        log = self._log
        while log and log[0][0] <= now + self.GRAIN:
            self._used -= log.popleft()[1]

    def wait(self, now: float, amount: int) -> float:
        self._expire(now)
        excess = self._used + amount - self.limit
        if excess <= 0:
            return 0.0
        for leaves, taken in self._log:
            excess -= taken
            if excess <= 0:
                return leaves - now
        return math.inf

    def take(self, now: float, amount: int) -> None:
        self._expire(now)
        self._log.append((now + self._seconds, amount))
        self._used += amount
        self.peak = max(self.peak, self._used)

    def remaining(self, now: float) -> int:
        self._expire(now)
        return self.limit - self._used

    def reset(self, now: float) -> float:
        self._expire(now)
        return self._log[-1][0] - now if self._log else 0.0


class TokenBucket:
    """A bucket that holds `limit`, is full at first and is filled again at `limit / seconds`."""

    GRAIN = 1e-6  # of a unit, for the same reason

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.peak: float = 0
        self._rate = limit / seconds
        self._level = float(limit)
        self._at = -math.inf

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._level = min(float(self.limit), self._level + (now - self._at) * self._rate)
            self._at = now

    def wait(self, now: float, amount: int) -> float:
        if amount > self.limit:
            return math.inf
        self._fill(now)
        missing = amount - self._level
        return missing / self._rate if missing > self.GRAIN else 0.0

    def take(self, now: float, amount: int) -> None:
        self._fill(now)
        self._level -= amount
        self.peak = max(self.peak, self.limit - self._level)

    def remaining(self, now: float) -> int:
        self._fill(now)
        return math.floor(self._level + self.GRAIN)

    def reset(self, now: float) -> float:
        self._fill(now)
        return (self.limit - self._level) / self._rate


What = Literal["requests", "tokens", "input_tokens", "output_tokens"]
KINDS: tuple[What, ...] = ("requests", "tokens", "input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not admitted: `what` exceeds its limit, `wait` is in seconds (inf: it never fits)."""

    what: What
    wait: float


class RateLimits:
    """All limits together: of each is taken, or of none."""

    def __init__(self, settings: LimitSettings) -> None:
        made = [(what, _make_limit(getattr(settings, what), settings)) for what in KINDS]
        self._limits = {what: limit for what, limit in made if limit is not None}
        self._window = settings.window

    def admit(self, now: float, prompt: int, completion: int = 0) -> Refusal | None:
        """Take one request and its tokens, or take nothing and name the limit that has to be waited for longest."""
        amounts = {
            "requests": 1,
            "tokens": prompt + completion,
            "input_tokens": prompt,
            "output_tokens": completion,
        }
        waits = [(limit.wait(now, amounts[what]), what) for what, limit in self._limits.items()]
        longest, binding = max(waits, key=lambda wait: wait[0], default=(0.0, "requests"))
        if longest:
            return Refusal(binding, longest)
        for what, limit in self._limits.items():
            limit.take(now, amounts[what])
        return None

    def pace(self, now: float) -> ServerPace | None:
        """What headers would say now; None without limits."""
        if not self._limits:
            return None
        return ServerPace(
            tuple(
                LimitWord(what, self._window, limit.limit, max(0, limit.remaining(now)), limit.reset(now))
                for what, limit in self._limits.items()
            )
        )

    def peaks(self) -> dict[str, dict[str, float]]:
        """Each limit with the most that was in use at once."""
        return {what: {"limit": it.limit, "peak": round(it.peak, 6)} for what, it in self._limits.items()}


def _make_limit(amount: int | None, settings: LimitSettings) -> Limit | None:
    if amount is None:
        return None
    return (SlidingWindow if settings.kind == "sliding" else TokenBucket)(amount, settings.window)


def format_duration(seconds: float) -> str:
    """OpenAI's reset format (`500ms`, `8.64s`, `1m30s`, `2h0m0s`), rounded up to a millisecond.

    >>> format_duration(90)
    '1m30s'
    """
    millis = math.ceil(seconds * 1000 - 1e-6)
    if millis <= 0:
        return "0s"
    if millis < 1000:
        return f"{millis}ms"
    whole, rest = divmod(millis, 60_000)
    tail = f"{rest / 1000:g}s" if rest % 1000 else f"{rest // 1000}s"
    hours, minutes = divmod(whole, 60)
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail


def pace_headers(pace: ServerPace) -> dict[str, str]:
    """The `x-ratelimit-*` headers in OpenAI's names and format, Baidu's where prompt and answer are limited apart."""
    headers = {}
    for word in pace.limits:
        name = word.what.replace("_", "-")
        headers[f"x-ratelimit-limit-{name}"] = str(word.limit)
        headers[f"x-ratelimit-remaining-{name}"] = str(word.remaining)
        headers[f"x-ratelimit-reset-{name}"] = format_duration(word.reset or 0.0)
    return headers


def retry_headers(wait: float) -> dict[str, str]:
    """`retry-after` in whole seconds and `retry-after-ms`, both rounded up; nothing for a wait that never ends."""
    if math.isinf(wait):
        return {}
    return {"retry-after": str(math.ceil(wait)), "retry-after-ms": str(math.ceil(wait * 1000))}
