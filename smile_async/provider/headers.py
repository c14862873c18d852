"""What a server's headers say about its limits and its wishes. Pure; header names are lower case."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from smile_async.engine.job import LimitWord, ServerPace
from smile_async.provider.limit_names import HANDED_ON, LimitNames, Plan, handed_on, plan_for
from smile_async.provider.ratelimit_field import Policy, field_words, read_policies, window_of

LONGEST_WAIT = 7 * 86_400.0  # seconds; more than a week is a date of another era or a mistake

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|[dhms])")
_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_UNITS = frozenset("dhms")  # how a duration ends


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, as the server asks; `now` is the wall clock in seconds since 1970, for dates.

    The finest wins: `retry-after-ms`, Azure's `x-ms-retry-after-ms`, `retry-after` (seconds or a date). A LiteLLM proxy
    hands on what the server behind it said under names of its own, `llm_provider-...`.
    """
    for prefix in ("", HANDED_ON):
        for name in ("retry-after-ms", "x-ms-retry-after-ms"):
            milliseconds = _number(headers.get(prefix + name))
            if milliseconds is not None:
                return _wait(milliseconds / 1000)
        if (wait := _reset(headers.get(f"{prefix}retry-after"), now)) is not None:
            return wait
    return None


def server_pace(headers: Mapping[str, str], now: float) -> ServerPace | None:
    """The limits that a reply tells; None when it tells none (vLLM, Ollama, DeepSeek). Where it has none of its own, a
    LiteLLM proxy's `llm_provider-...` are those of the server behind it; and where it says them again under the usual
    names, it leaves out when they reset, and of whose dialect they are."""
    names = tuple(headers)
    words = _words(plan_for(names), headers, now)
    if (not words or words[0].reset is None) and (behind := handed_on(names)):
        inner = {name.removeprefix(HANDED_ON): headers[name] for name in behind}
        told = _words(plan_for(tuple(inner)), inner, now)
        whole = {(word.what, word.limit): word for word in told}
        words = [whole.get((word.what, word.limit), word) for word in words] or told
    return ServerPace(tuple(words)) if words else None


def _words(plan: Plan | None, headers: Mapping[str, str], now: float) -> list[LimitWord]:
    if plan is None:
        return []
    policies = read_policies(headers["ratelimit-policy"]) if plan.policy else {}
    words = [word for names in plan.limits if (word := _word(names, headers, now, policies))]
    if plan.field or (plan.policy and not words):
        words += field_words(headers.get("ratelimit", ""), policies)
    return words


def _word(
    names: LimitNames, headers: Mapping[str, str], now: float, policies: Mapping[str, Policy]
) -> LimitWord | None:
    limit = _limit(headers[names.limit]) if names.limit else None
    remaining = _remaining(headers[names.remaining], limit) if names.remaining else None
    if limit is None and remaining is None:
        return None
    period = names.period
    if names.renewal:
        period = _period(headers[names.renewal]) or period
    elif period is None and names.limit:
        period = window_of(limit, policies) if policies else _window_beside(headers[names.limit])
    return LimitWord(names.what, period, limit, remaining, _reset(headers[names.reset], now) if names.reset else None)


def _window_beside(limit: str) -> float | None:
    """The window in `100, 100;w=60`, as an early draft of the IETF and gateways write a limit."""
    return _period(limit.partition(";w=")[2]) if ";w=" in limit else None


def _period(value: str) -> float | None:
    number = _number(value)
    return number if number and number > 0 else None


def _limit(value: str) -> int | None:
    """Azure's -1 and 0 mean "not known", never "no budget"."""
    number = _count(value)
    return number if number is not None and number > 0 else None


def _remaining(value: str, limit: int | None) -> int | None:
    """0 is believed only beside a limit: without one it is Azure's "not known"."""
    number = _count(value)
    return None if number is None or number < 0 or (number == 0 and limit is None) else number


def _count(value: str) -> int | None:
    try:
        return int(value)
    except ValueError:
        number = _number(value)
        return None if number is None else int(number)


def _reset(value: str | None, now: float) -> float | None:
    """Seconds from `1m30s`, `500ms`, `12`, a Unix time, an ISO time or an HTTP date; None for anything else."""
    if not value:
        return None
    seconds = _duration(value)
    if seconds is not None:
        return _wait(seconds)
    number = _number(value) if value[4:5] != "-" else None  # Anthropic's 2026-11-24T10:00:01Z need not be tried
    if number is not None:
        return _wait(_from_now(number, now))
    moment = _moment(value)
    return None if moment is None else _wait(moment - now)


def _from_now(number: float, now: float) -> float:
    """Large numbers are Unix times, in seconds or (OpenRouter) milliseconds."""
    if number > 1e11:
        return number / 1000 - now
    return number - now if number > 1e9 else number


def _duration(value: str) -> float | None:
    """`36ms` and `6.5s` are most of what is sent, so they are tried first."""
    if value[-1] not in _UNITS:
        return None
    try:
        return float(value[:-2]) / 1000 if value.endswith("ms") else float(value[:-1]) * _SECONDS[value[-1]]
    except ValueError:
        pass
    text = value.strip().replace(" ", "")
    parts = _DURATION.findall(text)
    if not parts or sum(len(number) + len(unit) for number, unit in parts) != len(text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


@lru_cache(maxsize=64)  # Anthropic says the same second of many limits and in many replies
def _moment(value: str) -> float | None:
    """Seconds since 1970 of an ISO time or an HTTP date."""
    readers: tuple[Callable[[str], datetime], ...] = (datetime.fromisoformat, parsedate_to_datetime)
    for read in readers:
        try:
            moment = read(value.strip())
        except ValueError:
            continue
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def _wait(seconds: float) -> float | None:
    return max(0.0, seconds) if seconds <= LONGEST_WAIT else None


def _number(value: str | None) -> float | None:
    """A finite number at the start of a list or alone: gateways send `100, 100;w=60`."""
    if value is None:
        return None
    try:
        number = float(value.split(",", 1)[0].split(";", 1)[0])
    except ValueError:
        return None
    return number if abs(number) < 1e18 else None
