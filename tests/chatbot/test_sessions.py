"""Dialogues to training sessions: whose words are in whose history."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smile_async.chatbot.session_files import drawn_sessions, read_sessions, session_parts, write_sessions
from smile_async.chatbot.sessions import (
    HistoryLimits,
    SessionCounts,
    counted_sessions,
    legacy_sessions,
    sessions_of,
    shortest,
    within,
)
from smile_async.corpus.formats import Record, RoleMap, paper_system_prompt
from smile_async.dialogue.model import Dialogue, Utterance
from smile_async.errors import SourceError, UsageError


def record(row_id: str, roles: str, source_id: str = "") -> Record:
    """A dialogue whose every utterance says whose it is and which: `roles` is "cs..." (client, counselor)."""
    names = {"c": "client", "s": "counselor"}
    said = tuple(Utterance(role=names[one], content=f"<{row_id}:{place}>") for place, one in enumerate(roles))
    return Record(row_id, source_id, None, Dialogue(utterances=said))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_each_answer_is_a_session_with_all_that_was_said_before_it() -> None:
    first, second = sessions_of(record("a", "cscs"))
    assert first.history == (("user", "<a:0>"),)
    assert first.answer == "<a:1>"
    assert second.history == (("user", "<a:0>"), ("assistant", "<a:1>"), ("user", "<a:2>"))
    assert (first.id, second.id) == ("a-0", "a-1")


@given(st.lists(st.text("cs", max_size=12), max_size=6))
def test_no_session_holds_a_word_of_another_dialogue(shapes: Sequence[str]) -> None:
    records = [record(f"d{place}", shape) for place, shape in enumerate(shapes)]
    counts = SessionCounts()
    for session in counted_sessions(records, counts):
        told = "".join(text for _, text in session.turns)
        assert session.foreign == 0
        assert told.count("<") == told.count(f"<{session.row_id}:")
        roles = [role for role, _ in session.turns]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
    assert counts.counselor_utterances == sum(shape.count("s") for shape in shapes)


def test_two_answers_in_a_row_are_one_and_an_opening_one_is_none() -> None:
    counts = SessionCounts()
    [session] = counted_sessions([record("a", "sccss")], counts)
    assert session.history == (("user", "<a:1>\n<a:2>"),)
    assert session.answer == "<a:3>\n<a:4>"
    assert (counts.joined, counts.leading_dropped, counts.counselor_utterances) == (1, 1, 3)


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_utterance_without_a_word_is_left_out_and_counted(empty: str) -> None:
    """Of client, counselor, (client: nothing), counselor, client, (counselor: nothing) one session is left: the answers
    around the empty question are one."""
    said = [
        ("client", "q"),
        ("counselor", "a"),
        ("client", empty),
        ("counselor", "b"),
        ("client", "r"),
        ("counselor", empty),
    ]
    dialogue = Dialogue(utterances=tuple(Utterance(role=role, content=text) for role, text in said))
    counts = SessionCounts()
    [session] = counted_sessions([Record("a", "", None, dialogue)], counts)
    assert session.turns == (("user", "q"), ("assistant", "a\nb"))
    assert (counts.empty, counts.joined) == (2, 1)
    assert sessions_of(Record("a", "", None, dialogue)) == [session]


def test_no_session_to_train_on_is_an_error_and_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_sessions([record("a", "cs"), record("b", "cs")], out, validation=0.5)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    silent = [record("a", "cc"), record("b", "ss")]
    with pytest.raises(UsageError, match=r"2 dialogues give no session to train on \(2 no-exchange\)"):
        write_sessions(silent, out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    with pytest.raises(UsageError, match=r"(?s)2 sessions too long.*Raise --max-tokens"):
        write_sessions(
            [record("a", "cscs")], tmp_path / "new", validation=0, limits=HistoryLimits(tokens=1), count_tokens=len
        )
    assert list((tmp_path / "new").iterdir()) == []


def test_the_authors_converter_carries_nine_utterances_into_the_next_dialogue() -> None:
    """Two dialogues of 12 utterances, answers at places 1, 3, 5, 7, 9, 11. The first has nobody before it. In the
    second the answer at place p has p own utterances behind it, so 9 - p of the first one's: places 1 to 7, four
    samples, are affected; at 9 and 11 all nine are its own."""
    found = list(legacy_sessions([record("a", "cs" * 6), record("b", "cs" * 6)]))
    assert [session.foreign for session in found] == [0] * 6 + [8, 6, 4, 2, 0, 0]
    assert found[6].history[0] == ("user", "<a:4>")  # the last 8 of a's 12
    assert found[6].history[-1] == ("user", "<b:0>")
    assert [len(session.history) for session in found] == [1, 3, 5, 7, 9, 9, 9, 9, 9, 9, 9, 9]


def test_the_authors_converter_takes_every_answer_that_opens_no_dialogue() -> None:
    found = list(legacy_sessions([record("a", "scss"), record("b", "s")]))
    assert [session.answer for session in found] == ["<a:2>", "<a:3>"]


def test_a_history_of_two_turns_begins_with_the_client_before_the_last() -> None:
    counts = SessionCounts()
    *_, last = counted_sessions([record("a", "cs" * 5)], counts, limits=HistoryLimits(turns=2))
    assert [text for _, text in last.history] == ["<a:6>", "<a:7>", "<a:8>"]
    assert counts.shortened == 3  # answers 3, 4 and 5 have more than two client utterances before them


def test_tokens_are_saved_exchange_by_exchange_and_the_system_prompt_stays() -> None:
    turns = (("system", "x" * 10), ("user", "aa"), ("assistant", "bb"), ("user", "cc"), ("assistant", "dd"))

    def count(said: Sequence[tuple[str, str]]) -> int:
        return sum(len(text) for _, text in said)

    assert within(turns, 18, count) == turns
    assert within(turns, 17, count) == (turns[0], *turns[3:])  # 10 + 2 + 2
    assert within(turns, 13, count) is None


def test_the_shortest_that_a_session_can_be_is_what_is_left_when_nothing_else_fits() -> None:
    def count(said: Sequence[tuple[str, str]]) -> int:
        return sum(len(text) for _, text in said)

    even = (("system", "x"), ("user", "aa"), ("assistant", "bb"), ("user", "cc"), ("assistant", "dd"))
    for turns in (even, even[:1] + even[2:]):  # the second as the authors' converter cuts
        least = shortest(turns)
        assert within(turns, count(least), count) == least
        assert within(turns, count(least) - 1, count) is None


def test_a_token_limit_asks_for_a_tokenizer_and_counts_what_fits_nowhere() -> None:
    one = [record("a", "cscs")]
    with pytest.raises(UsageError, match="--tokenizer"):
        list(counted_sessions(one, SessionCounts(), limits=HistoryLimits(tokens=9)))
    counts = SessionCounts()
    # Each text has 5 characters: a session of two has 10, of four 20.
    found = list(
        counted_sessions(
            one, counts, limits=HistoryLimits(tokens=10), count_tokens=lambda said: sum(len(text) for _, text in said)
        )
    )
    assert [len(session.history) for session in found] == [1, 1]
    assert counts.shortened == 1
    assert not list(
        counted_sessions(one, counts, limits=HistoryLimits(tokens=9), count_tokens=lambda said: 5 * len(said))
    )
    assert counts.too_long == 2


def test_a_share_of_nearly_everything_leaves_something_to_train_on(tmp_path: Path) -> None:
    report = write_sessions([record("a", "cs"), record("b", "cs")], tmp_path / "out", validation=0.99)
    assert (report.train, report.validation) == (1, 1)
    with pytest.raises(UsageError, match="Shares of 1"):
        write_sessions([record("a", "cs")], tmp_path / "more", validation=1)


def test_all_dialogues_of_a_question_are_on_one_side(tmp_path: Path) -> None:
    records = [record(f"d{n}", "cs" * 3, source_id=f"q{n % 10}") for n in range(40)]  # four dialogues a question
    report = write_sessions(records, tmp_path / "out", validation=0.2)
    sides = [{line["questionID"] for line in lines(tmp_path / f"out/{name}.jsonl")} for name in ("train", "validation")]
    assert not sides[0] & sides[1]
    assert (report.train, report.validation, report.validation_dialogues) == (96, 24, 8)


def test_messages_begin_with_figure_12_and_are_their_owners_alone(tmp_path: Path) -> None:
    records = [record("a", "cscs"), record("b", "cs")]
    out = tmp_path / "out"
    write_sessions(records, out, system_prompt=paper_system_prompt("zh"), validation=0)
    rows = lines(out / "train.jsonl")
    assert [row["id"] for row in rows] == ["a-0", "a-1", "b-0"]
    assert rows[0]["messages"][0] == {"role": "system", "content": paper_system_prompt("zh")}
    assert rows[1]["messages"][-1] == {"role": "assistant", "content": "<a:3>"}
    assert not (out / "validation.jsonl").exists()
    assert (out / "train.jsonl").stat().st_mode & 0o777 == 0o600
    assert out.stat().st_mode & 0o777 == 0o700


def test_sharegpt_and_alpaca_come_with_their_entries_for_llama_factory(tmp_path: Path) -> None:
    records = [record("a", "cscs"), record("b", "cscs")]
    write_sessions(records, tmp_path / "s", "sharegpt", system_prompt="Be kind.", validation=0.5)
    write_sessions(records, tmp_path / "a", "alpaca", validation=0)
    shared = lines(tmp_path / "s/train.jsonl")[1]
    assert [one["from"] for one in shared["conversations"]] == ["human", "gpt", "human", "gpt"]
    assert shared["system"] == "Be kind."
    assert json.loads((tmp_path / "s/dataset_info.json").read_text()).keys() == {"train", "validation"}
    alpaca = lines(tmp_path / "a/train.jsonl")[1]
    assert (alpaca["instruction"], alpaca["output"], alpaca["history"]) == ("<a:2>", "<a:3>", [["<a:0>", "<a:1>"]])


def test_what_is_there_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    records = [record("a", "cs"), record("b", "cs")]
    out = tmp_path / "out"
    write_sessions(records, out, validation=0.5)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_sessions(records, out)
    write_sessions(records, out, validation=0, overwrite=True)
    assert not (out / "validation.jsonl").exists()
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"format": "xml"}, "One of"),
        ({"format": "alpaca", "legacy": True}, "messages"),
        ({"legacy": True, "limits": HistoryLimits(turns=2)}, "nine"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        write_sessions([record("a", "cs")], tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="0 turns"):
        HistoryLimits(turns=0)


def test_roles_of_another_recipe(tmp_path: Path) -> None:
    said = (Utterance(role="咨询者", content="q"), Utterance(role="律师", content="a"))
    one = Record("a", "", None, Dialogue(utterances=said))
    report = write_sessions([one], tmp_path / "out", roles=RoleMap("咨询者", "律师"), validation=0)
    assert report.train == 1


def test_training_reads_back_what_was_written(tmp_path: Path) -> None:
    write_sessions(
        [record("a", "cscs"), record("b", "cs")], tmp_path / "out", system_prompt="S", validation=0.5, seed=1
    )
    train, validation = session_parts(tmp_path / "out")
    assert validation is not None
    found = [*read_sessions(train), *read_sessions(validation)]
    assert {one.id for one in found} == {"a-0", "a-1", "b-0"}
    assert all(one.messages[0] == ("system", "S") and one.messages[-1][0] == "assistant" for one in found)
    assert session_parts(train) == (train, None)
    with pytest.raises(UsageError, match="smile sft"):
        session_parts(tmp_path)


def test_a_draw_of_sessions_keeps_their_order_and_depends_on_the_seed(tmp_path: Path) -> None:
    write_sessions([record(f"d{n:02}", "cs") for n in range(30)], tmp_path / "out", validation=0)
    path = tmp_path / "out/train.jsonl"
    drawn = [one.id for one in drawn_sessions(path, 5, 1)]
    assert len(drawn) == 5
    assert drawn == sorted(drawn)
    assert drawn == [one.id for one in drawn_sessions(path, 5, 1)]
    assert drawn != [one.id for one in drawn_sessions(path, 5, 2)]
    assert len(list(drawn_sessions(path, 99, 1))) == 30


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"messages": []}', '{"messages": [{"role": "user", "content": "q"}]}', '{"conversations": []}',
     '{"messages": [{"role": "assistant", "content": "a"}]}', '{"messages": [{"role": "user", "content": 3}]}'],
)  # fmt: skip
def test_a_line_that_is_no_session_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n' + line)
    with pytest.raises(SourceError, match="row 2"):
        list(read_sessions(path))
