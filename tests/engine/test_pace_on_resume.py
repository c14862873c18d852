"""A run that is stopped and goes on at once keeps to the limits of the minute that both share."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from smile_async.engine import account, schema
from smile_async.engine.job import FailureKind, Request
from smile_async.engine.ledger import Ledger
from smile_async.engine.run import RunReport
from smile_async.engine.switch import StopSwitch
from smile_async.settings import Limits
from smile_async.testing import Answer, ScriptedProvider, replying, run_virtual
from tests.engine.asking import ask_all, asking, fail, query, rows

GOOD = replying("good")
LIMITED = FailureKind.RATE_LIMITED


def test_a_run_that_goes_on_at_once_counts_what_was_sent_in_the_last_minute(tmp_path: Path) -> None:
    """600 a minute, refused beyond by an exact sliding window: stopped after 50 s and resumed, no request is refused."""
    sent: list[float] = []

    def script(_request: Request, _number: int) -> Answer:
        now = asyncio.get_running_loop().time()
        if sum(at > now - 60 for at in sent) >= 600:
            return fail(LIMITED, retry_after=10)
        sent.append(now)
        return GOOD

    async def main() -> tuple[RunReport, RunReport]:
        stop, limits = StopSwitch(), Limits(requests_per_minute=600)
        asyncio.get_running_loop().call_later(50.0, stop.drain)
        provider = ScriptedProvider(script, latency=0.05)
        first = await asking(tmp_path, rows(1_500), provider, stop=stop, limits=limits)
        return first, await asking(tmp_path, rows(1_500), provider, limits=limits)

    first, second = run_virtual(main())
    assert first.counts.accepted > 450
    assert (second.exit_code, second.counts.attempts) == (0, 1_500)


def test_what_was_sent_lately_is_told_with_its_tokens(tmp_path: Path) -> None:
    """Refused ones took none, lost ones are taken for the mean of those counted: 150, 50, 70 and 10 make 70.

    The last two were sent 3 s apart, before the clock was set back: taken for sent just now, and 3 s ago.
    """

    async def main() -> list[account.Sent]:
        ledger = Ledger.open(tmp_path, {}, threaded=False)
        sent = [(5.0, "accepted", 9), (50.0, "accepted", 150), (60.0, "rate-limited", None), (70.0, "timeout", None)]
        sent += [(80.0, "accepted", 50), (400.0, "accepted", 9), (497.0, "accepted", 10), (500.0, "accepted", 70)]
        for number, (at, verdict, tokens) in enumerate(sent):
            ledger.write(
                [("attempts", (number, 0, at, 1.0, 1, 0, verdict, None, tokens, tokens and 0, 0.0, "", "here"))]
            )
        await ledger.close()
        with closing(schema.open_reader(tmp_path)) as reader:
            return account.sent_since(reader, 40.0, 100.0)

    assert run_virtual(main()) == [
        (50.0, 150.0, 0.0, "here"),
        (60.0, 0.0, 0.0, "here"),
        (70.0, 70.0, 0.0, "here"),
        (80.0, 50.0, 0.0, "here"),
        (97.0, 10.0, 0.0, "here"),
        (100.0, 70.0, 0.0, "here"),
    ]


def test_an_attempt_is_noted_as_sent_when_it_left_not_when_it_was_admitted(tmp_path: Path) -> None:
    """Between the two lies the commit that says it will leave: on a busy disk that may be longer than a short window."""
    provider = ScriptedProvider(lambda _request, _number: replying("good"), latency=2.0)
    ask_all(tmp_path, rows(3), provider)
    noted = [sent_at for (sent_at,) in query(tmp_path, "SELECT sent_at FROM attempts ORDER BY attempt")]
    assert noted == pytest.approx([at for at, _ in provider.asked], abs=1e-4)


def test_limits_that_are_named_anew_are_changes_and_the_same_ones_are_none(tmp_path: Path) -> None:
    """600 a minute, then the same, then 1,200 and 50 in flight, then none: each change once, none at the first start."""
    named: list[Limits] = [
        Limits(requests_per_minute=600),
        Limits(requests_per_minute=600),
        Limits(requests_per_minute=1_200, concurrency=50),
        Limits(),
    ]
    for number, limits in enumerate(named):
        ask_all(tmp_path, rows(10 * (number + 1)), ScriptedProvider(lambda *_: replying("good")), limits=limits)
    changes = query(tmp_path, "SELECT what, before, after FROM changes WHERE reason = 'named anew' ORDER BY rowid")
    assert changes == [
        ("in-flight", None, 50.0),
        ("requests a minute", 600.0, 1_200.0),
        ("in-flight", 50.0, None),
        ("requests a minute", 1_200.0, None),
    ]
