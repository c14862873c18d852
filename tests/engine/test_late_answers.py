"""Requests that were given up here while the server goes on with them: they take its places for some time yet."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from smile_async.engine.estimate import Expected
from smile_async.engine.job import Failure, FailureKind, Reply, Request, Usage
from smile_async.settings import Limits, Quota
from smile_async.testing import run_virtual
from tests.engine.refusing_server import ON_THE_WAY, RefusingServer, ask_for
from tests.engine.server_limits import lane_under


@dataclass
class Hanging(RefusingServer):
    """One in twenty takes 18 seconds, and is given up after 10: it holds its place for eight seconds more."""

    async def ask(self, _request: Request) -> Reply | Failure:
        await asyncio.sleep(ON_THE_WAY)
        loop = asyncio.get_running_loop()
        assert self.places is not None
        if self.in_flight >= self.places:
            self.refused.append(loop.time())
            return Failure(FailureKind.RATE_LIMITED, status=429)
        self.in_flight += 1
        if self.chance.random() < 0.05:
            loop.call_later(18.0, self._free)
            await asyncio.sleep(10.0)
            return Failure(FailureKind.TIMEOUT)
        await self._work()
        self._free()
        self.answered.append(loop.time())
        return Reply("good", "stop", Usage(100, 100), "m")

    def _free(self) -> None:
        self.in_flight -= 1


@pytest.mark.parametrize("limits", [None, Limits(concurrency=10)], ids=["found", "told"])
def test_places_are_not_thought_fewer_for_answers_that_were_given_up(tmp_path: Path, limits: Limits | None) -> None:
    """Ten places, 0.95 * 2 + 0.05 * 18 = 2.8 s each: 10 / 2.8 * 0.95 = 3.4 answers a second at best."""
    server = Hanging(latency=2.0, places=10)
    ask_for(600.0, tmp_path, server, limits)
    assert sum(at >= 60 for at in server.answered) / 540 >= 0.85 * 3.4
    assert server.refused_share <= 0.01


def test_what_timed_out_counts_in_every_window_until_it_has_passed() -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop().time
        lane = lane_under(Quota(requests_per_minute=10, tokens_per_minute=10_000), clock=clock)
        assert lane.wait(Expected(100, 400), 0.0, clock()) == (0.0, "")
        taken = await lane.take(Expected(100, 400))
        lane.departed(taken)
        await asyncio.sleep(10.0)
        lane.settle(taken, None, refused=False, late=True)
        assert (lane.in_flight, lane.late(clock())) == (0, 1)
        assert [window.used() for window in lane.windows] == [1.0, 500.0]
        await asyncio.sleep(10.1)  # as long again as it had taken
        assert lane.late(clock()) == 0
        assert [window.used() for window in lane.windows] == [1.0, 500.0]
        await asyncio.sleep(41.0)
        assert [window.used() for window in lane.windows] == [0.0, 0.0]

    run_virtual(main())
