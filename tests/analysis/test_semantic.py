"""Cosines, their line, and all pairs of a set: against scipy and plain float64."""

from collections import Counter
from math import isnan, sqrt

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from smile_async.analysis import pairs
from smile_async.analysis.distribution import QUANTILES, distribution
from smile_async.analysis.pairs import RESOLUTION, pair_cosines
from smile_async.analysis.semantic import (
    EDGES,
    Vectors,
    derangement,
    described,
    line,
    other_cosines,
    own_cosines,
    share_below,
    transformation,
)
from smile_async.errors import UsageError


def _vectors(rows: int, dimensions: int = 24, *, seed: int = 0, spread: float = 0.6) -> Vectors:
    """All somewhat alike, as embeddings are, and of different lengths."""
    chance = np.random.default_rng(seed)
    made = chance.standard_normal(dimensions) + spread * chance.standard_normal((rows, dimensions))
    return (made * chance.uniform(0.5, 2, (rows, 1))).astype(np.float32)


def test_own_cosines_are_equation_3() -> None:
    told = own_cosines(np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[4.0, 3.0], [0.0, 2.0]]))
    # 3 * 4 + 4 * 3 over the lengths 5 and 5; 0 over 1 and 2
    assert told.tolist() == [24 / 25, 0.0]


def test_other_cosines_are_of_each_qa_with_another_dialogue() -> None:
    turned = np.eye(5)
    assert own_cosines(turned, turned).tolist() == [1.0] * 5
    assert other_cosines(turned, turned, seed=3).tolist() == [0.0] * 5


def test_a_derangement_leaves_nothing_in_place_and_takes_each_once() -> None:
    for seed in range(50):
        order = derangement(7, seed)
        assert sorted(order) == list(range(7))
        assert all(place != one for place, one in enumerate(order))
    assert derangement(7, 1) == derangement(7, 1)
    assert len({tuple(derangement(7, seed)) for seed in range(50)}) > 40


def test_all_derangements_are_equally_likely() -> None:
    counts = Counter(tuple(derangement(4, seed)) for seed in range(9000))
    assert len(counts) == 9  # of 4 things there are 9
    assert all(abs(count - 1000) < 5 * sqrt(1000) for count in counts.values())


def test_the_line_is_three_deviations_below_the_mean() -> None:
    own = described(np.array([0.90, 0.94, 0.96, 1.00]))
    # mean 0.95; deviation sqrt((0.05**2 + 0.01**2 + 0.01**2 + 0.05**2) / 4)
    assert line(own) == pytest.approx(0.95 - 3 * sqrt(0.0052 / 4))


def test_a_share_counts_what_lies_strictly_below() -> None:
    assert share_below(np.array([0.2, 0.5, 0.7, 0.4]), 0.5) == 2 / 4
    assert isnan(share_below(np.array([]), 0.5))


def test_figure_4_tells_sets_made_of_their_qas_from_random_ones() -> None:
    questions = _vectors(200)
    made_of_them = questions + 0.05 * _vectors(200, seed=1)
    told = transformation(questions, made_of_them, seed=0)
    assert told.line == pytest.approx(told.own.mean - 3 * told.own.deviation)
    own, other = own_cosines(questions, made_of_them), other_cosines(questions, made_of_them, seed=0)
    assert told.own_below_line == (own < told.line).mean()
    assert told.other_below_line == (other < told.line).mean() > 0.95
    assert told.own.median > told.other.most


def test_an_array_is_described_as_numbers_in_a_list_are() -> None:
    values = np.random.default_rng(1).uniform(-1, 1, 999)
    told, wanted = described(values), distribution(values.tolist(), EDGES)
    assert told.histogram == wanted.histogram
    assert (told.count, told.least, told.most) == (wanted.count, wanted.least, wanted.most)
    assert (told.mean, told.deviation, *told.quantiles) == pytest.approx(
        (wanted.mean, wanted.deviation, *wanted.quantiles), abs=1e-13
    )
    assert described(np.array([])).count == 0


def test_all_pairs_of_500_agree_with_scipy() -> None:
    vectors = _vectors(500)
    wanted = 1 - pdist(vectors.astype(np.float64), "cosine")
    told = pair_cosines(vectors)
    assert told.count == 500 * 499 // 2
    assert (told.mean, told.deviation, told.least, told.most, *told.quantiles) == pytest.approx(
        (wanted.mean(), wanted.std(), wanted.min(), wanted.max(), *np.quantile(wanted, QUANTILES)), abs=1e-12
    )
    assert told.histogram.counts == tuple(np.histogram(wanted, np.asarray(EDGES))[0])


@pytest.mark.parametrize(("rows", "block"), [(2, 2), (7, 3), (96, 32), (150, 64), (150, 200)])
def test_blocks_agree_with_all_pairs_at_once(monkeypatch: pytest.MonkeyPatch, rows: int, block: int) -> None:
    vectors = _vectors(rows)
    wanted = 1 - pdist(vectors.astype(np.float64), "cosine")
    monkeypatch.setattr(pairs, "EXACT_ROWS", 0)
    monkeypatch.setattr(pairs, "_BLOCK", block)
    told = pair_cosines(vectors)
    assert told.count == sum(told.histogram.counts) == wanted.size
    assert (told.mean, told.deviation) == pytest.approx((wanted.mean(), wanted.std()), abs=1e-7)
    assert (told.least, told.most) == pytest.approx((wanted.min(), wanted.max()), abs=1e-6)
    # Between two numbers the exact quantile may lie far from both; the bins are right to one of them.
    low, high = (np.quantile(wanted, QUANTILES, method=way) for way in ("lower", "higher"))
    assert all(
        a - 2 * RESOLUTION <= one <= b + 2 * RESOLUTION for a, one, b in zip(low, told.quantiles, high, strict=True)
    )
    moved = np.abs(np.array(told.histogram.counts) - np.histogram(wanted, np.asarray(EDGES))[0]).sum()
    assert moved <= 2  # a pair that lies within a bin's width of an edge


def test_opposite_and_equal_vectors_stay_within_the_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "EXACT_ROWS", 0)
    told = pair_cosines(np.array([[0.3, 0.1], [-0.3, -0.1], [0.3, 0.1]], np.float32))
    # -1, 1, -1: mean -1/3, deviation sqrt(1 - 1/9)
    assert (told.count, told.histogram.counts[0], told.histogram.counts[-1]) == (3, 2, 1)
    assert (told.mean, told.deviation) == pytest.approx((-1 / 3, sqrt(8 / 9)), abs=1e-6)
    assert (told.least, told.most) == pytest.approx((-1, 1), abs=1e-6)


@pytest.mark.parametrize(("bad", "wanted"), [(0.0, "row 3 is zero"), (np.nan, "row 3 holds"), (np.inf, "row 3 holds")])
def test_a_vector_without_direction_is_named_by_its_row(bad: float, wanted: str) -> None:
    vectors = _vectors(5)
    vectors[2] = bad
    with pytest.raises(UsageError, match=wanted):
        pair_cosines(vectors)
    with pytest.raises(UsageError, match=f"dialogues: {wanted}"):
        own_cosines(_vectors(5), vectors)


@pytest.mark.parametrize(("rows", "dimensions"), [(5, 23), (6, 24)])
def test_sets_of_other_shapes_are_not_compared(rows: int, dimensions: int) -> None:
    with pytest.raises(UsageError, match="5 QAs of 24 dimensions"):
        transformation(_vectors(5), _vectors(rows, dimensions), seed=0)


@pytest.mark.parametrize("wrong", [np.ones(4, np.float32), np.ones((4, 4), np.int64)])
def test_what_is_no_set_of_vectors_is_refused(wrong: Vectors) -> None:
    with pytest.raises(UsageError, match="no set of vectors"):
        pair_cosines(wrong)


def test_one_text_has_no_pairs() -> None:
    with pytest.raises(UsageError, match="at least two"):
        pair_cosines(_vectors(1))
    with pytest.raises(UsageError, match="at least two"):
        other_cosines(_vectors(1), _vectors(1), seed=0)
