"""When a server that closes after each answer is not trusted to keep a connection."""

import pytest

from smile_async.provider.wariness import ENDS, FIRST, LONGEST, QUICK, Wariness


def test_three_quick_ends_within_half_a_minute_make_wary_for_half_a_minute() -> None:
    wary = Wariness()
    for number in range(ENDS):
        assert wary.until == 0.0
        wary.met_a_close(100.0 + number, 100.01 + number)

    assert wary.until == 102.01 + FIRST


@pytest.mark.parametrize(
    "ends",
    [
        [(0.0, QUICK), (1.0, 1.0 + QUICK), (2.0, 3.0), (4.0, 5.0)],  # it may have been at work on them
        [(0.0, 0.01), (FIRST, FIRST + 0.01), (2 * FIRST, 2 * FIRST + 0.01)],  # now and then: an idle timeout
    ],
    ids=["slow", "rare"],
)
def test_other_ends_do_not(ends: list[tuple[float, float]]) -> None:
    wary = Wariness()
    for sent, now in ends:
        wary.met_a_close(sent, now)

    assert wary.until == 0.0


def test_each_time_it_lasts_twice_as_long_up_to_ten_minutes() -> None:
    wary, now, lengths = Wariness(), 0.0, []
    for _ in range(7):
        for _ in range(ENDS):
            wary.met_a_close(now, now + 0.01)
        lengths.append(round(wary.until - now - 0.01, 6))
        now = wary.until

    assert lengths == [30.0, 60.0, 120.0, 240.0, 480.0, LONGEST, LONGEST]
