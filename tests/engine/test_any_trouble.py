"""Random scripts of failures, rejections and replies, with random stops and resumes: the sums are always right."""

import asyncio
import random
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from smile_async.engine.job import PERHAPS_BILLED, FailureKind, Reply, Request
from smile_async.engine.run import RunReport
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Task
from smile_async.settings import Limits, RetryPolicy
from smile_async.testing import Answer, ScriptedProvider, replying, run_virtual
from tests.engine.asking import asking, counts_of, echo, fail, outcomes, query, rows, word

ROWS = 50
RESUMES = 40
TROUBLE: list[Answer] = [
    fail(FailureKind.RATE_LIMITED, retry_after=2),
    fail(FailureKind.RATE_LIMITED),
    fail(FailureKind.OVERLOADED, retry_after=1),
    fail(FailureKind.SERVER_ERROR),
    fail(FailureKind.CONNECT),
    fail(FailureKind.DISCONNECTED),
    fail(FailureKind.TIMEOUT),
    fail(FailureKind.BROKEN_BODY),
    fail(FailureKind.CONTENT_FILTER),
    fail(FailureKind.BAD_REQUEST),
    fail(FailureKind.AUTH),
    replying("bad: x"),
    replying("bad: y"),
]


class Server:
    """Answers by chance, and keeps count of what it has given to whom."""

    def __init__(self, chance: random.Random, badness: float) -> None:
        self.chance = chance
        self.badness = badness
        self.good: list[str] = []
        self.replies = 0

    async def __call__(self, request: Request, _number: int) -> Answer:
        await asyncio.sleep(self.chance.choice([0, 0.3, 1, 4]))
        answer = self.chance.choice(TROUBLE) if self.chance.random() < self.badness else replying("good")
        if isinstance(answer, Reply):
            self.replies += 1
            if answer.text == "good":
                self.good.append(word(request))
        return answer


def aborting(stop: StopSwitch, at: int) -> Task[str, str]:
    """A task whose `at`-th rendering aborts the run: what was started in the same round of the loop never begins."""
    task, rendered = echo(), 0

    def render(item: str) -> Request:
        nonlocal rendered
        rendered += 1
        if rendered == at:
            stop.abort()
        return task.render(item)

    return replace(task, render=render)


async def part(folder: Path, provider: ScriptedProvider, chance: random.Random, *, last: bool) -> RunReport | None:
    """One process's part of the run, stopped somewhere unless it is the last."""
    stop, loop = StopSwitch(), asyncio.get_running_loop()
    limits = Limits(concurrency=chance.choice([1, 5, 50]))
    task = aborting(stop, at=chance.randrange(100)) if not last and chance.random() < 0.3 else echo()
    policy = RetryPolicy(max_attempts=2, max_failures=2, patience=60)
    running = asyncio.ensure_future(
        asking(
            folder,
            rows(ROWS),
            provider,
            task=task,
            stop=stop,
            limits=limits,
            retry=policy,
            seed=chance.randrange(10**9),
        )
    )
    if not last:
        ways: list[Callable[[], object]] = [stop.drain, stop.abort, running.cancel, lambda: None]
        how = chance.choice(ways)
        loop.call_later(chance.uniform(0, 20), how)
    try:
        return await running
    except asyncio.CancelledError:
        return None


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), badness=st.sampled_from([0.0, 0.1, 0.5, 0.9]))
def test_whatever_happens_every_row_ends_once_and_every_reply_is_kept_once(seed: int, badness: float) -> None:
    chance = random.Random(seed)
    server = Server(chance, badness)
    provider = ScriptedProvider(server)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given_up = 0
        for number in range(RESUMES):
            calm = number >= RESUMES // 2
            server.badness = 0.0 if calm else badness
            report = run_virtual(part(folder, provider, chance, last=calm))
            assert counts_of(folder).in_flight == 0
            given_up = query(folder, "SELECT count(*) FROM attempts WHERE verdict='unknown'")[0][0]
            if report is not None and report.state == "done":
                break
        assert report is not None
        counts = report.counts
        assert (report.state, counts.pending, counts.in_flight) == ("done", 0, 0)
        assert counts.accepted + counts.set_aside == counts.total == len(outcomes(folder)) == ROWS
        # What the server gave and what the ledger holds; an abort may take answers that were on their way.
        kept = query(folder, "SELECT count(*) FROM replies WHERE text IS NOT NULL")[0][0]
        assert kept == counts.replies == query(folder, "SELECT count(*) FROM attempts WHERE paid")[0][0]
        assert server.replies - given_up <= kept <= server.replies
        # An attempt that is aborted before it begins is noted all the same: a crash could not tell it from others.
        assert len(provider.asked) <= counts.attempts <= len(provider.asked) + given_up
        # A row whose good reply was seen is not asked again: beyond one good reply each there are those given up.
        assert len(server.good) - len(set(server.good)) <= given_up
        assert counts.accepted <= len(set(server.good))
        billed = (*map(str, PERHAPS_BILLED), "unknown")
        marks = ",".join("?" * len(billed))
        found = query(folder, f"SELECT count(*) FROM attempts WHERE paid = 0 AND verdict IN ({marks})", *billed)
        assert counts.perhaps_billed == found[0][0]
        # No row beyond its budgets: two replies, two failures of its own.
        assert query(folder, "SELECT max(p) <= 2 FROM (SELECT sum(paid) p FROM attempts GROUP BY ordinal)") == [(1,)]
        assert query(folder, "SELECT max(c) <= 2 FROM (SELECT sum(charged) c FROM attempts GROUP BY ordinal)") == [(1,)]
