"""Limits that the server's headers tell: used to 99 percent over ten windows, and nothing refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from smile_async.engine.job import LimitWord, Reply, Request, ServerPace
from smile_async.engine.lane import period_of
from smile_async.settings import Limits
from smile_async.simulate.limits import SlidingWindow, TokenBucket
from smile_async.testing import ScriptedProvider, replying
from tests.engine.asking import ask_all, query, rows
from tests.engine.refusing_server import RefusingServer, ask_for

USERS = {"told by the user too": Limits(requests_per_minute=600), "told by headers alone": None}
CONCURRENT = Limits(requests_per_minute=600, concurrency=256)


@pytest.mark.parametrize(("user", "latency"), [("told by the user too", 0.2), ("told by headers alone", 1.0)])
def test_a_bucket_is_used_with_the_burst_that_it_holds_at_the_start(tmp_path: Path, user: str, latency: float) -> None:
    """What it allows in ten minutes is eleven times the limit: a bucket is full at the start."""
    server = RefusingServer(TokenBucket(600, 60), latency=latency, headers=True)
    ask_for(600.0, tmp_path, server, USERS[user])
    assert server.refused == []
    assert len(server.answered) >= 0.99 * 11 * 600


@pytest.mark.parametrize(("user", "latency"), [("told by the user too", 0.2), ("told by headers alone", 1.0)])
def test_a_sliding_window_is_used_evenly(tmp_path: Path, user: str, latency: float) -> None:
    server = RefusingServer(SlidingWindow(600, 60), latency=latency, headers=True)
    ask_for(600.0, tmp_path, server, USERS[user])
    assert server.refused == []
    assert len(server.answered) >= 0.99 * 10 * 600


@pytest.mark.parametrize("kind", [SlidingWindow, TokenBucket])
def test_answers_that_take_eight_seconds_change_nothing(
    tmp_path: Path, kind: type[SlidingWindow | TokenBucket]
) -> None:
    """But for the first, which goes alone: at 10 a second, that is 8 * 1.3 * 10 = 104 less at most."""
    server = RefusingServer(kind(600, 60), latency=8.0, headers=True)
    ask_for(600.0, tmp_path, server, CONCURRENT)
    assert server.refused == []
    assert len(server.answered) >= 0.99 * ((11 if kind is TokenBucket else 10) * 600 - 104)


@pytest.mark.parametrize("kind", [SlidingWindow, TokenBucket])
def test_who_shares_the_key_is_seen_in_what_remains(tmp_path: Path, kind: type[SlidingWindow | TokenBucket]) -> None:
    """Somebody else takes 4 of the 10 a second: 6 are left for us, and nothing of ours is refused in vain."""
    server = RefusingServer(kind(600, 60), latency=0.5, headers=True, others=4.0)
    ask_for(360.0, tmp_path, server, Limits(requests_per_minute=600))
    assert server.refused_share <= 0.01
    assert sum(server.per_minute(6)[2:]) / 4 >= 0.9 * 360


def test_who_is_to_use_less_than_the_server_allows_does_so_in_every_minute(tmp_path: Path) -> None:
    """What the server has left beyond that is no sign that it holds a bucket, nor is it ours."""
    server = RefusingServer(TokenBucket(3, 60), latency=8.0, headers=True)
    ask_for(1_200.0, tmp_path, server, Limits(requests_per_minute=2.4, concurrency=4))
    sent = server.answered
    assert max(sum(at - 60 < other <= at for other in sent) for at in sent) == 2  # a third would be more than 2.4
    assert len(sent) >= 0.95 * 20 * 2


def test_a_limit_smaller_than_the_user_thought_is_obeyed_as_soon_as_it_is_heard(tmp_path: Path) -> None:
    server = RefusingServer(SlidingWindow(300, 60), latency=0.5, headers=True)
    ask_for(180.0, tmp_path, server, Limits(requests_per_minute=1_200))
    assert server.refused == []
    assert len(server.answered) >= 0.98 * 900


def test_a_limit_that_only_headers_tell_is_kept_with_its_reason(tmp_path: Path) -> None:
    ask_for(5.0, tmp_path, RefusingServer(SlidingWindow(600, 60), headers=True))
    assert query(tmp_path, "SELECT what, before, after, reason FROM changes LIMIT 1") == [
        ("requests a minute", None, 600.0, "the server's headers")
    ]


@pytest.mark.parametrize(
    ("word", "period"),
    [
        (LimitWord("requests", None, 600, 599, 0.1), 60.0),
        (LimitWord("requests", None, 600, 599, 60.0), 60.0),
        (LimitWord("requests", None, 200, 199, 432.0), 86_400.0),  # OpenAI's free tier: one of 200 a day back in 7m12s
        (LimitWord("requests", None, 14_400, 14_370, 180.0), 86_400.0),  # Groq: 30 * 86,400 / 14,400
        (LimitWord("requests", None, 100, 0, 3_600.0), 3_600.0),
        (LimitWord("requests", None, 100, 50, 40_000.0), 86_400.0),
        (LimitWord("requests", None, 100), 60.0),
    ],
)
def test_the_period_is_a_minute_unless_the_reset_is_longer_than_a_minute_can_take(
    word: LimitWord, period: float
) -> None:
    assert period_of(word) == period


def telling(*limits: int) -> ScriptedProvider:
    """A server that answers in a tenth of a second and names these limits in turn, all of it remaining."""

    def script(_request: Request, number: int) -> Reply:
        limit = limits[min(number, len(limits) - 1)]
        return replace(replying("good"), pace=ServerPace((LimitWord("requests", 60.0, limit, limit, 0.0),)))

    return ScriptedProvider(script, latency=0.1)


def test_a_limit_of_nothing_is_no_limit_and_loses_no_reply(tmp_path: Path) -> None:
    assert ask_all(tmp_path, rows(50), telling(0)).counts.accepted == 50


def test_a_limit_that_is_taken_back_holds_no_longer_and_both_changes_are_kept(tmp_path: Path) -> None:
    """One answer in the middle says 60 a minute, the others 6,000: 300 rows would take five minutes."""
    provider = telling(*[6_000] * 20, 60, 6_000)
    ask_all(tmp_path, rows(300), provider)
    assert provider.asked[-1][0] < 30
    changes = query(tmp_path, "SELECT before, after FROM changes WHERE what = 'requests a minute' ORDER BY rowid")
    assert changes == [(None, 6_000.0), (6_000.0, 60.0), (60.0, 6_000.0)]


def test_keys_with_limits_of_their_own_that_answer_in_turn_are_no_change_for_each_answer(tmp_path: Path) -> None:
    """Two behind one address, of 6,000 and 9,000 a minute: the smaller is kept to, and one row of changes is enough."""
    provider = telling(*[6_000, 9_000] * 200)
    ask_all(tmp_path, rows(400), provider)
    changes = query(tmp_path, "SELECT before, after FROM changes WHERE what = 'requests a minute' ORDER BY rowid")
    assert changes == [(None, 6_000.0)]
    at = [when for when, *_ in provider.asked]
    assert max(sum(when - 1 < other <= when for other in at) for when in at) <= 1.15 * 100 + 25  # pace, and its burst


def test_a_days_limit_is_not_paced_over_the_day(tmp_path: Path) -> None:
    provider = telling(1_000_000)
    ask_all(tmp_path, rows(100), provider, limits=Limits(requests_per_day=1_000))
    assert provider.asked[-1][0] < 10
