import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smile_async.corpus.formats import ExportReport, Record, RoleMap, paper_system_prompt, write_corpus
from smile_async.dialogue.model import Dialogue, QAPair, Utterance
from smile_async.errors import UsageError


def dialogue(spoken: str) -> Dialogue:
    """`c:你 s:好` as a dialogue of client (c) and counselor (s)."""
    roles = {"c": "client", "s": "counselor", "x": "narrator"}
    return Dialogue(utterances=tuple(Utterance(role=roles[part[0]], content=part[2:]) for part in spoken.split()))


def record(number: int, spoken: str = "c:你好 s:您好 c:难过 s:我在", **changes: Any) -> Record:
    pair = QAPair(question="问", answer="答", source_id=f"q{number}")
    return Record(f"row{number}", f"q{number}", pair, dialogue(spoken), **changes)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


IDENTITY = {"id": "row1", "questionID": "q1"}


def test_jsonl_holds_the_source_the_dialogue_and_the_flags(tmp_path: Path) -> None:
    write_corpus([record(1, "c:你 s:好", flags=("same-speaker",))], tmp_path / "o.jsonl", "jsonl")
    assert lines(tmp_path / "o.jsonl") == [
        IDENTITY
        | {"question": "问", "description": "", "answer": "答", "answer_index": 0, "flags": ["same-speaker"]}
        | {"dialogue": [{"role": "client", "content": "你"}, {"role": "counselor", "content": "好"}]}
    ]


def test_messages_are_openais_with_a_system_prompt_when_asked(tmp_path: Path) -> None:
    write_corpus([record(1, "c:你 s:好")], tmp_path / "o.jsonl", "messages", system_prompt="S")
    spoken = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "你"},
        {"role": "assistant", "content": "好"},
    ]
    assert lines(tmp_path / "o.jsonl") == [IDENTITY | {"messages": spoken}]


def test_sharegpt_comes_with_its_dataset_info(tmp_path: Path) -> None:
    write_corpus([record(1, "c:你 s:好")], tmp_path / "smile.jsonl", "sharegpt", system_prompt="S")
    spoken = [{"from": "human", "value": "你"}, {"from": "gpt", "value": "好"}]
    assert lines(tmp_path / "smile.jsonl") == [IDENTITY | {"conversations": spoken, "system": "S"}]
    columns = {"messages": "conversations", "system": "system"}
    entry = {"file_name": "smile.jsonl", "formatting": "sharegpt", "columns": columns}
    assert json.loads((tmp_path / "dataset_info.json").read_text()) == {"smile": entry}


def test_alpaca_puts_the_last_exchange_first_and_the_others_in_history(tmp_path: Path) -> None:
    write_corpus([record(1)], tmp_path / "o.jsonl", "alpaca")
    row = {"instruction": "难过", "input": "", "output": "我在", "history": [["你好", "您好"]]}
    assert lines(tmp_path / "o.jsonl") == [IDENTITY | row]


def test_dataset_info_keeps_the_entries_of_others(tmp_path: Path) -> None:
    info = tmp_path / "dataset_info.json"
    info.write_text('{"mine": {"file_name": "mine.json"}}')
    write_corpus([record(1)], tmp_path / "a.jsonl", "alpaca")
    write_corpus([record(1)], tmp_path / "b.jsonl", "sharegpt")
    assert list(json.loads(info.read_text())) == ["mine", "a", "b"]
    info.write_text("[]")
    with pytest.raises(UsageError, match="is no JSON object"):
        write_corpus([record(1)], tmp_path / "c.jsonl", "alpaca")
    assert not (tmp_path / "c.jsonl").exists()


@pytest.mark.parametrize("kind", ["messages", "sharegpt", "alpaca"])
@pytest.mark.parametrize(
    ("spoken", "texts", "report"),
    [
        ("c:1 s:2 c:3 s:4", ["1", "2", "3", "4"], ExportReport(1)),
        ("c:1 c:2 s:3 s:4", ["1\n2", "3\n4"], ExportReport(1, joined=1)),
        ("c:1 s:2 c:3", ["1", "2"], ExportReport(1, trailing_dropped=1)),
        ("s:0 c:1 s:2", ["1", "2"], ExportReport(1, leading_dropped=1)),
        ("s:0 s:0 c:1 s:2 c:3 c:4", ["1", "2"], ExportReport(1, joined=1, leading_dropped=1, trailing_dropped=1)),
        ("c:1", [], ExportReport(0, {"no-exchange": 1})),
        ("s:1", [], ExportReport(0, {"no-exchange": 1})),
        ("", [], ExportReport(0, {"empty": 1})),
        ("c:1 x:2 s:3", [], ExportReport(0, {"unknown-role": 1})),
    ],
)
def test_trainers_get_strict_alternation_and_the_report_says_what_it_took(
    tmp_path: Path, kind: Any, spoken: Any, texts: Any, report: Any
) -> None:
    assert write_corpus([record(1, spoken)], tmp_path / "o.jsonl", kind) == report
    written = [_texts(row) for row in lines(tmp_path / "o.jsonl")]
    assert written == ([texts] if texts else [])


def _texts(row: dict[str, Any]) -> list[str]:
    if "messages" in row:
        return [one["content"] for one in row["messages"]]
    if "conversations" in row:
        return [one["value"] for one in row["conversations"]]
    return [text for exchange in row["history"] for text in exchange] + [row["instruction"], row["output"]]


def test_smilechat_keeps_dialogues_as_they_are_in_numbered_files(tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    report = write_corpus([record(1, "c:1 c:2 s:3"), record(2, ""), record(3, "s:1 c:2")], out, "smilechat")
    assert report == ExportReport(2, {"empty": 1})
    assert sorted(path.name for path in out.iterdir()) == ["0.json", "2.json", "index.jsonl"]
    assert json.loads((out / "0.json").read_text()) == [
        {"role": "client", "content": "1"},
        {"role": "client", "content": "2"},
        {"role": "counselor", "content": "3"},
    ]
    assert lines(out / "index.jsonl")[1] == {"file": "2.json", "id": "row3", "questionID": "q3"}
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o600}


def test_smilechat_files_bear_the_number_of_the_source_row(tmp_path: Path) -> None:
    write_corpus([record(1, index=5), record(2, index=9)], tmp_path / "c", "smilechat")
    assert [row["file"] for row in lines(tmp_path / "c" / "index.jsonl")] == ["5.json", "9.json"]
    with pytest.raises(UsageError, match=r"Two records would be 5\.json .the second is row2"):
        write_corpus([record(1, index=5), record(2, index=5)], tmp_path / "d", "smilechat")
    assert not (tmp_path / "d").exists()


def test_chinese_stays_readable(tmp_path: Path) -> None:
    write_corpus([record(1)], tmp_path / "o.jsonl", "messages")
    assert "难过" in (tmp_path / "o.jsonl").read_text(encoding="utf-8")


def test_roles_of_another_recipe_are_mapped(tmp_path: Path) -> None:
    spoken = Dialogue(utterances=(Utterance(role="asker", content="1"), Utterance(role="lawyer", content="2")))
    roles = RoleMap(user="asker", assistant="lawyer")
    write_corpus([Record("r", "", None, spoken)], tmp_path / "o.jsonl", "messages", roles=roles)
    assert [one["role"] for one in lines(tmp_path / "o.jsonl")[0]["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize("kind", ["jsonl", "messages", "sharegpt", "alpaca"])
def test_a_file_that_exists_is_overwritten_only_when_told(tmp_path: Path, kind: Any) -> None:
    out = tmp_path / "o.jsonl"
    out.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_corpus([record(1)], out, kind)
    assert out.read_text() == "mine"
    assert write_corpus([record(1)], out, kind, overwrite=True).written == 1


def test_a_folder_is_replaced_only_when_it_is_an_export(tmp_path: Path) -> None:
    out = tmp_path / "c"
    write_corpus([record(1), record(2)], out, "smilechat")
    with pytest.raises(UsageError, match="exists already"):
        write_corpus([record(1)], out, "smilechat")
    write_corpus([record(1)], out, "smilechat", overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["0.json", "index.jsonl"]
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds 'thesis\.txt', which no export wrote"):
        write_corpus([record(1)], out, "smilechat", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def _failing() -> Iterator[Record]:
    yield record(1)
    raise KeyError("reader broke")


@pytest.mark.parametrize("kind", ["jsonl", "smilechat", "sharegpt"])
def test_an_export_that_breaks_off_leaves_nothing(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(KeyError):
        write_corpus(_failing(), tmp_path / "o", kind)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'xml' is unknown"):
        write_corpus([], tmp_path / "o", "xml")  # type: ignore[arg-type]


def test_the_system_prompt_is_figure_12() -> None:
    assert paper_system_prompt().startswith("现在你扮演一位专业的心理咨询师")
    assert paper_system_prompt().endswith("请为以下的对话生成一个回复。")
    assert paper_system_prompt("en").startswith("Now, you are playing the role")
