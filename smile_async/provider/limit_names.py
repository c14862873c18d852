"""Which headers tell of which limit: names in, a plan for reading them out. Pure; names are lower case.

Each server has its dialect, and all are names of one grammar: limit, remaining or reset, of requests or tokens, for a
period. A server sends the same names with every reply, so they are understood once.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

What = Literal["requests", "tokens", "input_tokens", "output_tokens"]

HANDED_ON = "llm_provider-"  # how a LiteLLM proxy begins the names of what the server behind it said

SECOND, MINUTE, DAY = 1.0, 60.0, 86_400.0

_PERIODS = {"second": SECOND, "minute": MINUTE, "hour": 3_600.0, "day": DAY, "month": 30 * DAY}
_WHATS: dict[str, What] = {
    "requests": "requests",
    "req": "requests",  # Mistral
    "project-requests": "requests",  # OpenAI
    "tokens": "tokens",
    "project-tokens": "tokens",  # OpenAI
    "input-tokens": "input_tokens",  # Anthropic, Baidu Qianfan
    "output-tokens": "output_tokens",
    "tokens-prompt": "input_tokens",  # Fireworks
    "tokens-cache-adjusted-prompt": "input_tokens",
    "tokens-generated": "output_tokens",
}
_ANY = "|".join(sorted(_WHATS, key=len, reverse=True))

# OpenAI, Azure (with its renewalperiod), Groq, Cerebras and Mistral (with a period at the end), Fireworks, OpenRouter,
# Kong and what else sends X-RateLimit-Limit or the first IETF drafts' RateLimit-Limit
_COMMON = re.compile(
    rf"(?:x-)?ratelimit-(limit|remaining|reset|renewalperiod)(?:-({_ANY}))?(-dynamic)?(?:-({'|'.join(_PERIODS)}))?"
)
_ANTHROPIC = re.compile(r"anthropic-ratelimit-(requests|tokens|input-tokens|output-tokens)-(limit|remaining|reset)")
_MISTRAL = re.compile(r"(?:x-)?ratelimitbysize-(limit|remaining|reset)(?:-(minute|month))?")
_TOGETHER = re.compile(r"x-tokenlimit-(limit|remaining|reset)(-dynamic)?")


@dataclass(frozen=True, slots=True)
class LimitNames:
    """The headers of one limit; empty where there is none. `renewal` is the header that says the period."""

    what: What
    period: float | None = None
    limit: str = ""
    remaining: str = ""
    reset: str = ""
    renewal: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to read a reply's headers. `field` and `policy` say that there is an IETF RateLimit or RateLimit-Policy."""

    limits: tuple[LimitNames, ...] = ()
    field: bool = False
    policy: bool = False


@lru_cache(maxsize=256)  # servers with names of their own making must not fill the memory
def plan_for(names: tuple[str, ...]) -> Plan | None:
    """None when no name tells of a limit."""
    found: dict[tuple[str, ...], tuple[What, float | None, dict[str, str]]] = {}
    for name in names:
        if "limit" in name and (read := _read(name)):
            part, group, what, period = read
            found.setdefault(group, (what, period, {}))[2].setdefault(part, name)
    plan = Plan(_limits(found, names), "ratelimit" in names, "ratelimit-policy" in names)
    return plan if plan.limits or plan.field or plan.policy else None


@lru_cache(maxsize=256)
def handed_on(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those that a LiteLLM proxy hands on from the server behind it: all, as one may say which dialect another is."""
    behind = tuple(name for name in names if name.startswith(HANDED_ON))
    return behind if any("limit" in name for name in behind) else ()


def _read(name: str) -> tuple[str, tuple[str, ...], What, float | None] | None:
    """A field of `LimitNames`, what tells its limit from others, what is limited, the period where the name has it."""
    if match := _COMMON.fullmatch(name):
        part, what, dynamic, period = match.groups()
        group = (what or "", dynamic or "", period or "")
        return "renewal" if part == "renewalperiod" else part, group, _WHATS[what or "requests"], _PERIODS.get(period)
    if match := _ANTHROPIC.fullmatch(name):
        what, part = match.groups()
        return part, ("anthropic", what), _WHATS[what], MINUTE
    if match := _MISTRAL.fullmatch(name):
        part, period = match.groups()
        return part, ("bysize", period or "minute"), "tokens", _PERIODS[period or "minute"]
    if match := _TOGETHER.fullmatch(name):
        part, dynamic = match.groups()
        return part, ("together", dynamic or ""), "tokens", SECOND
    return None


def _limits(
    found: Mapping[tuple[str, ...], tuple[What, float | None, Mapping[str, str]]], names: Iterable[str]
) -> tuple[LimitNames, ...]:
    """With periods that the dialect says, not the name: Groq's requests are a day's, Together's limits are a second's,
    and Fireworks' a minute's."""
    groq = any(name.startswith("x-groq-") for name in names)
    together = any(group[0] == "together" for group in found)
    told: list[LimitNames] = []
    for group, (what, named, parts) in found.items():
        period = named
        if period is None and group[0].startswith("tokens-"):
            period = MINUTE
        elif period is None and together:
            period = SECOND
        elif period is None and groq:
            period = DAY if what == "requests" else MINUTE
        limit, remaining, reset, renewal = (parts.get(part, "") for part in ("limit", "remaining", "reset", "renewal"))
        if limit or remaining:
            told.append(LimitNames(what, period, limit, remaining, reset, renewal))
    return tuple(told)
