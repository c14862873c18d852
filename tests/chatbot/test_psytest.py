"""Transcripts become cases by a person's decisions: nothing is replaced unasked, nothing undecided goes out."""

import csv
import json
from pathlib import Path

import pytest

from smile_async.chatbot.psytest import COLUMNS, build, cases, proposals, read_proposals
from smile_async.corpus.formats import Record, RoleMap
from smile_async.dialogue.model import Dialogue, Utterance
from smile_async.errors import SourceError, UsageError

pytest.importorskip("rjieba", reason="pip install 'smile-async[analysis]'")


def record(row_id: str, *said: tuple[str, str]) -> Record:
    spoken = tuple(Utterance(role={"c": "client", "s": "counselor"}[who], content=text) for who, text in said)
    return Record(row_id, "", None, Dialogue(utterances=spoken))


TRANSCRIPTS = [
    record(
        "a",
        ("c", "我叫王小明，电话13812345678。"),
        ("s", "你好小明，今天想聊什么？"),
        ("c", "王小明也不知道，张老师让我来的。"),
        ("s", "没关系。"),
    ),
    record(
        "b", ("s", "你好，请坐。"), ("c", "最近睡不好。"), ("c", "总是醒。"), ("s", "醒来以后呢？"), ("s", "会想什么？")
    ),
]


def decide(review: Path, decisions: dict[str, str], replacements: dict[str, str] | None = None) -> None:
    """As a person does with a spreadsheet: by what was found; accept where nothing is said."""
    with review.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["decision"] = decisions.get(row["found"], "accept")
        row["replacement"] = (replacements or {}).get(row["found"], row["replacement"])
    with review.open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_case_ends_on_a_counselor_utterance_and_has_a_history() -> None:
    found = list(cases(TRANSCRIPTS))
    assert [(one.id, one.reference) for one in found] == [
        ("a-2", "你好小明，今天想聊什么？"),
        ("a-4", "没关系。"),
        ("b-3", "醒来以后呢？\n会想什么？"),  # consecutive utterances are one; the opening one has no history
    ]
    assert [one.content for one in found[2].history] == ["你好，请坐。", "最近睡不好。\n总是醒。"]
    assert found[0].as_json(RoleMap(), "S")["messages"] == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "我叫王小明，电话13812345678。"},
    ]


def test_a_name_is_proposed_wherever_it_is_said_and_keeps_its_number() -> None:
    found = [(one.utterance, one.found, one.replacement) for one in proposals(TRANSCRIPTS)]
    assert found == [
        (1, "王小明", "[姓名1]"),
        (1, "13812345678", "[电话]"),
        (2, "小明", "[姓名1]"),
        (3, "王小明", "[姓名1]"),
        (3, "张", "[姓名2]"),
    ]


def test_the_first_call_writes_the_list_and_no_case(tmp_path: Path) -> None:
    out, review = tmp_path / "cases.jsonl", tmp_path / "review.csv"
    made = build(TRANSCRIPTS, out, review=review)
    assert (made.waits, made.cases, made.proposals) == (review, 0, {"name": 4, "phone": 1})
    assert not out.exists()
    assert review.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="5 of 5 entries are undecided, the first in line 2"):
        build(TRANSCRIPTS, out, review=review)
    assert not out.exists()


def test_the_second_call_replaces_what_was_accepted_and_leaves_the_rest(tmp_path: Path) -> None:
    out, review = tmp_path / "cases.jsonl", tmp_path / "review.csv"
    build(TRANSCRIPTS, out, review=review)
    decide(review, {"张": "keep"}, {"13812345678": "【号码】"})
    made = build(TRANSCRIPTS, out, review=review)
    assert (made.cases, made.without_history, made.waits) == (3, 1, None)
    assert made.decisions == {"accept": 4, "keep": 1}
    told = lines(out)
    assert told[1]["messages"] == [
        {"role": "user", "content": "我叫[姓名1]，电话【号码】。"},
        {"role": "assistant", "content": "你好[姓名1]，今天想聊什么？"},
        {"role": "user", "content": "[姓名1]也不知道，张老师让我来的。"},
    ]
    assert told[0]["reference"] == "你好[姓名1]，今天想聊什么？"
    assert "王小明" not in out.read_text("utf-8")
    assert out.stat().st_mode & 0o777 == 0o600


def test_transcripts_in_which_nothing_is_found_need_no_list(tmp_path: Path) -> None:
    made = build(TRANSCRIPTS[1:], tmp_path / "cases.jsonl", review=tmp_path / "review.csv")
    assert (made.cases, made.waits) == (1, None)
    assert not (tmp_path / "review.csv").exists()


def test_a_list_for_other_transcripts_is_refused(tmp_path: Path) -> None:
    out, review = tmp_path / "cases.jsonl", tmp_path / "review.csv"
    build(TRANSCRIPTS, out, review=review)
    decide(review, {})
    changed = [record("a", ("c", "您好。我叫王小明。"), ("s", "你好。")), TRANSCRIPTS[1]]
    with pytest.raises(UsageError, match="findings are not in the list"):
        build(changed, out, review=review)
    with pytest.raises(SourceError, match="no longer matches dialogue a"):
        build(TRANSCRIPTS[1:], out, review=review)
    assert not out.exists()


def test_a_decision_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    review = tmp_path / "review.csv"
    build(TRANSCRIPTS, tmp_path / "cases.jsonl", review=review)
    decide(review, {"张": "maybe"})
    with pytest.raises(SourceError, match="line 6: the decision 'maybe' is unknown"):
        read_proposals(review)


def test_a_third_speaker_is_refused() -> None:
    strange = Record("x", "", None, Dialogue(utterances=(Utterance(role="mother", content="他不说话"),)))
    with pytest.raises(UsageError, match="Dialogue x has a speaker 'mother'"):
        list(cases([strange]))


@pytest.mark.parametrize("name", ["王小明", "13812345678", "li@example.org", "110101199003070011"])
def test_ids_that_tell_who_somebody_is_do_not_go_out(tmp_path: Path, name: str) -> None:
    said = (("c", "睡不好"), ("s", "请说"))
    with pytest.raises(UsageError, match="The id of dialogue 2") as refused:
        build([record("a", *said), record(name, *said)], tmp_path / "out.jsonl", review=tmp_path / "list.csv")
    assert name not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["17", "session-2024-03", "a13812345678bcde"])
def test_ids_that_tell_nothing_stay(tmp_path: Path, name: str) -> None:
    made = build([record(name, ("c", "睡不好"), ("s", "请说"))], tmp_path / "out.jsonl", review=tmp_path / "list.csv")
    assert made.cases == 1


def test_an_empty_utterance_is_no_turn_of_a_case() -> None:
    found = list(
        cases(
            [record("e", ("c", "在吗"), ("s", "在。"), ("c", " "), ("s", "嗯？"), ("c", "睡不好"), ("s", "多久了？"))]
        )
    )
    assert [(one.id, [said.content for said in one.history], one.reference) for one in found] == [
        ("e-2", ["在吗"], "在。\n嗯？"),
        ("e-4", ["在吗", "在。\n嗯？", "睡不好"], "多久了？"),
    ]
