"""The IETF's RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers, 07 and later). Pure.

RateLimit-Policy: "burst";q=100;w=60, "daily";q=1000;w=86400
RateLimit: "burst";r=50;t=30
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smile_async.engine.job import LimitWord
from smile_async.provider.limit_names import What

_ITEM = re.compile(r'\s*(?:"([^"]*)"|([^\s,;="]+))((?:\s*;[^,;"]*(?:"[^"]*")?)*)(?:=([^,;\s"]+))?[^,]*(?:,|$)')
_PARAMETER = re.compile(r';\s*([a-z*][a-z0-9_.*-]*)\s*=\s*"?([^";,]*)"?')
_UNITS: dict[str, What] = {"": "requests", "requests": "requests", "request": "requests", "tokens": "tokens"}
"""Bytes and concurrent requests are limits of another kind: not read."""


@dataclass(frozen=True, slots=True)
class Policy:
    quota: int
    window: float | None
    unit: str


def read_policies(text: str) -> dict[str, Policy]:
    """By name; in older drafts an item is its quota (`100;w=60`), which is then its name."""
    policies: dict[str, Policy] = {}
    for name, parameters in _items(text):
        quota = _count(parameters.get("q", name))
        if quota:
            window = _count(parameters.get("w", ""))
            policies[name] = Policy(quota, float(window) if window else None, parameters.get("qu", "").lower())
    return policies


def field_words(field: str, policies: Mapping[str, Policy]) -> Iterator[LimitWord]:
    """What both say together. A field of draft 07 (`limit=100, remaining=50, reset=5`) is a word about requests."""
    spoken = dict(_items(field))
    if "limit" in spoken or "remaining" in spoken:
        limit, remaining, reset = (_count(spoken.get(name, {}).get("", "")) for name in ("limit", "remaining", "reset"))
        if limit != 0:  # a limit of nothing is none that anybody could keep to
            yield LimitWord("requests", window_of(limit, policies), limit, remaining, _seconds(reset))
        return
    for name in dict.fromkeys((*policies, *spoken)):
        policy, parameters = policies.get(name), spoken.get(name, {})
        what = _UNITS.get(policy.unit if policy else "")
        remaining = _count(parameters.get("r", ""))
        if what and (policy or remaining is not None):
            quota, window = (policy.quota, policy.window) if policy else (None, None)
            yield LimitWord(what, window, quota, remaining, _seconds(_count(parameters.get("t", ""))))


def window_of(limit: int | None, policies: Mapping[str, Policy]) -> float | None:
    """The window of the policy whose quota is `limit`, in seconds."""
    return next((policy.window for policy in policies.values() if policy.quota == limit), None)


def _items(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Names with their parameters; the value of `name=value` is the parameter without a name."""
    for match in _ITEM.finditer(text[:4_096]):
        quoted, token, parameters, value = match.groups()
        found = dict(_PARAMETER.findall(parameters or ""))
        if value:
            found[""] = value
        yield quoted if quoted is not None else token, found


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None


def _seconds(count: int | None) -> float | None:
    return None if count is None else float(count)
