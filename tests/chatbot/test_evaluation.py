"""Systems beside each other: means, intervals, differences, and files that do not fit are refused."""

import json
import math
from pathlib import Path

import pytest

from smile_async.chatbot.evaluation import bootstrap, evaluate, figure, read_answered
from smile_async.errors import UsageError

REFERENCES = ["你愿意多说一说吗？", "听起来你很难过。", "我在这里陪着你。"]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def test_a_system_that_says_the_reference_has_one_everywhere() -> None:
    found = evaluate(REFERENCES, {"golden": REFERENCES})
    golden = found.systems[0]
    assert all(golden.figures[name].mean == 1.0 for name in ("meteor", "bleu-1", "bleu-2", "bleu-3", "rouge-l"))
    assert golden.corpus_bleu == pytest.approx(1.0)
    assert golden.length == pytest.approx((9 + 8 + 8) / 3)
    assert golden.differences == {}


def test_a_mean_and_its_interval_come_from_the_cases_that_have_a_score() -> None:
    told = figure([0.0, 1.0, math.nan, 1.0], resamples=200)
    assert told.mean == pytest.approx(2 / 3)
    assert told.counted == 3
    assert told.low <= told.mean <= told.high
    nothing = figure([math.nan])
    assert nothing.counted == 0
    assert math.isnan(nothing.mean)


def test_the_interval_is_that_of_the_normal_law_where_cases_are_many() -> None:
    scores = [0.0, 1.0] * 500  # deviation of the mean: 0.5 / sqrt(1000) = 0.0158; 1.96 of them
    low, high = bootstrap(scores, resamples=2_000)
    assert low == pytest.approx(0.5 - 1.96 * 0.0158, abs=0.004)
    assert high == pytest.approx(0.5 + 1.96 * 0.0158, abs=0.004)


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = [number / 10 for number in range(11)]
    assert bootstrap(scores, 100, 7) == bootstrap(scores, 100, 7)
    assert bootstrap(scores, 100, 7) != bootstrap(scores, 100, 8)


def test_differences_are_taken_case_by_case() -> None:
    # B is better than A by the same 0.1 in each case, though cases differ by far more than that.
    scores = {"a": [0.1, 0.5, 0.8], "b": [0.2, 0.6, 0.9]}
    found = evaluate(
        REFERENCES, {"a": ["a"] * 3, "b": ["b"] * 3}, more={"cosine": lambda _wanted, told: scores[told[0]]}
    )
    difference = found.systems[1].differences["cosine"]
    assert (difference.low, difference.mean, difference.high) == pytest.approx((0.1, 0.1, 0.1))
    alone = found.systems[0].figures["cosine"]
    assert alone.mean == pytest.approx(1.4 / 3)
    assert alone.high - alone.low > 0.3


def test_distinct_leaves_out_responses_without_ngrams() -> None:
    found = evaluate(REFERENCES, {"short": ["好", "好的好的", ""]})
    figures = found.systems[0].figures
    assert [figures[name].counted for name in ("distinct-1", "distinct-2")] == [2, 1]
    assert figures["distinct-1"].mean == pytest.approx((1 + 2 / 4) / 2)
    assert figures["distinct-2"].mean == pytest.approx(2 / 3)


@pytest.mark.parametrize("responses", [{}, {"a": ["one"]}])
def test_what_does_not_fit_together_is_refused(responses: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError):
        evaluate(REFERENCES, responses)


def test_responses_come_in_any_order_and_are_put_beside_their_cases(tmp_path: Path) -> None:
    cases = write(tmp_path / "cases.jsonl", [{"id": number, "reference": f"r{number}"} for number in range(3)])
    told = write(tmp_path / "a.jsonl", [{"id": str(number), "response": f"a{number}"} for number in (2, 0, 1)])
    answered = read_answered(cases, {"a": told})
    assert answered.references == ("r0", "r1", "r2")
    assert answered.responses == {"a": ("a0", "a1", "a2")}


def test_cases_without_a_response_are_refused_or_empty_or_left_out_for_all(tmp_path: Path) -> None:
    cases = write(tmp_path / "cases.jsonl", [{"id": number, "reference": f"r{number}"} for number in range(3)])
    some = write(tmp_path / "some.jsonl", [{"id": 0, "response": "a0"}, {"id": 2, "response": "a2"}])
    whole = write(tmp_path / "whole.jsonl", [{"id": number, "response": f"b{number}"} for number in range(3)])
    both = {"some": some, "whole": whole}
    with pytest.raises(UsageError, match=r"some has no response to 1 of 3 cases: 1\."):
        read_answered(cases, both)
    assert read_answered(cases, both, missing="empty").responses["some"] == ("a0", "", "a2")
    skipped = read_answered(cases, both, missing="skip")
    assert (skipped.ids, skipped.left_out) == (("0", "2"), 1)
    assert skipped.responses["whole"] == ("b0", "b2")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('{"id": 1, "response": "a"}\n{"id": 1, "response": "b"}\n', "row 2: the id 1 occurs twice"),
        ('{"id": 1}\n', "row 1: needs an id and a text 'response'"),
        ("{torn", "row 1: is not JSON"),
        ('{"id": 9, "response": "a"}\n', "not in"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, lines: str, told: str) -> None:
    cases = write(tmp_path / "cases.jsonl", [{"id": 1, "reference": "r"}])
    (tmp_path / "bad.jsonl").write_text(lines, "utf-8")
    with pytest.raises(UsageError, match=told):
        read_answered(cases, {"bad": tmp_path / "bad.jsonl"})
    with pytest.raises(UsageError, match="cannot be read"):
        read_answered(cases, {"none": tmp_path / "none.jsonl"})


def test_the_folder_of_a_run_is_as_good_as_its_responses(tmp_path: Path) -> None:
    cases = write(tmp_path / "cases.jsonl", [{"id": "1", "reference": "r"}])
    (tmp_path / "run").mkdir()
    write(tmp_path / "run" / "responses.jsonl", [{"id": "1", "response": "a"}])
    assert read_answered(cases, {"a": tmp_path / "run"}).responses == {"a": ("a",)}
