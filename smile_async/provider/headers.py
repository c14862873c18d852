"""What a server's headers say about its limits and its wishes. Pure; header names are lower case."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from smile_async.engine.job import ServerPace

LONGEST_WAIT = 7 * 86_400.0  # seconds; more than a week is a date of another era or a mistake

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|[dhms])")
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

_NAMES: dict[str, tuple[str, ...]] = {
    # OpenAI, Azure, Groq, Together; then what gateways and Anthropic say
    "requests_limit": ("x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit", "x-ratelimit-limit"),
    "requests_remaining": (
        "x-ratelimit-remaining-requests",
        "anthropic-ratelimit-requests-remaining",
        "x-ratelimit-remaining",
    ),
    "requests_reset": ("x-ratelimit-reset-requests", "anthropic-ratelimit-requests-reset", "x-ratelimit-reset"),
    "tokens_limit": ("x-ratelimit-limit-tokens", "anthropic-ratelimit-tokens-limit"),
    "tokens_remaining": ("x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining"),
    "tokens_reset": ("x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"),
}


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, as the server asks; `now` is the wall clock in seconds since 1970, for dates.

    The finest of the three wins: `retry-after-ms`, Azure's `x-ms-retry-after-ms`, `retry-after` (seconds or a date).
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        milliseconds = _number(headers.get(name))
        if milliseconds is not None:
            return _wait(milliseconds / 1000)
    return _reset(headers.get("retry-after"), now)


def server_pace(headers: Mapping[str, str], now: float) -> ServerPace | None:
    """The limits that a reply tells; None when it tells none (vLLM, Ollama, DeepSeek)."""
    if not any("ratelimit" in name for name in headers):
        return None
    limits = {name: _limit(_first(headers, name)) for name in ("requests_limit", "tokens_limit")}
    pace = ServerPace(
        requests_limit=limits["requests_limit"],
        requests_remaining=_remaining(_first(headers, "requests_remaining"), limits["requests_limit"]),
        requests_reset=_reset(_first(headers, "requests_reset"), now),
        tokens_limit=limits["tokens_limit"],
        tokens_remaining=_remaining(_first(headers, "tokens_remaining"), limits["tokens_limit"]),
        tokens_reset=_reset(_first(headers, "tokens_reset"), now),
    )
    return pace if pace != _NOTHING else None


_NOTHING = ServerPace()


def _first(headers: Mapping[str, str], field: str) -> str | None:
    for name in _NAMES[field]:
        value = headers.get(name)
        if value is not None:
            return value
    return None


def _limit(value: str | None) -> int | None:
    """Azure's -1 and 0 mean "not known", never "no budget"."""
    number = _number(value)
    return int(number) if number is not None and number > 0 else None


def _remaining(value: str | None, limit: int | None) -> int | None:
    """0 is believed only beside a limit: without one it is Azure's "not known"."""
    number = _number(value)
    if number is None or number < 0 or (number == 0 and limit is None):
        return None
    return int(number)


def _reset(value: str | None, now: float) -> float | None:
    """Seconds from `1m30s`, `500ms`, `12`, a Unix time, an ISO time or an HTTP date; None for anything else."""
    if not value:
        return None
    number = _number(value)
    if number is not None:
        return _wait(_from_now(number, now))
    duration = _duration(value)
    return _until(value, now) if duration is None else _wait(duration)


def _from_now(number: float, now: float) -> float:
    """Large numbers are Unix times, in seconds or (OpenRouter) milliseconds."""
    if number > 1e11:
        return number / 1000 - now
    return number - now if number > 1e9 else number


def _duration(value: str) -> float | None:
    text = value.strip().replace(" ", "")
    parts = _DURATION.findall(text)
    if not parts or sum(len(number) + len(unit) for number, unit in parts) != len(text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _until(value: str, now: float) -> float | None:
    readers: tuple[Callable[[str], datetime], ...] = (datetime.fromisoformat, parsedate_to_datetime)
    for read in readers:
        try:
            moment = read(value.strip())
        except ValueError:
            continue
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return _wait(aware.timestamp() - now)
    return None


def _wait(seconds: float | None) -> float | None:
    return None if seconds is None or seconds > LONGEST_WAIT else max(0.0, seconds)


def _number(value: str | None) -> float | None:
    """A finite number at the start of a list or alone: gateways send `100, 100;w=60`."""
    if value is None:
        return None
    try:
        number = float(value.split(",", 1)[0].split(";", 1)[0])
    except ValueError:
        return None
    return number if abs(number) < 1e18 else None
