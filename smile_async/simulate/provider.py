"""The simulated endpoint without a network: a `Provider` for runs on a virtual clock."""

import asyncio
from collections.abc import Mapping
from typing import Any

from smile_async.engine.job import Failure, FailureKind, Reply, Request, ServerPace
from smile_async.simulate.behaviour import Action, Plan
from smile_async.simulate.chat import ask_of, plan_body
from smile_async.simulate.endpoint import Endpoint, Ticket
from smile_async.simulate.settings import Fault, SimulatorSettings


class SimulatedProvider:
    """Behaves as the server over HTTP does: same settings, same plans, same counts (`endpoint.report()`).

    Time is the running loop's `time()`, so under a virtual clock nothing waits. `timeout` is the client's total
    deadline in seconds; None waits for ever, also for a request that hangs. `api_key` is what the client would send.
    """

    def __init__(
        self, settings: SimulatorSettings, *, timeout: float | None = None, api_key: str | None = None
    ) -> None:
        self.endpoint = Endpoint(settings)
        self._timeout = timeout
        self._api_key = api_key

    @property
    def identity(self) -> Mapping[str, Any]:
        settings = self.endpoint.settings
        return {"provider": "simulated", "model": settings.model, "seed": settings.seed}

    async def ask(self, request: Request) -> Reply | Failure:
        loop = asyncio.get_running_loop()
        ticket = self._receive(request, loop.time())
        if ticket.plan.action is Action.HANG:
            self.endpoint.finish(ticket)
        try:
            late = await _wait(ticket.plan, self._timeout)
        except asyncio.CancelledError:
            self.endpoint.abandon(ticket)
            raise
        if late:
            self.endpoint.abandon(ticket)
            return Failure(FailureKind.TIMEOUT, f"no answer in {self._timeout:g} s")
        self.endpoint.finish(ticket)
        return self._outcome(ticket, self.endpoint.pace(ticket, loop.time()))

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _receive(self, request: Request, now: float) -> Ticket:
        settings = self.endpoint.settings
        ask = self.endpoint.authorize(self._api_key) or ask_of(
            request.messages,
            detect_speakers=settings.detect_speakers,
            model=settings.model if not settings.models else settings.models[0],
            max_tokens=request.max_tokens,
        )
        return self.endpoint.receive(ask, now)

    def _outcome(self, ticket: Ticket, pace: ServerPace | None) -> Reply | Failure:
        plan, completion = ticket.plan, ticket.plan.completion
        failure = _failure_kind(plan)
        if failure is not None or completion is None:
            return self._failure(plan, failure or FailureKind.BROKEN_BODY, pace)
        return Reply(
            completion.text or "",
            completion.finish_reason,
            completion.usage,
            (ticket.ask.model if ticket.ask else None) or self.endpoint.settings.model,
            completion.refusal,
            pace,
        )

    def _failure(self, plan: Plan, kind: FailureKind, pace: ServerPace | None) -> Failure:
        message = plan.error.message if plan.error else plan.fault
        raw = None
        if plan.status == 200:
            body = plan_body(plan, model=self.endpoint.settings.model, ident="0", created=0)
            raw = body[: len(body) // 2] if plan.action is Action.CUT else body
        return Failure(kind, message, plan.status or None, plan.retry_after, raw, pace)


async def _wait(plan: Plan, timeout: float | None) -> bool:  # noqa: ASYNC109
    """Wait as long as the plan says; True when the deadline came first."""
    if plan.action is Action.HANG:
        if timeout is None:
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(timeout)
        return True
    late = timeout is not None and plan.latency > timeout
    await asyncio.sleep(timeout if late and timeout is not None else plan.latency)
    return late


BY_STATUS = {
    400: FailureKind.BAD_REQUEST,
    401: FailureKind.AUTH,
    404: FailureKind.UNKNOWN_MODEL,
    429: FailureKind.RATE_LIMITED,
    502: FailureKind.GATEWAY,
    503: FailureKind.OVERLOADED,
    504: FailureKind.GATEWAY,
}
BY_CODE = {
    "content_filter": FailureKind.CONTENT_FILTER,
    "insufficient_quota": FailureKind.QUOTA_EXHAUSTED,
}
BY_FAULT = {
    Fault.BROKEN_JSON.value: FailureKind.BROKEN_BODY,
    Fault.EMPTY_CHOICES.value: FailureKind.BROKEN_BODY,
}


def _failure_kind(plan: Plan) -> FailureKind | None:
    """What a client that reads HTTP well makes of this plan; None for a reply."""
    if plan.action in {Action.RESET, Action.CUT}:
        return FailureKind.DISCONNECTED
    if plan.error is None:
        return BY_FAULT.get(plan.fault)
    default = BY_STATUS.get(plan.status, FailureKind.SERVER_ERROR)
    return BY_CODE.get(plan.error.code or "", default)
