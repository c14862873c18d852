"""What was admitted, asked about: the same answers as from a list of every request, at a bounded size."""

import random

import pytest

from smile_async.engine.admitted import GRAIN, OPEN, SECOND, Admitted, Sent
from smile_async.engine.estimate import Expected
from smile_async.engine.lane import Lane, Served
from smile_async.settings import Limits, Prices
from smile_async.testing import ScriptedProvider, replying, run_virtual

PERIODS = (1.0, 10.0, 60.0)  # seconds
MEMORY = 240.0


def filled(seed: int, requests: int, a_second: float) -> tuple[Admitted, list[float]]:
    """Requests at random times, more than a grain apart, of which one in ten was refused 50 ms later."""
    chance, log = random.Random(seed), Admitted(PERIODS, MEMORY)
    times: list[float] = []
    refused: list[tuple[Sent, int]] = []
    now = 0.0
    for _ in range(requests):
        now += GRAIN * 1.01 + chance.expovariate(1 / max(1 / a_second - GRAIN, 1e-3))
        while refused and refused[0][0].at < now - 0.05:
            sent, in_flight = refused.pop(0)
            log.take_back(sent, in_flight)
            times.remove(sent.at)
        sent = log.add(now, 5)
        times.append(now)
        if chance.random() < 0.1:
            refused.append((sent, 4))
    for sent, in_flight in refused:
        log.take_back(sent, in_flight)
        times.remove(sent.at)
    return log, times


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_a_list_of_all_requests(seed: int) -> None:
    log, times = filled(seed, 1_000, 20.0)
    assert log.total == len(times)
    for period in PERIODS:
        for at in (times[-1], times[-1] - 0.3, times[-5]):
            assert log.within(period, at) == sum(at - period < one <= at for one in times)


@pytest.mark.parametrize("seed", range(5))
def test_what_exceeded_a_limit_is_seen_and_what_did_not_is_not(seed: int) -> None:
    """The highest count of a period is exceeded by nobody; one of a tenth less was, by some, in the last two minutes.
    (Counts are looked at 200 times a period, so two of a hundred may be missed: then a limit of 2 % more is meant.)"""
    log, times = filled(seed, 2_000, 20.0)
    highest = [max(sum(at - period < one <= at for one in times) for at in times) for period in PERIODS]
    assert log.exceeded(highest, -1.0) == [0, 0, 0]
    assert all(found > 0 for found in log.exceeded([int(count * 0.9) - 1 for count in highest], -1.0))
    assert log.exceeded([0, 0, 0], times[-1]) == [0, 0, 0]  # nothing was admitted since


def test_five_minutes_at_a_hundred_a_second_are_kept_as_seconds() -> None:
    """30,000 requests, each an entry of its own while it is young; one refused at first, or nobody would ask."""
    log = Admitted(PERIODS, MEMORY)
    log.take_back(log.add(0.0, 1), 0)
    for number in range(1, 30_000):
        log.add(number * 0.0101, 1)
    assert len(log._entries) <= (MEMORY + SECOND) / 0.0101
    assert len(log._seconds) <= MEMORY / SECOND + 1
    young = len(log._entries) - log._summed
    assert young <= (OPEN + 2 * SECOND) / 0.0101  # a question looks at no more of them


def test_more_in_flight_than_that_are_counted_where_they_were_not_refused() -> None:
    log = Admitted(PERIODS, MEMORY)
    for number in range(20):
        sent = log.add(number / 10, number + 1)
    log.take_back(sent, 19)
    assert log.beside(15) == 4  # the 16th to the 19th; the 20th was refused


def test_a_refused_row_that_is_to_blame_itself_was_not_admitted_either() -> None:
    """Rows refused again and again are asked alone and tell nothing of limits, but they were counted as admitted."""
    provider = ScriptedProvider(lambda _request, _number: replying("good"))
    lane = Lane(Served(provider), Limits(), Prices(), lambda: 0.0)

    async def refuse_one() -> None:
        lane.settle(await lane.take(Expected(1.0, 1.0)), None, refused=True)

    run_virtual(refuse_one())
    assert lane.found.recent(60.0, 1.0) == []
