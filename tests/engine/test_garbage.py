"""The collector of cyclic garbage is called seldom while runs are at work, and as before afterwards."""

import gc
from collections.abc import Iterator

import pytest

from smile_async.engine.garbage import SELDOM, collected_seldom


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_it_is_called_seldom_until_the_last_of_several_runs_ends() -> None:
    with collected_seldom():
        with collected_seldom():
            assert gc.get_threshold() == (SELDOM, 10, 10)
        assert gc.get_threshold() == (SELDOM, 10, 10)
    assert gc.get_threshold() == (700, 10, 10)


def test_it_is_restored_after_an_error() -> None:
    with pytest.raises(ValueError, match="x"), collected_seldom():
        raise ValueError("x")
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("theirs", [(0, 10, 10), (50_000, 20, 100)])
def test_a_process_that_collects_as_seldom_or_never_is_left_alone(theirs: tuple[int, int, int]) -> None:
    gc.set_threshold(*theirs)
    with collected_seldom():
        assert gc.get_threshold() == theirs
    assert gc.get_threshold() == theirs


def test_what_somebody_sets_meanwhile_stays() -> None:
    with collected_seldom():
        gc.set_threshold(5_000, 5, 5)
    assert gc.get_threshold() == (5_000, 5, 5)
