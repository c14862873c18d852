"""Counters that begin anew on the clock: found from dry spells, and by the engine within a minute."""

from collections.abc import Callable
from pathlib import Path

import pytest

from smile_async.engine.admitted import Admitted
from smile_async.engine.counters import Counter, Dry, DrySpells, find_counter, guess_counter
from smile_async.simulate.limits import SlidingWindow
from tests.engine.asking import query
from tests.engine.refusing_server import FixedWindow, RefusingServer, ask_for

PERIODS = (1.0, 2.0, 5.0, 6.0, 10.0, 15.0, 20.0, 30.0, 60.0)  # seconds
MEMORY = 180.0


def asked(counter: FixedWindow | SlidingWindow, starts: list[tuple[float, float, float]]) -> tuple[list[Dry], Admitted]:
    """One request every so often from some time to another: what a server with that counter makes of them. Refused
    ones with none admitted between are a spell."""
    log, spells = Admitted(PERIODS, MEMORY), DrySpells(MEMORY)
    for begin, end, apart in starts:
        for number in range(int((end - begin) / apart)):
            now = begin + number * apart
            sent = log.add(now, 1)
            if counter.wait(now, 1) > 0:
                log.take_back(sent, 0)
                spells.note([now], now, log)
            else:
                counter.take(now, 1)
    return list(spells._spells), log


def test_two_full_windows_and_where_they_end_are_enough() -> None:
    """A hundred in ten seconds, from 3 s on the clock. At 20 a second each window is full after five seconds: dry from
    8 to 13 and from 18 to 23. The counts are the same, one in a hundred, and the beginnings are known to 0.05 s."""
    spells, log = asked(FixedWindow(100, 10, begins=3.0), [(3.0, 25.0, 0.05)])
    assert [(round(spell.first), round(spell.last)) for spell in spells] == [(8, 13), (18, 23)]
    assert find_counter(spells, log, PERIODS) == Counter(100, 10.0)


def test_small_counts_agree_by_chance_and_are_no_finding_yet() -> None:
    """Ten in a second: two windows agree on a count of ten one time in ten, and nine periods with some beginnings each
    are tried. Five agree hardly ever."""
    spells, log = asked(FixedWindow(10, 1, begins=0.3), [(0.3, 0.91, 0.05), (3.3, 3.91, 0.05)])
    assert len(spells) == 2
    assert find_counter(spells, log, PERIODS) is None
    more = [(begin + 0.3, begin + 0.91, 0.05) for begin in range(0, 15, 3)]
    spells, log = asked(FixedWindow(10, 1, begins=0.3), more)
    assert len(spells) == 5
    assert find_counter(spells, log, PERIODS) == Counter(10, 1.0)


def test_two_counts_of_a_ramp_that_nearly_overlap_agree_by_necessity() -> None:
    """786 and 786 in any twenty seconds, four seconds apart: of the second count only what came since is new. Seen with
    a bucket of 600 a minute, which was thought to be a window and refused 2 % instead of 0.7."""
    log = Admitted(PERIODS, MEMORY)
    for number in range(400):
        log.add(number * 0.05, 1)
    spells = [Dry(19.0, 19.0), Dry(19.5, 19.5)]  # ten admitted between, twenty a second all the time
    assert log.within(10.0, 19.0) == log.within(10.0, 19.5) == 200
    assert find_counter(spells, log, PERIODS) is None


def test_a_long_dry_spell_suggests_the_shortest_period_that_explains_it() -> None:
    """600 in the first six seconds, then nothing until 38 s: no counter of thirty seconds is full for 32."""
    spells, log = asked(FixedWindow(600, 60, begins=-22.0), [(0.0, 7.0, 0.01), (14.0, 15.0, 1.0), (34.0, 42.0, 4.0)])
    assert spells[0].last == 34.0
    assert guess_counter(spells[0], log, PERIODS) == Counter(600, 60.0)


def test_a_short_dry_spell_suggests_nothing() -> None:
    """Two seconds without an answer may be a bucket's."""
    spells, log = asked(FixedWindow(50, 5, begins=0.0), [(0.0, 6.0, 0.02)])
    assert spells[0].last - spells[0].first > 3
    assert guess_counter(spells[0], log, PERIODS) is None


SERVERS: dict[str, tuple[Callable[[], RefusingServer], float]] = {
    "ten a second": (lambda: RefusingServer(FixedWindow(10, 1), latency=1.0), 600),
    "fifty a second": (lambda: RefusingServer(FixedWindow(50, 1), latency=0.2), 3_000),
    "sixty in six seconds": (lambda: RefusingServer(FixedWindow(60, 6), latency=0.2), 600),
    "a hundred in ten seconds": (lambda: RefusingServer(FixedWindow(100, 10), latency=0.2), 600),
    "a hundred in ten seconds, slow answers": (lambda: RefusingServer(FixedWindow(100, 10), latency=5.0), 600),
    "a minute of 600": (lambda: RefusingServer(FixedWindow(600, 60), latency=0.2), 600),
    "a minute of 600 that says how long": (lambda: RefusingServer(FixedWindow(600, 60), told=True), 600),
    "a minute of 100 that says how long": (lambda: RefusingServer(FixedWindow(100, 60), latency=0.2, told=True), 100),
}


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_counter_on_the_clock_is_used_well_after_a_minute(tmp_path: Path, name: str) -> None:
    make, best = SERVERS[name]
    server = make()
    ask_for(240.0, tmp_path, server)
    assert sum(server.per_minute(4)[1:]) / 3 >= 0.9 * best
    assert server.refused_share <= 0.01


def test_a_minute_is_found_when_it_begins_anew_and_not_a_minute_later(tmp_path: Path) -> None:
    """It was full after seconds and begins anew at 37.8 s: from then on ten a second go, not 600 at once."""
    server = RefusingServer(FixedWindow(600, 60), latency=0.2, told=True)
    ask_for(100.0, tmp_path, server)
    (at, after) = query(tmp_path, "SELECT at, after FROM changes WHERE what = 'requests a minute' ORDER BY rowid")[0]
    assert after == 600
    assert 35 < len([one for one in server.answered if at < one < at + 4]) < 50  # 10 a second, 15 % faster when behind


def test_the_slow_approach_beside_random_refusals_begins_when_the_hold_ends(tmp_path: Path) -> None:
    """600 in any minute, three in a hundred refused at random. The limit was met at 32 s, everybody waited 12 s, and
    then 254 went at once: the approach had begun before the wait. 14 % were refused in all, now two. (What is in flight at the first refusal of a limit that is met is refused anyway.)"""
    server = RefusingServer(SlidingWindow(600, 60), at_random=0.03)
    ask_for(120.0, tmp_path, server)
    together = max(sum(at <= other < at + 0.5 for other in server.refused) for at in server.refused)
    assert together < 50
