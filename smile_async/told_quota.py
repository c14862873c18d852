"""The limits that a run's server told in its headers, as a quota: for a plan of what is still to be asked."""

import re
from collections.abc import Iterable, Mapping

from smile_async.engine.account import LimitChange
from smile_async.settings import Quota

MINUTE, DAY = 60.0, 86_400.0  # seconds
_PERIODS = {"minute": MINUTE, "day": DAY}
_LABEL = re.compile(
    r"(requests|(?:input |output )?tokens) a (?:(minute|day)|([\d.]+) s)"
)  # as `engine/lane.py` writes it
_WORDS = "the server's"  # so begins the reason of what it told, or of what its words showed


def told_limits(changes: Iterable[LimitChange]) -> dict[str, dict[str, float]]:
    """By endpoint: amounts by the names that `Quota` gives them, those of shorter windows for a whole minute. The last
    word counts."""
    found: dict[str, dict[str, float]] = {}
    for change in changes:
        label = _LABEL.fullmatch(change.what)
        if label is None or change.after is None or not change.reason.startswith(_WORDS):
            continue
        what, named, seconds = label.groups()
        period = _PERIODS[named] if named else float(seconds)
        if period > MINUTE and period != DAY:
            continue
        a_day = period == DAY and what in ("requests", "tokens")
        if a_day or period <= MINUTE:
            name = f"{what.replace(' ', '_')}_per_{'day' if a_day else 'minute'}"
            found.setdefault(change.endpoint, {})[name] = change.after * (1.0 if a_day else MINUTE / period)
    return found


def within(quota: Quota, told: Mapping[str, float]) -> Quota:
    """The quota, and of each amount no more than the server told."""
    named = {name: getattr(quota, name) for name in told}
    least = {name: limit if named[name] is None else min(named[name], limit) for name, limit in told.items()}
    return quota.model_copy(update=least)
