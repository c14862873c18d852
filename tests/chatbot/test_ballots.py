"""Ballots: drawn by seed, blinded, told apart by the key alone."""

from collections import Counter
from itertools import permutations
from pathlib import Path

import orjson
import pytest

from smile_async.chatbot.ballots import (
    Ballots,
    draw,
    pairs_of,
    read_ballots,
    read_cases,
    read_key,
    read_responses,
    references,
    write_ballots,
)
from smile_async.errors import SourceError, UsageError
from tests.chatbot.study import SYSTEMS, cases, responses, study


def test_the_same_seed_draws_the_same_and_another_one_other_cases_and_orders() -> None:
    there = cases(60)
    told = responses(there)
    first, again, other = (draw(there, told, count=20, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert [one.case for one in first.ballots.ballots] != [one.case for one in other.ballots.ballots]
    assert len({one.case for one in first.ballots.ballots}) == 20


def test_the_key_alone_says_whose_a_response_is(tmp_path: Path) -> None:
    there = cases(40)
    told = responses(there)
    drawn = draw(there, told, count=40, seed=7)
    write_ballots(drawn, tmp_path / "study.json", tmp_path / "study.key.json")
    seen = (tmp_path / "study.json").read_text("utf-8")
    assert not [system for system in SYSTEMS if system in seen]
    assert "SYSTEM-PROMPT" not in seen
    assert "seed" not in orjson.loads(seen)
    ballots, key = read_ballots(tmp_path / "study.json"), read_key(tmp_path / "study.key.json")
    for ballot in ballots.ballots:
        for shown in ballot.responses:
            assert told[key.places[ballot.case][shown.letter]][ballot.case] == shown.text


def test_who_knows_seed_and_ballots_cannot_draw_the_order_again() -> None:
    """The order follows from whose the responses are, too: the same texts under exchanged names stand in other orders,
    so that drawing again takes what the ballots do not say."""
    there = cases(40)
    golden, baseline, tuned = responses(there).values()
    right = draw(there, {"golden": golden, "baseline": baseline, "tuned": tuned}, count=40, seed=7)
    guess = draw(there, {"golden": baseline, "baseline": golden, "tuned": tuned}, count=40, seed=7)
    orders = [
        [[shown.text for shown in ballot.responses] for ballot in drawn.ballots.ballots] for drawn in (right, guess)
    ]
    assert [ballot.case for ballot in right.ballots.ballots] == [ballot.case for ballot in guess.ballots.ballots]
    assert orders[0] != orders[1]
    assert right.ballots.drawn != guess.ballots.drawn


def test_every_order_of_three_comes_about_as_often() -> None:
    """600 ballots, 6 orders: 100 of each expected, standard deviation sqrt(600 * 1/6 * 5/6) = 9.1; 60 is 4.4 of them."""
    there = cases(600)
    drawn = draw(there, responses(there), count=600, seed=1)
    orders = Counter(tuple(places.values()) for places in drawn.key.places.values())
    assert set(orders) == set(permutations(SYSTEMS))
    assert min(orders.values()) >= 60


def test_cases_that_a_system_did_not_answer_are_not_drawn_and_counted() -> None:
    there = cases(5)
    told = responses(there)
    del told["tuned"]["case-1"], told["tuned"]["case-3"]
    drawn = draw(there, told, count=100)
    assert sorted(one.case for one in drawn.ballots.ballots) == ["case-0", "case-2", "case-4"]
    assert drawn.missing == {"golden": 0, "baseline": 0, "tuned": 2}


def test_blanks_around_a_response_do_not_tell_whose_it_is_and_equal_responses_are_counted() -> None:
    there = cases(1)
    drawn = draw(there, {"one": {"case-0": "\n\n嗯。 "}, "two": {"case-0": "嗯。"}, "three": {"case-0": "好。"}})
    assert sorted(shown.text for shown in drawn.ballots.ballots[0].responses) == ["嗯。", "嗯。", "好。"]
    assert drawn.identical == 1


def test_the_reference_can_be_a_system() -> None:
    there = cases(2)
    drawn = draw(there, {"golden": references(there)} | responses(there, ["tuned"]))
    assert drawn.key.systems == ("golden", "tuned")
    assert drawn.ballots.letters == "AB"


@pytest.mark.parametrize("systems", [["one"], ["one", "two", "three", "four", "five", "six"]])
def test_other_than_two_to_five_systems_are_refused(systems: list[str]) -> None:
    there = cases(1)
    with pytest.raises(UsageError, match="two to five"):
        draw(there, responses(there, systems))


def test_responses_to_other_cases_are_refused() -> None:
    """They belong to another test set."""
    with pytest.raises(UsageError, match=r"two has answers to 1 cases that are not among the \d given, the first '"):
        draw(cases(2), responses(cases(2), ["one"]) | {"two": {"case-0": "嗯。", "case-77": "嗯。"}})


def test_every_two_letters_are_a_pair() -> None:
    assert pairs_of("ABC") == ("AB", "AC", "BC")
    assert len(pairs_of("ABCDE")) == 10  # 5 * 4 / 2


def test_a_ballot_allows_its_own_choices_only() -> None:
    without, with_ties = study(1).ballots, study(1, ties=True).ballots
    assert without.allows("case-0", "AC", "C")
    assert with_ties.allows("case-0", "AC", "tie")
    wrong = [("case-0", "AC", "B"), ("case-0", "AC", "AC"), ("case-0", "AC", ""), ("case-0", "CA", "A"),
             ("case-9", "AC", "A"), ("case-0", "AC", "tie")]  # fmt: skip
    assert not [one for one in wrong if without.allows(*one)]


def test_both_files_are_the_owners_alone_and_are_not_replaced_unasked(tmp_path: Path) -> None:
    ballots, key = tmp_path / "study.json", tmp_path / "study.key.json"
    write_ballots(study(), ballots, key)
    assert {path.stat().st_mode & 0o777 for path in (ballots, key)} == {0o600}
    before = key.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        write_ballots(study(seed=5), ballots, key)
    assert key.read_bytes() == before
    with pytest.raises(UsageError, match="two files"):
        write_ballots(study(), ballots, ballots, overwrite=True)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "row 2: is not JSON"),
        ('{"id": "x", "messages": [{"role": "robot", "content": "SECRET"}]}', "row 2, field 'messages.0.role'"),
        ('{"id": "a", "messages": []}', "row 2: the id 'a' occurs twice"),
        ('{"messages": []}', "row 2, field 'id'"),
    ],
)
def test_a_bad_case_is_named_by_its_row_without_its_words(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "a", "messages": []}\n' + line + "\n")
    with pytest.raises(SourceError) as caught:
        read_cases(path)
    assert told in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_line_separator_within_a_response_ends_no_row(tmp_path: Path) -> None:
    path = tmp_path / "told.jsonl"
    path.write_text('{"id": 7, "response": "一\u2028二"}\n', "utf-8")
    assert read_responses(path) == {"7": "一\u2028二"}


def test_another_file_is_no_ballots(tmp_path: Path) -> None:
    path = tmp_path / "study.key.json"
    write_ballots(study(), tmp_path / "study.json", path)
    with pytest.raises(SourceError, match="smile ballot writes such a file"):
        read_ballots(path)
    assert isinstance(read_ballots(tmp_path / "study.json"), Ballots)
