"""A server that says what remains of a limit, and not of which period: it is found, if it is no minute."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from smile_async.engine.job import LimitWord, ServerPace
from smile_async.engine.told_period import Bucket, Signs, Word, found_in
from smile_async.settings import Limits
from smile_async.simulate.limits import SlidingWindow, TokenBucket
from tests.engine.asking import query
from tests.engine.refusing_server import RefusingServer, ask_for


@dataclass
class WholeSeconds(RefusingServer):
    """It tells the reset in whole seconds, rounded up."""

    def _pace(self) -> ServerPace | None:
        pace = super()._pace()
        assert pace is not None
        word = pace.limits[0]
        return ServerPace((replace(word, reset=float(math.ceil(word.reset or 0.0))),))


@dataclass
class Stuck(RefusingServer):
    """Nothing is left, it says, whatever it answers."""

    reset: float | None = None

    def _pace(self) -> ServerPace | None:
        return ServerPace((LimitWord("requests", None, 600, 0, self.reset),))


SHORT: dict[str, tuple[Callable[[], RefusingServer], float]] = {
    "ten a second in a bucket": (lambda: RefusingServer(TokenBucket(10, 1), headers=True), 10),
    "ten a second in a bucket, quick": (lambda: RefusingServer(TokenBucket(10, 1), latency=0.2, headers=True), 10),
    "ten a second, whole seconds": (lambda: WholeSeconds(TokenBucket(10, 1), latency=0.2, headers=True), 10),
    "ten in any second, slow": (lambda: RefusingServer(SlidingWindow(10, 1), latency=5.0, headers=True), 10),
    "ten in 0.4 s": (lambda: RefusingServer(TokenBucket(10, 0.4), headers=True), 25),
    "a hundred in ten seconds": (lambda: RefusingServer(TokenBucket(100, 10), latency=0.2, headers=True), 10),
    "a hundred in any ten seconds": (lambda: RefusingServer(SlidingWindow(100, 10), headers=True), 10),
    "sixty in any six seconds": (lambda: RefusingServer(SlidingWindow(60, 6), latency=5.0, headers=True), 10),
}


@pytest.mark.parametrize("name", sorted(SHORT))
def test_a_period_shorter_than_a_minute_is_found_within_the_second_minute(tmp_path: Path, name: str) -> None:
    """Taken for a minute's, ten a second would be used at a sixtieth."""
    make, best = SHORT[name]
    server = make()
    ask_for(240.0, tmp_path, server)
    assert sum(server.per_minute(4)[2:]) / 120 >= 0.9 * best
    assert server.refused_share <= 0.01


def test_a_period_that_was_found_is_kept_with_its_reason(tmp_path: Path) -> None:
    """A minute is assumed at first. The limit stays: a hundred."""
    ask_for(120.0, tmp_path, RefusingServer(SlidingWindow(100, 10), headers=True))
    changes = query(tmp_path, "SELECT what, before, after, reason FROM changes WHERE what LIKE 'requests%'")
    assert changes == [
        ("requests a minute", None, 100.0, "the server's headers"),
        ("requests a 10 s", 100.0, 100.0, "the server's words: not a minute"),
    ]


@pytest.mark.parametrize("kind", [SlidingWindow, TokenBucket])
def test_a_minute_that_nobody_names_stays_a_minute(tmp_path: Path, kind: type[SlidingWindow | TokenBucket]) -> None:
    server = RefusingServer(kind(100, 60), latency=0.5, headers=True)
    ask_for(300.0, tmp_path, server)
    assert server.refused == []
    assert sum(server.per_minute(5)[1:]) >= 0.97 * 4 * 100


@pytest.mark.parametrize(("reset", "within"), [(None, 60.0), (0.0, 60.0), (5.0, 60.0), (30.0, 240.0)])
def test_a_server_that_always_says_that_nothing_is_left_is_used_at_its_limit(
    tmp_path: Path, reset: float | None, within: float
) -> None:
    """It is believed until its reset, three times, and never again while it refuses nothing: 600 a minute after that."""
    server = Stuck(reset=reset)
    ask_for(within + 120.0, tmp_path, server)
    assert sum(within <= at for at in server.answered) >= 0.9 * 2 * 600


def test_nothing_left_holds_everybody_back_until_the_reset_and_no_longer(tmp_path: Path) -> None:
    """The first answer, after a second, says so for seven."""
    server = Stuck(latency=1.0, reset=7.0)
    ask_for(60.0, tmp_path, server, Limits(concurrency=1))
    first, second = server.answered[:2]
    assert 7.0 <= second - first <= 9.5


# What words show ------------------------------------------------------------------------------------------------------


def words(*said: tuple[float, float], gap: float = 0.0) -> Signs:
    """Used of ten, and the reset."""
    signs = Signs()
    for number, (used, reset) in enumerate(said):
        signs.add(float(number), Word(10, 10 - used, reset, gap, 0.5, 1.0), 60.0)
    return signs


def test_resets_that_grow_with_what_was_used_are_a_buckets() -> None:
    assert found_in(words((2, 0.2), (4, 0.4), (8, 0.8)), 10, 0.8) == Bucket(1.0)


def test_resets_that_do_not_grow_are_a_windows() -> None:
    assert found_in(words((2, 1.0), (4, 1.0), (8, 1.0)), 10, 1.0) == 1.0


def test_whose_reset_falls_while_more_is_used_counts_on_the_clock() -> None:
    """Six seconds from now on, used at ten in six seconds: half a period later a bucket would say the same."""
    assert found_in(words((4, 3.4), (5, 3.0), (6, 2.6)), 10, 6.0) == 6.0


def test_nearly_empty_a_window_is_not_taken_for_a_bucket() -> None:
    assert found_in(words((9, 1.0), (9, 1.0), (9, 1.0)), 10, 1.0) == 1.0


def test_who_is_full_whenever_he_answers_was_refilled_meanwhile() -> None:
    """One of ten had left half a second ago and is there again: ten are in five seconds, if not sooner."""
    assert found_in(words((0, 0.0), (0, 0.0), (0, 0.0)), 10, 0.0) == Bucket(5.0)
