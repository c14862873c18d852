"""What a server refuses, and in which order its answers come, is not ours to choose: what looks for its limits bears all of it."""

import random

import pytest

from smile_async.engine.admitted import Sent
from smile_async.engine.found_limits import FoundLimits


def live(seed: int) -> FoundLimits:
    """1,500 moments of a server by that seed: bursts, answers and refusals out of order, at one instant and apart."""
    chance = random.Random(seed)
    found, now = FoundLimits(), 0.0
    under_way: list[tuple[Sent, int, int]] = []
    refuses, burst = chance.random(), chance.choice([1, 5, 50])
    for _ in range(1_500):
        now += chance.choice([0, 0, 0.001, 0.05, chance.expovariate(1)])
        if chance.random() < 0.5:
            for _ in range(chance.randint(1, burst)):
                sent, _finding = found.started(now, len(under_way) + 1, chance.choice([8, 64]))
                under_way.append((sent, len(under_way), found.number))
        elif under_way:
            sent, beside, number = under_way.pop(chance.choice([0, -1]))
            if chance.random() >= refuses:
                found.answered(sent)
            else:
                found.not_admitted(sent, beside)
                found.refused(now, sent, beside, number=number, fresh=chance.random() < 0.5, hold=chance.random() * 2)
        if chance.random() < 0.05:
            found.grow(now)
        assert found.wait(now, len(under_way)) >= 0
    return found


@pytest.mark.parametrize("seed", range(60))
def test_no_order_of_refusals_stops_a_run(seed: int) -> None:
    """A limit that is found is one that can be kept to: of a positive number in a positive time."""
    window = live(seed).window
    assert window is None or (window[0] > 0 and window[1] >= 0)
