"""Turns and lengths, counted by hand."""

import pytest

from smile_async.analysis.shape import round_width, shape, utterance_edges
from smile_async.corpus.formats import PAPER_ROLES, Record
from smile_async.dialogue.model import Dialogue, Utterance


def record(*said: str) -> Record:
    """The client begins, and they alternate."""
    roles = ("client", "counselor")
    utterances = tuple(Utterance(role=roles[place % 2], content=text) for place, text in enumerate(said))
    return Record("id", "", None, Dialogue(utterances=utterances))


def test_turns_are_exchanges_and_lengths_are_characters() -> None:
    found = shape([record("一二三", "四五", "六", "七八九十"), record("一", "二三四"), record()], PAPER_ROLES)
    assert (found.dialogues, found.utterances) == (2, 6)  # the empty one is none
    assert found.turns.mean == 1.5  # 2 and 1
    assert found.length.mean == 7.0  # 3 + 2 + 1 + 4 = 10 and 1 + 3 = 4
    assert found.client.mean == pytest.approx(5 / 3)  # 3, 1, 1
    assert found.counselor.mean == 3.0  # 2, 4, 3
    assert found.shares.mean == pytest.approx((4 / 10 + 1 / 4) / 2)


def test_a_giant_does_not_squeeze_the_others_into_one_bin() -> None:
    """Of 1,000 lengths 999 are 1 to 40: bins of 1; the last, 90,000, lies beyond them."""
    edges = utterance_edges([*(1 + place % 40 for place in range(999)), 90_000])
    assert (edges[1] - edges[0], edges[-1]) == (1.0, 41.0)


@pytest.mark.parametrize(("least", "width"), [(0.2, 1), (1, 1), (1.1, 2), (3, 5), (7, 10), (12, 20), (260, 500)])
def test_bins_have_round_widths(least: float, width: float) -> None:
    assert round_width(least) == width
