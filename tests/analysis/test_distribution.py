"""Moments, quantiles and bins, with the arithmetic in sight."""

from math import isnan, sqrt

import pytest

from smile_async.analysis.distribution import distribution, quantile


def test_moments_are_the_populations() -> None:
    told = distribution([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], edges=[0, 5, 10])
    assert told.mean == 5.0  # 40 / 8
    assert told.deviation == sqrt((9 + 1 + 1 + 1 + 0 + 0 + 4 + 16) / 8)  # 2
    assert (told.least, told.most, told.median) == (2.0, 9.0, 4.5)


def test_a_bin_holds_its_lower_edge_and_the_last_one_both() -> None:
    told = distribution([0.0, 1.0, 1.5, 2.0, 3.0], edges=[0, 1, 2])
    assert told.histogram.counts == (1, 3)  # 0 | 1, 1.5, 2; 3 lies beyond
    assert told.count == 5


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 10.0), (0.25, 17.5), (0.5, 25.0), (0.9, 37.0), (1.0, 40.0)])
def test_quantiles_are_linear_between_two_numbers(share: float, wanted: float) -> None:
    # place = share * 3: 0.75 is three quarters of the way from 10 to 20
    assert quantile([10.0, 20.0, 30.0, 40.0], share) == pytest.approx(wanted)


def test_no_number_has_no_mean() -> None:
    told = distribution([], edges=[0, 1])
    assert told.count == 0
    assert isnan(told.mean)
    assert told.histogram.counts == (0,)
