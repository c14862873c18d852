"""Splits by question and seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smile_async.corpus.formats import Record
from smile_async.corpus.splits import Shares, question_of, split_questions
from smile_async.dialogue.model import QAPair
from smile_async.errors import UsageError
from tests.corpus.said import dialogue, record


def questions(*rows: int) -> dict[bytes, int]:
    return {bytes([number]): count for number, count in enumerate(rows)}


def test_a_part_gets_its_share_of_the_rows() -> None:
    """Of 100 questions with one row each, 0.07 are 7, not 8 (0.07 * 100 is 7.000000000000001), and 0.2 are 20."""
    parts = split_questions(questions(*[1] * 100), Shares(validation=0.2, test=0.07))
    assert Counter(parts.values()) == {"train": 73, "validation": 20, "test": 7}


def test_few_questions_fill_every_part_that_has_a_share() -> None:
    assert Counter(split_questions(questions(1, 1, 1), Shares()).values()) == {"train": 1, "validation": 1, "test": 1}
    assert list(split_questions(questions(5), Shares()).values()) == ["train"]
    assert split_questions({}, Shares()) == {}


def test_another_seed_draws_others_and_the_same_seed_the_same() -> None:
    rows = questions(*[1] * 60)
    one, again, other = (split_questions(rows, Shares(seed=seed)) for seed in (1, 1, 2))
    assert one == again != other


@given(st.lists(st.integers(1, 5), max_size=30), st.floats(0, 0.4), st.floats(0, 0.4), st.integers(-9, 9))
def test_no_part_is_too_full_by_a_whole_question_and_order_does_not_matter(
    sizes: list[int], validation: float, test: float, seed: int
) -> None:
    rows, shares = questions(*sizes), Shares(validation, test, seed)
    parts = split_questions(rows, shares)
    assert parts == split_questions(dict(reversed(rows.items())), shares)
    assert parts.keys() == rows.keys()
    assert not rows or "train" in parts.values()
    for name, share in (("validation", validation), ("test", test)):
        full = sum(rows[question] for question, part in parts.items() if part == name)
        assert full <= share * sum(sizes) + max(sizes, default=0)
        assert share > 0 or full == 0


def test_answers_to_one_question_stay_together() -> None:
    def row(number: int, question: str, source_id: str) -> Record:
        return Record(f"r{number}", source_id, QAPair(question=question, answer=f"{number}"), dialogue("c:一"))

    assert question_of(row(1, "问", "a")) == question_of(row(2, "问", "b"))  # the same words under two ids
    assert question_of(row(1, "问", "a")) != question_of(row(1, "答", "a"))
    bare = [Record(f"r{n}", source_id, None, dialogue("c:一")) for n, source_id in enumerate(["a", "a", "", ""])]
    assert question_of(bare[0]) == question_of(bare[1])
    assert len({question_of(one) for one in bare}) == 3
    assert question_of(record(1)) != question_of(record(2))


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0), (0, -0.1), (0.5, 0.5), (1, 0), (float("nan"), 0)])
def test_shares_that_leave_nothing_to_train_on_are_refused(validation: float, test: float) -> None:
    with pytest.raises(UsageError, match="leave nothing to train on"):
        Shares(validation, test)
