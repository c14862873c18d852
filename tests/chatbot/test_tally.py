"""Votes counted: majorities, rates, agreement, position bias; the arithmetic stands in sight."""

from dataclasses import replace
from pathlib import Path

import pytest

from smile_async.chatbot.agreement import ALL_AGREE, NO_CASE, ONE_RATER, agreement, bootstrap, fleiss_kappa, flip_test
from smile_async.chatbot.tally import FIRST, SECOND, TIED, UNDECIDED, is_circular, majority, tally
from smile_async.chatbot.tally_figure import draw_figure
from smile_async.chatbot.votes import Vote
from smile_async.errors import UsageError
from tests.chatbot.study import cast, prefer, study

TEXTBOOK = (  # 10 cases, 5 categories, 14 raters: the worked example of Wikipedia's "Fleiss' kappa"
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
)  # fmt: skip
WORSE, BETTER = 1, 2


def test_kappa_of_the_textbook_example_is_0_210() -> None:
    """Agreement 0.378, by chance 0.213: (0.378 - 0.213) / (1 - 0.213) = 0.210."""
    rows = [sum(count * (count - 1) for count in row) / (14 * 13) for row in TEXTBOOK]
    chance = sum((sum(column) / 140) ** 2 for column in zip(*TEXTBOOK, strict=True))
    assert (round(sum(rows) / 10, 3), round(chance, 3)) == (0.378, 0.213)
    assert fleiss_kappa(TEXTBOOK) == pytest.approx((sum(rows) / 10 - chance) / (1 - chance))
    assert round(fleiss_kappa(TEXTBOOK), 3) == 0.210


def test_kappa_is_one_when_all_agree_though_the_formula_divides_nought_by_nought() -> None:
    assert fleiss_kappa([(3, 0), (3, 0)]) == 1.0
    told = agreement([(3, 0), (3, 0)])
    assert told.kappa == 1.0
    assert told.note == ALL_AGREE
    assert fleiss_kappa([(3, 0), (0, 3)]) == 1.0  # by the formula: (1 - 1/2) / (1 - 1/2)


def test_agreement_is_not_defined_for_one_rater_or_no_case() -> None:
    assert agreement([(1, 0), (0, 1)]).kappa is None
    assert agreement([(1, 0), (0, 1)]).note == ONE_RATER
    assert agreement([]).note == NO_CASE


def test_an_interval_holds_its_value_and_follows_from_the_seed() -> None:
    table = [(3, 0)] * 30 + [(2, 1)] * 30 + [(1, 2)] * 20 + [(0, 3)] * 20
    one, again, other = (agreement(table, seed=seed, resamples=400) for seed in (1, 1, 2))
    assert one == again != other
    assert one.kappa is not None
    assert one.interval is not None
    assert one.interval.low < one.kappa < one.interval.high


def test_the_interval_of_a_share_is_as_wide_as_theory_says() -> None:
    """70 of 100: standard error sqrt(0.7 * 0.3 / 100) = 0.046, so 0.7 -+ 1.96 * 0.046 = 0.61 to 0.79."""
    found = bootstrap([1] * 70 + [0] * 30, lambda drawn: float(drawn.mean()), seed=1)
    assert found.low == pytest.approx(0.61, abs=0.015)
    assert found.high == pytest.approx(0.79, abs=0.015)


@pytest.mark.parametrize(
    ("votes", "decision"),
    [
        ((2, 1, 0), FIRST),
        ((0, 3, 0), SECOND),
        ((1, 0, 2), TIED),
        ((1, 1, 1), UNDECIDED),
        ((2, 2, 0), UNDECIDED),  # half is no majority
        ((2, 1, 1), UNDECIDED),
        ((1, 0, 0), FIRST),
    ],
)
def test_a_majority_is_more_than_half(votes: tuple[int, int, int], decision: int) -> None:
    assert majority(votes) == decision


def test_majorities_and_rates_by_hand() -> None:
    """Two systems, four cases, three raters; the tuned one is preferred by 3, 2, 1 and 0 of them.

    Majorities: tuned, tuned, golden, golden, so golden wins 2 of 4. Kappa: agreement (1 + 1/3 + 1/3 + 1) / 4 = 2/3;
    6 of 12 votes each way, by chance 1/2; (2/3 - 1/2) / (1 - 1/2) = 1/3.
    """
    drawn = study(4, systems=("golden", "tuned"))
    votes = [
        vote
        for case, fans in (("case-0", 3), ("case-1", 2), ("case-2", 1), ("case-3", 0))
        for place, rater in enumerate(("ann", "bo", "cy"))
        for vote in prefer(drawn, rater, case, {"golden": WORSE, "tuned": BETTER if place < fans else 0})
    ]
    told = tally(drawn.key, [cast(drawn, votes)], resamples=200)
    [pair] = told.pairs
    assert (pair.first, pair.second) == ("golden", "tuned")
    assert (pair.wins, pair.losses, pair.ties, pair.undecided, pair.cases) == (2, 2, 0, 0, 4)
    assert pair.rate(pair.wins) == 0.5
    assert pair.agreement.kappa == pytest.approx(1 / 3)
    assert told.finished == 4


def test_letters_do_not_matter_to_the_count_only_systems_do() -> None:
    """Three systems in random order over 12 cases, all raters of one mind: golden over tuned over baseline."""
    drawn = study(12, seed=2)
    ranking = {"golden": 3, "baseline": 1, "tuned": 2}
    votes = [
        vote for case in drawn.key.places for rater in ("ann", "bo") for vote in prefer(drawn, rater, case, ranking)
    ]
    told = tally(drawn.key, [cast(drawn, votes)], resamples=50)
    assert {(pair.first, pair.second): (pair.wins, pair.losses) for pair in told.pairs} == {
        ("golden", "baseline"): (12, 0),
        ("golden", "tuned"): (12, 0),
        ("baseline", "tuned"): (0, 12),
    }
    assert [pair.agreement.kappa for pair in told.pairs] == [1.0, 1.0, 1.0]


def test_ties_are_counted_and_three_opinions_are_no_majority() -> None:
    drawn = study(2, systems=("golden", "tuned"), ties=True)
    even, up, down = {"golden": 1, "tuned": 1}, {"golden": 2, "tuned": 1}, {"golden": 1, "tuned": 2}
    votes = [
        *prefer(drawn, "ann", "case-0", even), *prefer(drawn, "bo", "case-0", even), *prefer(drawn, "cy", "case-0", up),
        *prefer(drawn, "ann", "case-1", even), *prefer(drawn, "bo", "case-1", down), *prefer(drawn, "cy", "case-1", up),
    ]  # fmt: skip
    [pair] = tally(drawn.key, [cast(drawn, votes)], resamples=50).pairs
    assert (pair.wins, pair.losses, pair.ties, pair.undecided) == (0, 0, 1, 1)


def test_what_a_rater_left_out_is_unfinished_and_counts_for_nobody() -> None:
    drawn = study(3)
    ranking = {"golden": 3, "baseline": 1, "tuned": 2}
    votes = [vote for case in drawn.key.places for vote in prefer(drawn, "ann", case, ranking)]
    votes += prefer(drawn, "bo", "case-0", ranking) + prefer(drawn, "bo", "case-1", ranking)[:1]
    told = tally(drawn.key, [replace(cast(drawn, votes), raters=("ann", "bo", "cy"))], resamples=50)
    assert told.finished == 1
    assert told.silent == ("cy",)
    assert sum(pair.unfinished for pair in told.pairs) == 3 * 3 - 4  # bo voted on 3 + 1 of 9 comparisons
    assert {rater.name: (rater.votes, rater.finished, rater.cases) for rater in told.raters} == {
        "ann": (9, 3, 3),
        "bo": (4, 1, 3),
    }
    alone = tally(drawn.key, [cast(drawn, votes)], raters=["ann"], resamples=50)
    assert (alone.finished, [pair.unfinished for pair in alone.pairs]) == (3, [0, 0, 0])
    with pytest.raises(UsageError, match=r"No votes by eve.*\n.*ann, bo"):
        tally(drawn.key, [cast(drawn, votes)], raters=["eve"])


def test_of_two_stores_the_later_vote_counts_and_other_ballots_are_refused() -> None:
    drawn, other = study(1, systems=("golden", "tuned")), study(1, seed=9)
    early, late = (cast(drawn, [Vote("ann", "case-0", "AB", choice, at)]) for choice, at in (("A", 5.0), ("B", 6.0)))
    [pair] = tally(drawn.key, [late, early], resamples=50).pairs
    assert (pair.wins, pair.losses) == ((1, 0) if drawn.key.places["case-0"]["B"] == "golden" else (0, 1))
    with pytest.raises(UsageError, match="the key is for"):
        tally(other.key, [early])
    with pytest.raises(UsageError, match="no vote"):
        tally(drawn.key, [cast(drawn, [])])


def test_a_circle_of_preferences_is_noticed() -> None:
    assert is_circular({"AB": "A", "BC": "B", "AC": "C"})
    assert is_circular({"AB": "B", "BC": "C", "AC": "A"})
    assert not is_circular({"AB": "A", "BC": "B", "AC": "A"})
    assert not is_circular({"AB": "A", "BC": "B", "AC": "tie"})
    assert is_circular({"AB": "A", "AC": "A", "AD": "A", "BC": "B", "CD": "C", "BD": "D"})


def test_raters_who_always_take_the_first_are_found_out() -> None:
    """20 cases, each leaning to the earlier one: chance does so 2 times in 2**20. A wins all of its comparisons, B one
    of its two, C none."""
    drawn = study(20)
    votes = [
        Vote(rater, case, pair, pair[0])
        for case in drawn.key.places
        for pair in ("AB", "AC", "BC")
        for rater in ("a", "b")
    ]
    bias = tally(drawn.key, [cast(drawn, votes)], resamples=50).bias
    assert [(each.letter, each.compared, each.won) for each in bias.positions] == [
        ("A", 80, 80), ("B", 80, 40), ("C", 80, 0),
    ]  # fmt: skip
    assert (bias.earlier, bias.later) == (120, 0)
    assert bias.p_value is not None
    assert bias.p_value < 0.001


def test_raters_who_agree_on_a_better_system_are_not_taken_for_biased() -> None:
    """All 30 votes of a case go one way because one system is better: 20 cases, 11 of them leaning to the earlier one,
    are 11 of 20 coin flips, not 330 of 600 (for which p would be 0.016)."""
    p = flip_test([30] * 11 + [-30] * 9)
    assert p == pytest.approx(0.82, abs=0.03)  # 1 - C(20, 10) / 2**20 = 0.824: only an even split leans less


def test_figure_6_is_written_as_png_and_svg_with_names_as_they_are(tmp_path: Path) -> None:
    drawn = study(5, systems=("金标准", "a_$x$_b"), ties=True)
    votes = [vote for case in drawn.key.places for vote in prefer(drawn, "ann", case, {"金标准": 2, "a_$x$_b": 1})]
    told = tally(drawn.key, [cast(drawn, votes)], resamples=20)
    png, svg = draw_figure(told, tmp_path / "figure6")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text("utf-8")
    with pytest.raises(UsageError, match="exists already"):
        draw_figure(told, tmp_path / "figure6")


def test_nothing_finished_is_nothing_to_draw(tmp_path: Path) -> None:
    drawn = study(1, systems=("golden", "tuned", "other"))
    votes = [Vote("ann", "case-0", "AB", "A"), Vote("bo", "case-0", "AC", "A")]
    told = tally(drawn.key, [cast(drawn, votes)], resamples=20)
    assert {pair.cases for pair in told.pairs} == {0}
    with pytest.raises(UsageError, match="nothing to draw"):
        draw_figure(told, tmp_path / "figure6")
