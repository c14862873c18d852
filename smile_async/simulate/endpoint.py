"""The simulated endpoint without I/O: behaviour, limits and counts together. The clock is handed in.

The HTTP server and the in-process provider are two faces of this one class.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from smile_async.engine.job import ServerPace, Usage
from smile_async.simulate.behaviour import ERRORS, Action, ApiError, Ask, Behaviour, Plan
from smile_async.simulate.limits import RateLimits, Refusal
from smile_async.simulate.settings import Fault, SimulatorSettings
from smile_async.simulate.stats import Stats


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request on its way: to be handed back once, to `finish` or to `abandon`."""

    plan: Plan
    ask: Ask | None = None
    admitted: bool = False
    pace: ServerPace | None = None
    """The limits as they were at admission, where the settings want headers of that moment."""


class Endpoint:
    """Strict about its limits and its counts: whatever is received ends in exactly one count of `stats`."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.behaviour = Behaviour(settings)
        self.limits = RateLimits(settings.limits)
        self.stats = Stats()
        self.in_flight = 0
        self._key = settings.api_key.get_secret_value() if settings.api_key else None
        self._admitted = 0
        self._asks: dict[bytes, list[int]] = {}  # number of the prompt, times it was admitted

    def authorize(self, key: str | None) -> ApiError | None:
        """The 401 for a key that is not the one required, before anything else is looked at."""
        if self._key is None or key == self._key:
            return None
        return ApiError(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")

    def receive(self, ask: Ask | ApiError, now: float) -> Ticket:
        """Decide what a request gets and charge it for that. An error is answered as it is."""
        self.stats.received(now)
        if isinstance(ask, ApiError):
            return self._ticket(Plan(ask.status, error=ask), None, now)
        self.stats.asked(ask.key)
        if refused := self._no_service(ask):
            return self._ticket(refused, ask, now)
        prompt = self._asks.setdefault(ask.key, [len(self._asks), 0])
        plan = self.behaviour.decide(ask, prompt[1], prompt[0])
        if plan.charge is not None and (refused := self._no_room(plan.charge, now)):
            return self._ticket(refused, ask, now)
        prompt[1] += 1
        self._admitted += plan.charge is not None
        self.in_flight += 1
        self.stats.took(plan, now, self.in_flight)
        return self._ticket(plan, ask, now, admitted=True)

    def work_off(self, ask: Ask | ApiError, now: float) -> Plan:
        """A line of a batch: decided and counted like a request, outside of all limits. What would happen to a
        connection is a failure of the server here, and not billed."""
        self.stats.received(now)
        if isinstance(ask, ApiError):
            plan = Plan(ask.status, error=ask)
        else:
            self.stats.asked(ask.key)
            prompt = self._asks.setdefault(ask.key, [len(self._asks), 0])
            plan = self._no_service(ask) or _in_a_file(self.behaviour.decide(ask, prompt[1], prompt[0]))
            prompt[1] += 1
            self.stats.took(plan, now, self.in_flight)
        self.stats.ended(plan, ask.key if isinstance(ask, Ask) else None)
        return plan

    def finish(self, ticket: Ticket) -> None:
        """The plan was carried out. A hanging request holds its place in flight until it is abandoned."""
        self.stats.ended(ticket.plan, ticket.ask.key if ticket.ask else None)
        if ticket.plan.action is not Action.HANG:
            self._free(ticket)

    def abandon(self, ticket: Ticket) -> None:
        """The client went away: before `finish`, or after it when the request hangs."""
        if ticket.plan.action is not Action.HANG:
            self.stats.left()
        self._free(ticket)

    def _free(self, ticket: Ticket) -> None:
        self.in_flight -= ticket.admitted

    def _ticket(self, plan: Plan, ask: Ask | None, now: float, *, admitted: bool = False) -> Ticket:
        stale = self.settings.limits.headers_at == "admission"
        return Ticket(plan, ask, admitted, self.limits.pace(now) if stale else None)

    def _no_service(self, ask: Ask) -> Plan | None:
        settings = self.settings
        if settings.models and ask.model is not None and ask.model not in settings.models:
            message = f"The model `{ask.model}` does not exist."
            return _refuse(ApiError(404, message, "invalid_request_error", "model_not_found"))
        if settings.quota_requests is not None and self._admitted >= settings.quota_requests:
            message = "You exceeded your current quota, please check your plan and billing details."
            return _refuse(ApiError(429, message, "insufficient_quota", "insufficient_quota"))
        return None

    def _no_room(self, charge: Usage, now: float) -> Plan | None:
        most = self.settings.max_concurrency
        if most is not None and self.in_flight >= most:
            self.stats.refused["concurrency"] += 1
            message = f"Overloaded: {most} requests are in flight."
            return _refuse(ApiError(503, message, "server_error", "overloaded"))
        refusal = self.limits.admit(now, charge.prompt_tokens, charge.completion_tokens)
        if refusal is None:
            return None
        self.stats.refused[refusal.what] += 1
        wait = refusal.wait if self.settings.limits.retry_after and not math.isinf(refusal.wait) else None
        return _refuse(_rate_limited(refusal), wait)

    def pace(self, ticket: Ticket, now: float) -> ServerPace | None:
        """What the headers of this ticket's answer say; None where they are off or there are no limits."""
        if not self.settings.limits.headers:
            return None
        return ticket.pace or self.limits.pace(now)

    def report(self, *, per_prompt: bool = False) -> dict[str, Any]:
        """The counts and each limit's peak, JSON-ready."""
        return self.stats.as_dict(per_prompt=per_prompt) | {
            "in_flight": self.in_flight,
            "limits": self.limits.peaks(),
        }

    def reset_stats(self) -> None:
        """Count from zero (what is pending stays). Limits and how often a prompt was asked are no counts: they stay."""
        self.stats = Stats(pending=self.stats.pending)


def _in_a_file(plan: Plan) -> Plan:
    if plan.action is Action.ANSWER and plan.fault != Fault.BROKEN_JSON:
        return replace(plan, latency=0.0, retry_after=None)
    return Plan(500, fault=plan.fault, error=ERRORS[Fault.SERVER_ERROR], charge=plan.charge)


def _refuse(error: ApiError, wait: float | None = None) -> Plan:
    return Plan(error.status, error=error, retry_after=wait)


def _rate_limited(refusal: Refusal) -> ApiError:
    if math.isinf(refusal.wait):
        message = f"Request too large: it needs more {refusal.what} than one window holds."
    else:
        message = f"Rate limit reached for {refusal.what}. Please try again in {refusal.wait:.3f}s."
    return ApiError(429, message, refusal.what, "rate_limit_exceeded")
