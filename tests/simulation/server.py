"""The server of a simulation: another machine, whose state and time outlive every process of the run.

It keeps a log of every request that a process handed to the network, with what became of it on both sides: the truth
that the ledger is compared with.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from smile_async.engine.job import Failure, FailureKind, Reply, Request, Usage
from smile_async.simulate import SimulatedProvider, SimulatorSettings
from smile_async.simulate.behaviour import Action, Behaviour
from smile_async.simulate.dialogues import CLIENT, SUPPORTER, Script
from smile_async.simulate.endpoint import Ticket
from smile_async.simulate.settings import STICKY, Latency
from tests.simulation.scenario import Outage, Scenario, Site

KEY = "simulated-key"
REPLY = "reply"
NOTHING = Usage(0, 0)
GONE = "gone"  # the process that asked was killed, or gave up, before an answer came
BUG = "bug"  # the provider raised, as the scenario wanted


@dataclass(slots=True)
class Send:
    """One request for `endpoint` that process number `life` handed to the network, in the server's seconds.

    `awake` is the time since the process began, without the time it stood still; `late`: it stood still on the very
    step before this one, when the request counted as gone already. `arrived` None: nobody heard it. `asked` is what was
    asked: what the messages after the first say, and `max_tokens`.
    `got` is what the process got: `reply`, a kind of failure, `gone`, or empty as long as it waits.
    """

    endpoint: str
    life: int
    row: str
    at: float
    awake: float
    late: bool
    asked: tuple[tuple[str, ...], int | None] = ((), None)
    arrived: float | None = None
    charge: Usage = NOTHING
    refused: str = ""  # the limit that the server found exceeded
    billed: Usage | None = None
    got: str = ""
    ended: float = 0.0
    ended_awake: float = 0.0
    text: str = ""
    usage: Usage | None = None
    finish_reason: str | None = None
    refusal: str | None = None
    ticket: Ticket | None = field(default=None, repr=False)

    def end(self, got: str, now: float, awake: float) -> None:
        self.got, self.ended, self.ended_awake = got, now, awake


class Lines:
    """Answers of a drawn length that say nothing; no two are alike."""

    def __init__(self, length: tuple[int, int]) -> None:
        self._shortest, self._span = length[0], length[1] - length[0] + 1

    def script(self, draw: int, number: int) -> Script:
        return [(CLIENT, f"{draw:016x}"), (SUPPORTER, "字" * (self._shortest + draw % self._span))]


class Server:
    """An endpoint with its troubles, and the log of all that was sent to it."""

    def __init__(self, site: Site, scenario: Scenario, log: list[Send], note: Callable[..., None]) -> None:
        self.site = site
        self.scenario = scenario
        self.note = note
        self.log = log  # of all endpoints together
        self.outages: tuple[Outage, ...] = site.outages
        batches = {} if scenario.batches is None else scenario.batches.server
        self._forgotten = 0  # outages whose loss of state is done
        self.provider = SimulatedProvider(SimulatorSettings(api_key=KEY, batches=batches, **site.server))
        self.endpoint = self.provider.endpoint
        self.endpoint.behaviour._source = Lines(scenario.length)
        self._orphans: list[tuple[float, Ticket]] = []

    def calm_down(self) -> None:
        """From now on the server is up, has credit and fails nobody but those whose prompt it always refuses."""
        settings = self.endpoint.settings
        faults = {fault: share for fault, share in settings.faults.items() if fault in STICKY}
        calm = settings.model_copy(
            update={"faults": faults, "breaches": {}, "quota_requests": None, "latency": Latency(base=0.05)}
        )
        self.endpoint.settings = calm
        self.endpoint.behaviour = Behaviour(calm)
        self.endpoint.behaviour._source = Lines(self.scenario.length)
        self.outages = ()

    def top_up(self) -> None:
        """The account has credit again."""
        self.endpoint.settings = self.endpoint.settings.model_copy(update={"quota_requests": None})

    def outage(self, now: float) -> Outage | None:
        """The outage that is on; one that is over takes the state of the limits with it."""
        for number, outage in enumerate(self.outages):
            if outage.begin <= now < outage.begin + outage.seconds:
                return outage
            if now >= outage.begin + outage.seconds and number >= self._forgotten:
                self._forgotten = number + 1
                if outage.forgets:
                    self.endpoint.limits = type(self.endpoint.limits)(self.endpoint.settings.limits)
        return None

    def next_outage(self, now: float) -> float:
        """Seconds until the server goes down."""
        return min((outage.begin - now for outage in self.outages if outage.begin > now), default=float("inf"))

    def receive(self, send: Send, request: Request, key: str, now: float) -> Ticket | None:
        """The request arrives; None when nobody is there."""
        if self.outage(now) is not None:
            return None
        for ends, orphan in [entry for entry in self._orphans if entry[0] <= now]:
            self.endpoint.abandon(orphan)
            self._orphans.remove((ends, orphan))
        self.provider._api_key = key
        ticket = self.provider._receive(request, now)
        plan = ticket.plan
        send.arrived, send.ticket = now, ticket
        send.charge = plan.charge or NOTHING
        if plan.error is not None and plan.error.code == "rate_limit_exceeded" and not plan.fault:
            send.refused = plan.error.type
        send.billed = plan.completion.usage if plan.billed and plan.completion else None
        self.note("server", self.site.name, send.row, plan.status or plan.action.value, plan.fault, plan.charge)
        return ticket

    def orphan(self, sends: list[tuple[Send, Request, str]], now: float, awake: float) -> None:
        """The process that waits for these was killed: what was on its way arrives, what was begun is done."""
        for send, request, key in sends:
            arrives = send.at + self.scenario.uplink
            ticket = send.ticket if send.arrived is not None else self.receive(send, request, key, max(arrives, now))
            send.end(GONE, now, awake)
            if ticket is None:
                continue
            if ticket.plan.action is Action.HANG:
                self.endpoint.abandon(ticket)
            else:
                self._orphans.append((now + ticket.plan.latency, ticket))


class Line:
    """The provider of one process: its connection to the server. `now` is the server's clock."""

    def __init__(
        self,
        server: Server,
        life: int,
        *,
        now: Callable[[], float],
        awake: Callable[[], float],
        late: Callable[[], bool],
        dead: Callable[[], bool],
        key: str = KEY,
        breaks_at: int | None = None,
    ) -> None:
        self.server = server
        self.life = life
        self._now = now
        self._awake = awake
        self._late = late
        self._dead = dead
        self._key = key
        self._breaks_at = breaks_at
        self._asked = 0
        self.most_under_way = 0
        self._under_way: dict[int, tuple[Send, Request, str]] = {}

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"provider": "simulated", "model": "simulated"}

    async def ask(self, request: Request) -> Reply | Failure:
        if self._dead():
            await asyncio.Event().wait()
        row, *more = [message.content for message in request.messages]
        asked = tuple(more), request.max_tokens
        send = Send(self.server.site.name, self.life, row, self._now(), self._awake(), self._late(), asked)
        number = self._asked = self._asked + 1
        server = self.server
        server.log.append(send)
        server.note("send", server.site.name, send.row, *more)
        self._under_way[number] = (send, request, self._key)
        self.most_under_way = max(self.most_under_way, len(self._under_way))
        try:
            answer = await self._carry(send, request)
        except asyncio.CancelledError:
            self._give_up(send, request)
            raise
        finally:
            if not self._dead():
                del self._under_way[number]
        return self._hand_over(send, answer, number)

    async def aclose(self) -> None:
        """Nothing is held open."""

    def cut(self) -> None:
        """The process was killed."""
        self.server.orphan(list(self._under_way.values()), self._now(), self._awake())

    async def _carry(self, send: Send, request: Request) -> Reply | Failure:
        server, timeout = self.server, self.server.scenario.timeout
        if server.scenario.uplink:
            await asyncio.sleep(server.scenario.uplink)
        arrives = send.at + server.scenario.uplink  # a process that stands still does not hold up the network
        ticket = server.receive(send, request, self._key, min(self._now(), arrives))
        if ticket is None:
            return Failure(FailureKind.CONNECT, "nobody is there")
        hangs = ticket.plan.action is Action.HANG
        latency = float("inf") if hangs else ticket.plan.latency
        falls = server.next_outage(self._now())
        if hangs:
            server.endpoint.finish(ticket)
        await asyncio.sleep(min(latency, falls, timeout))
        if latency <= min(falls, timeout):
            server.endpoint.finish(ticket)
            return server.provider._outcome(ticket, server.endpoint.pace(ticket, self._now()))
        server.endpoint.abandon(ticket)
        if falls <= (timeout):
            return Failure(FailureKind.DISCONNECTED, "the server went down")
        return Failure(FailureKind.TIMEOUT, f"no answer in {timeout:g} s")

    def _give_up(self, send: Send, request: Request) -> None:
        """The client gave up; what had left it arrives all the same."""
        if self._dead():
            return
        ticket = send.ticket
        if ticket is None and send.arrived is None:
            ticket = self.server.receive(send, request, self._key, self._now())
            if ticket is not None and ticket.plan.action is Action.HANG:
                self.server.endpoint.finish(ticket)
        if ticket is not None:
            self.server.endpoint.abandon(ticket)
        send.end(GONE, self._now(), self._awake())
        self.server.note("gave up", send.row)

    def _hand_over(self, send: Send, answer: Reply | Failure, number: int) -> Reply | Failure:
        if number == self._breaks_at:
            send.end(BUG, self._now(), self._awake())
            raise ProviderBrokeError
        if isinstance(answer, Reply):
            send.text, send.usage = answer.text, answer.usage
            send.finish_reason, send.refusal = answer.finish_reason, answer.refusal
            send.end(REPLY, self._now(), self._awake())
        else:
            send.end(str(answer.kind), self._now(), self._awake())
        self.server.note("answer", send.row, send.got)
        return answer


class ProviderBrokeError(Exception):
    """A bug of a provider, drawn by the scenario."""
