"""The server's own truth: what was asked, admitted, answered and billed, counted where it happens.

It always adds up: requests = all of by_status + resets + hangs + abandoned + pending.
"""

from collections import Counter
from typing import Any

from smile_async.engine.job import Usage
from smile_async.simulate.behaviour import Action, Plan
from smile_async.simulate.settings import Fault

UNREADABLE = frozenset({Fault.BROKEN_JSON.value, Fault.EMPTY_CHOICES.value})
ASKED, ANSWERED, SERVED = 0, 1, 2


class Stats:
    """Counts of chat requests; times are seconds of the caller's clock.

    `abandoned` are requests whose client went away before its answer; `served` are whole 200 answers that carry a
    completion (truncated ones, refusals and broken rules included), `billed` adds those whose answer was cut, broken,
    abandoned or never sent. A refused or failed request (4xx, 5xx, reset) is not billed.
    """

    def __init__(self, *, pending: int = 0) -> None:
        self.requests = pending
        self.pending = pending
        self.admitted = 0
        self.by_status: Counter[int] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()  # 429 and 503 of limits proper, by what was exceeded
        self.resets = 0
        self.hangs = 0
        self.abandoned = 0
        self.malformed = 0  # connections closed over what is no HTTP; no requests
        self.max_in_flight = 0
        self.served = [0, 0, 0]  # completions, prompt tokens, completion tokens
        self.billed = [0, 0, 0]
        self.minutes: dict[int, list[int]] = {}  # minute since the first request: requests, tokens charged
        self.prompts: dict[bytes, list[int]] = {}  # asked, answered with status 200, whole completions
        self.first: float | None = None
        self.last: float | None = None

    def received(self, now: float) -> None:
        self.requests += 1
        self.pending += 1
        if self.first is None:
            self.first = now
        self.last = now

    def asked(self, key: bytes) -> None:
        self._prompt(key)[ASKED] += 1

    def took(self, plan: Plan, now: float, in_flight: int) -> None:
        """A request passed the limits (those whose plan has no charge never meet them) and gets its plan."""
        self.max_in_flight = max(self.max_in_flight, in_flight)
        if plan.fault:
            self.by_fault[plan.fault] += 1
        if plan.billed and plan.completion is not None:
            _add(self.billed, plan.completion.usage)
        if plan.charge is None:
            return
        self.admitted += 1
        minute = self.minutes.setdefault(int((now - (self.first or now)) // 60), [0, 0])
        minute[0] += 1
        minute[1] += plan.charge.total

    def ended(self, plan: Plan, key: bytes | None) -> None:
        """What the plan said was done on the connection."""
        self.pending -= 1
        if plan.action is Action.RESET:
            self.resets += 1
        elif plan.action is Action.HANG:
            self.hangs += 1
        else:
            self.by_status[plan.status] += 1
        if plan.status == 200 and key is not None:
            self._answered(plan, key)

    def _answered(self, plan: Plan, key: bytes) -> None:
        prompt = self._prompt(key)
        prompt[ANSWERED] += 1
        if is_whole(plan) and plan.completion is not None:
            prompt[SERVED] += 1
            _add(self.served, plan.completion.usage)

    def left(self) -> None:
        self.pending -= 1
        self.abandoned += 1

    def _prompt(self, key: bytes) -> list[int]:
        found = self.prompts.get(key)
        if found is None:
            found = self.prompts[key] = [0, 0, 0]
        return found

    def as_dict(self, *, per_prompt: bool = False) -> dict[str, Any]:
        """JSON-ready. `seconds` lie between the first request and the last."""
        found: dict[str, Any] = {
            "requests": self.requests,
            "admitted": self.admitted,
            "by_status": {str(status): n for status, n in sorted(self.by_status.items())},
            "by_fault": dict(sorted(self.by_fault.items())),
            "refused": dict(self.refused),
            "resets": self.resets,
            "hangs": self.hangs,
            "abandoned": self.abandoned,
            "pending": self.pending,
            "malformed": self.malformed,
            "distinct_prompts": len(self.prompts),
            "max_in_flight": self.max_in_flight,
            "served": _as_tokens(self.served),
            "billed": _as_tokens(self.billed),
            "per_minute": [
                {"minute": minute, "requests": counts[0], "tokens": counts[1]}
                for minute, counts in sorted(self.minutes.items())
            ],
            "first": self.first,
            "last": self.last,
            "seconds": (self.last or 0.0) - (self.first or 0.0),
        }
        if per_prompt:
            names = ("asked", "answered", "served")
            found["per_prompt"] = {
                key.hex(): dict(zip(names, counts, strict=True)) for key, counts in self.prompts.items()
            }
        return found


def is_whole(plan: Plan) -> bool:
    """Whether the answer arrives as a completion that a client can read."""
    return plan.status == 200 and plan.action is Action.ANSWER and plan.fault not in UNREADABLE


def _add(totals: list[int], usage: Usage) -> None:
    totals[0] += 1
    totals[1] += usage.prompt_tokens
    totals[2] += usage.completion_tokens


def _as_tokens(totals: list[int]) -> dict[str, int]:
    return dict(zip(("completions", "prompt_tokens", "completion_tokens"), totals, strict=True))
