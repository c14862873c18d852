"""How well servers are used that tell nobody their limits: 169 of them, four minutes each, on a virtual clock.

    python benchmarks/untold.py                           # a table by kind of server; five minutes on two cores
    python benchmarks/untold.py --only bucket 10/1s       # servers with all of these words in their names
    python benchmarks/untold.py --all                     # every server, not only those that are used badly

The engine as it is (ledger, gate, retries) asks without end; the server is a function in the same process, 5 ms away,
that sends no headers. Kinds:

- bucket, sliding, fixed: N requests in P seconds, by a bucket that is full at first, in any P seconds, or by a counter
  that begins anew on the clock; answers take 0.2, 1 or 5 s; `told`: refusals (429) name the seconds to wait;
- places: it holds N requests and refuses others; queue: it works on N, others wait;
- random: beside one of these it refuses 1.5, 3 or 5 in 100 whatever it is doing; these are not counted as refused.

A server is used well if the three minutes after the first brought at least 90 % of what it can give, and at most 1 %
was refused in all four. Servers of 100 a minute have 4 to be refused, then: finding out costs about as many.
"""

import argparse
import asyncio
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from smile_async.engine.job import Failure, FailureKind, Message, Reply, Request, Usage
from smile_async.engine.run import run
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Accepted, Task
from smile_async.simulate.limits import SlidingWindow, TokenBucket
from smile_async.testing import run_virtual

ON_THE_WAY = 0.005  # seconds to the server
MINUTES = 4  # of which the first is for finding out
LEAST, MOST_REFUSED = 0.9, 0.01
PHASE = 0.37  # of its period: when a fixed window begins
ALLOWED = ((10, 1), (50, 1), (60, 6), (100, 10), (600, 60), (100, 60), (3_000, 60))  # requests in seconds
LATENCIES = (0.2, 1.0, 5.0)  # seconds


class FixedWindow:
    """A counter that begins anew every `seconds`, on the clock."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._window, self._count = -1, 0

    def wait(self, now: float, amount: int) -> float:
        self._turn(now)
        if self._count + amount <= self.limit:
            return 0.0
        return (self._window + 1 - PHASE) * self._seconds - now

    def take(self, now: float, amount: int) -> None:
        self._turn(now)
        self._count += amount

    def _turn(self, now: float) -> None:
        if (window := int(now / self._seconds + PHASE)) != self._window:
            self._window, self._count = window, 0


COUNTERS: dict[str, Callable[[int, float], TokenBucket | SlidingWindow | FixedWindow]] = {
    "bucket": TokenBucket,
    "sliding": SlidingWindow,
    "fixed": FixedWindow,
}


@dataclass(frozen=True)
class Case:
    """A server by its name; `best` is the most that it can give, requests a minute."""

    name: str
    best: float
    kind: str = ""
    allowed: tuple[int, int] | None = None
    latency: float = 1.0
    places: int | None = None
    queue: int | None = None
    at_random: float = 0.0
    told: bool = False

    @property
    def group(self) -> str:
        return "random" if self.at_random else self.name.split()[0]


@dataclass
class UntoldServer:
    """A server as a case says, and what it counted."""

    case: Case
    identity: dict[str, str] = field(default_factory=lambda: {"model": "untold"})
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    in_flight: int = 0

    def __post_init__(self) -> None:
        case = self.case
        self._limit = COUNTERS[case.kind](*case.allowed) if case.allowed else None
        self._chance = random.Random(0)
        self._working = asyncio.Semaphore(case.queue) if case.queue else None

    async def ask(self, _request: Request) -> Reply | Failure:
        await asyncio.sleep(ON_THE_WAY)
        now, case = asyncio.get_running_loop().time(), self.case
        if case.at_random and self._chance.random() < case.at_random:
            return self._refuse(1.0)
        wait = self._limit.wait(now, 1) if self._limit else 0.0
        if wait or (case.places is not None and self.in_flight >= case.places):
            self.refused.append(now)
            return self._refuse(wait or 1.0)
        if self._limit:
            self._limit.take(now, 1)
        self.answered.append(now)
        self.in_flight += 1
        latency = case.latency * self._chance.uniform(0.7, 1.3)
        try:
            if self._working is None:
                await asyncio.sleep(latency)
            else:
                async with self._working:
                    await asyncio.sleep(latency)
        finally:
            self.in_flight -= 1
        return Reply("good", "stop", Usage(100, 100), "untold")

    async def aclose(self) -> None: ...

    def _refuse(self, wait: float) -> Failure:
        return Failure(FailureKind.RATE_LIMITED, status=429, retry_after=wait if self.case.told else None)


@dataclass(frozen=True)
class Outcome:
    """`share` of the best after the first minute, `refused` of all, `later` of those after the first minute."""

    case: Case
    share: float
    refused: float
    later: float

    @property
    def good(self) -> bool:
        return self.share >= LEAST and self.refused <= MOST_REFUSED


def cases() -> Iterator[Case]:
    for told in (False, True):
        also = " told" if told else ""
        for kind in COUNTERS:
            for count, period in ALLOWED:
                for latency in LATENCIES:
                    name = f"{kind} {count}/{period}s, answers in {latency:g} s{also}"
                    yield Case(name, count * 60 / period, kind, (count, period), latency, told=told)
        for places, latency in ((10, 1.0), (40, 2.0), (100, 1.0), (5, 5.0), (300, 3.0)):
            name = f"places {places}, answers in {latency:g} s{also}"
            yield Case(name, places / latency * 60, latency=latency, places=places, told=told)
        for share in (0.015, 0.03, 0.05):
            name = f"random {share:.1%} and"
            yield Case(f"{name} queue 40{also}", 1_200, latency=2.0, queue=40, at_random=share, told=told)
            yield Case(f"{name} places 40{also}", 1_200, latency=2.0, places=40, at_random=share, told=told)
            for kind, count, period in (("sliding", 600, 60), ("bucket", 600, 60), ("bucket", 10, 1)):
                full = f"{name} {kind} {count}/{period}s{also}"
                yield Case(full, 600, kind, (count, period), at_random=share, told=told)
    for queue, latency in ((40, 2.0), (10, 1.0), (100, 3.0)):
        yield Case(f"queue {queue}, answers in {latency:g} s", queue / latency * 60, latency=latency, queue=queue)


def measure(case: Case) -> Outcome:
    """Ask it for four minutes of the virtual clock."""
    server = UntoldServer(case)

    def endless() -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield f"row{number}"

    task: Task[str, str] = Task(
        name="untold",
        render=lambda item: Request((Message("user", item),)),
        accept=lambda _item, reply: Accepted(reply.text),
        dump_item=str.encode,
        load_item=bytes.decode,
        dump_value=str.encode,
        identity={},
        source_id=str,
    )

    async def main(folder: Path) -> None:
        stop = StopSwitch()
        asyncio.get_running_loop().call_later(60.0 * MINUTES, stop.abort)
        await run(task, endless(), folder, provider=server, stop=stop, deterministic=random.Random(0))

    with tempfile.TemporaryDirectory() as folder:
        run_virtual(main(Path(folder)))
    answered = sum(at >= 60 for at in server.answered)
    refused = sum(at >= 60 for at in server.refused)
    total = len(server.answered) + len(server.refused)
    return Outcome(
        case,
        answered / (MINUTES - 1) / case.best,
        len(server.refused) / max(1, total),
        refused / max(1, refused + answered),
    )


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A line for each kind: how many are used well, the least share, the most refused."""
    yield "| kind | used well | least share | median share | most refused | most refused after the first minute |"
    yield "|---|---|---|---|---|---|"
    for group in dict.fromkeys(outcome.case.group for outcome in outcomes):
        of_kind = [outcome for outcome in outcomes if outcome.case.group == group]
        shares = sorted(outcome.share for outcome in of_kind)
        yield (
            f"| {group} | {sum(outcome.good for outcome in of_kind)} of {len(of_kind)} | {shares[0]:.2f} |"
            f" {shares[len(shares) // 2]:.2f} | {max(outcome.refused for outcome in of_kind):.1%} |"
            f" {max(outcome.later for outcome in of_kind):.1%} |"
        )
    yield f"| all | {sum(outcome.good for outcome in outcomes)} of {len(outcomes)} | | | | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="servers with all of these in their names"
    )
    parser.add_argument("--all", action="store_true", help="print every server, not only those that are used badly")
    options = parser.parse_args()
    wanted = [case for case in cases() if all(word in case.name for word in options.only)]
    outcomes = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for outcome in pool.map(measure, wanted):
            outcomes.append(outcome)
            if options.all or not outcome.good:
                measured = f"{outcome.share:5.2f} of its best, refused {outcome.refused:.2%}, later {outcome.later:.2%}"
                print(f"{outcome.case.name:48}{measured}", flush=True)
    print("\n".join(["", *table(outcomes)]))


if __name__ == "__main__":
    main()
