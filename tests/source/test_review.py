import csv
import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smile_async.errors import SourceError, UsageError
from smile_async.source.prepare import PrepareReport, RowSetAside, prepare
from smile_async.source.readers import open_source, rows_from
from smile_async.source.review import ReviewEntry, apply_decisions, entries_of, find_hugs, read_review, write_review
from tests.source.writing import pair, read


@pytest.mark.parametrize(
    ("text", "cut", "rest"),
    [
        ("抱抱你。我懂。", "抱抱你。", ""),
        ("抱抱你，我懂你的难过。", "抱抱你，", "我懂你的难过。"),
        ("你辛苦了，抱抱你。我懂。", "，抱抱你", "你辛苦了。"),
        ("你辛苦了，抱抱你", "，抱抱你", "你辛苦了"),
        ("看到这里，抱抱你，愿你好。", "抱抱你，", "看到这里，愿你好。"),
        ("你好，给你一个大大的抱抱～我们来看。", "，给你一个大大的抱抱", "你好～"),
        ("很累吧，抱抱，再抱抱你！", "，抱抱，再抱抱你", "很累吧！"),
        ("一是休息（好好抱抱自己）二是散步。", "（好好抱抱自己）", "一是休息二是散步。"),
        ("他说“抱抱你，别哭”然后走了。", "抱抱你，", "他说“别哭”然后走了。"),
        (
            "抱抱你自我觉察是改变的第一步但并不是一定要改变才去做的事情",
            "抱抱你",
            "自我觉察是改变的第一步但并不是一定要改变才去做的事情",
        ),
    ],
)
def test_the_smallest_clause_is_proposed_and_a_sensible_sentence_is_left(text: Any, cut: Any, rest: Any) -> None:
    (found,) = find_hugs(pair(answer=text))
    assert (found.field, found.cut, found.after) == ("answer", cut, rest)
    assert text[found.start :].startswith(cut)
    assert found.sentence in text


def test_snippets_are_found_in_all_texts_and_apart_by_sentence() -> None:
    found = find_hugs(pair(question="求抱抱", description="无", answer="抱抱。好。抱抱！"))
    assert [(one.field, one.cut) for one in found] == [
        ("question", "求抱抱"),
        ("answer", "抱抱。"),
        ("answer", "抱抱！"),
    ]


def test_other_trigger_words_can_be_named() -> None:
    assert [one.cut for one in find_hugs(pair(answer="摸摸头，加油。抱抱。"), ("摸摸",))] == ["摸摸头，"]


pieces = st.lists(
    st.sampled_from(["抱抱", "你", "好的", "，", "。", "（", "）", "“", "”", "~", "\n"]), min_size=1, max_size=14
)


@given(words=pieces)
def test_accepting_every_cut_takes_every_hug_and_nothing_overlaps(words: Any) -> None:
    text = "好" + "".join(words)
    one = pair(answer=text)
    found = find_hugs(one)
    for before, after in pairwise(found):
        assert before.start + len(before.cut) <= after.start
    entries = [_decided(entry, "accept") for entry in entries_of(1, one, found)]
    result = apply_decisions(one, entries, "r.csv")
    assert "抱抱" not in getattr(result, "answer", "")


def _decided(entry: ReviewEntry, decision: str, replacement: str = "") -> ReviewEntry:
    return dataclasses.replace(entry, decision=decision, replacement=replacement)  # type: ignore[arg-type]


def test_the_list_reads_back_what_was_written(tmp_path: Path) -> None:
    one = pair(answer="=抱抱你\\n，“引”\n'+抱抱！", source_id="@7")
    entries = entries_of(4, one, find_hugs(one))
    write_review(tmp_path / "r.csv", entries)
    again = read_review(tmp_path / "r.csv")
    assert [entry.line for entry in again] == [2, 3]
    assert [_line_zero(entry) for entry in again] == entries


def _line_zero(entry: ReviewEntry) -> ReviewEntry:
    return dataclasses.replace(entry, line=0)


def test_no_cell_begins_like_a_formula(tmp_path: Path) -> None:
    """A spreadsheet would run it on the machine of the person who decides."""
    one = pair(answer="=HYPERLINK(抱抱)", source_id="-1")
    write_review(tmp_path / "r.csv", entries_of(1, one, find_hugs(one)))
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


# prepare


SOURCE = rows_from(
    [
        pair(1, answer="楼主你好，抱抱你。会好的。"),
        pair(2, answer="没有什么。"),
        pair(3, answer="抱抱你，先休息。"),
        pair(4, answer="抱抱！"),
    ]
)


def _decide(path: Path, decisions: list[tuple[str, str]]) -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head, *rows = list(csv.reader(file))
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        decided = [[*row[:-2], *decision] for row, decision in zip(rows, decisions, strict=True)]
        csv.writer(file).writerows([head, *decided])


def _prepare(folder: Path, **changes: Any) -> PrepareReport:
    return prepare(SOURCE, folder / "out.jsonl", review_file=folder / "r.csv", **changes)


def test_the_first_call_writes_the_list_and_waits(tmp_path: Path) -> None:
    report = _prepare(tmp_path)
    assert (report.hugs, report.written, report.out) == (3, 0, None)
    assert report.review_written == tmp_path / "r.csv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv"]


def test_decisions_are_applied_and_the_report_adds_up(tmp_path: Path) -> None:
    _prepare(tmp_path)
    _decide(tmp_path / "r.csv", [("accept", ""), ("edit", "辛苦了，"), ("Accept ", "")])
    report = _prepare(tmp_path)
    answers = [one.answer for one in read(open_source(tmp_path / "out.jsonl"))]
    assert answers == ["你好。会好的。", "没有什么。", "辛苦了，先休息。"]
    assert report.set_aside == (RowSetAside(4, "emptied", "answer"),)
    assert (report.rows, report.written, report.decisions) == (4, 3, {"accept": 2, "edit": 1})
    assert report.replaced == {"楼主你": 1}


def test_the_prepared_file_is_its_owners_alone(tmp_path: Path) -> None:
    prepare(SOURCE, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o777 == 0o600


def test_undecided_snippets_are_refused_or_kept_as_asked(tmp_path: Path) -> None:
    _prepare(tmp_path)
    _decide(tmp_path / "r.csv", [("keep", ""), ("", ""), ("keep", "")])
    with pytest.raises(UsageError, match="1 of 3 snippets are undecided, the first in line 3"):
        _prepare(tmp_path)
    assert not (tmp_path / "out.jsonl").exists()
    report = _prepare(tmp_path, undecided="keep")
    assert (report.written, report.decisions) == (4, {"keep": 2, "": 1})


def test_an_entry_that_no_longer_matches_is_named_by_line(tmp_path: Path) -> None:
    _prepare(tmp_path)
    _decide(tmp_path / "r.csv", [("accept", "")] * 3)
    changed = rows_from([pair(1, answer="楼主你好，抱抱你。"), pair(2), pair(3, answer="先休息。"), pair(4)])
    with pytest.raises(SourceError, match="line 3 no longer matches the source: row 3, answer, '抱抱你，'"):
        prepare(changed, tmp_path / "out.jsonl", review_file=tmp_path / "r.csv")
    with pytest.raises(SourceError, match="line 3 no longer matches"):
        prepare(rows_from([pair(1, answer="楼主你好，抱抱你。")]), tmp_path / "o", review_file=tmp_path / "r.csv")
    assert not (tmp_path / "out.jsonl").exists()


def test_snippets_that_are_in_no_list_are_refused(tmp_path: Path) -> None:
    _prepare(tmp_path)
    _decide(tmp_path / "r.csv", [("accept", "")] * 3)
    more = rows_from([*SOURCE.rows, pair(5, answer="抱抱。好")])
    with pytest.raises(UsageError, match="1 snippets of the source are not in the list"):
        prepare(more, tmp_path / "out.jsonl", review_file=tmp_path / "r.csv")


@pytest.mark.parametrize(
    ("decision", "problem"),
    [
        (("yes", ""), "line 2: the decision 'yes' is unknown"),
        (("edit", ""), "line 2: the decision 'edit' needs a replacement"),
        (("accept", "x"), "line 2: the decision 'accept' takes no replacement"),
    ],
)
def test_a_decision_that_cannot_be_meant_is_named_by_line(tmp_path: Path, decision: Any, problem: Any) -> None:
    _prepare(tmp_path)
    _decide(tmp_path / "r.csv", [decision, ("", ""), ("", "")])
    with pytest.raises(SourceError, match=problem):
        _prepare(tmp_path)


def test_rows_are_cut_after_cleaning_and_counted(tmp_path: Path) -> None:
    """Question 1 + description 0 + answer 12 = 13 characters, of which 10 stay."""
    source = rows_from(
        [pair(question="问", description="", answer="一二三四五六七八九十甲乙"), pair(2, description="长" * 9)]
    )
    report = prepare(source, tmp_path / "out.jsonl", max_characters=10)
    assert (report.truncated, report.characters_cut, report.written) == (1, 3, 1)
    assert report.set_aside == (RowSetAside(2, "answer-cut-away", "answer"),)


def test_bad_rows_of_the_source_are_in_the_report(tmp_path: Path) -> None:
    source = rows_from([pair(1), {"question": "问"}], skip_bad_rows=True)
    report = prepare(source, tmp_path / "out.jsonl")
    assert report.set_aside == (RowSetAside(2, "bad-row", "the field is missing"),)


def test_nothing_that_exists_is_overwritten_unasked(tmp_path: Path) -> None:
    prepare(SOURCE, tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match="exists already"):
        prepare(SOURCE, tmp_path / "out.jsonl")
    assert prepare(SOURCE, tmp_path / "out.jsonl", overwrite=True).written == 4
