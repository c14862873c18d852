"""prepare, sample, export."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import ROWS, Serve, Smile, at
from tests.e2e.questions import questions, write_jsonl, write_psyqa


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def run(smile: Smile, serve: Serve, source: Path) -> Path:
    assert smile("generate", source, "run", *at(serve())).code == 0
    return Path("run")


@pytest.mark.parametrize("shape", ["jsonl", "messages", "sharegpt", "alpaca"])
def test_an_export_holds_every_row_in_the_sources_order_with_both_ids(smile: Smile, run: Path, shape: str) -> None:
    ended = smile("export", run, "out.jsonl", "--format", shape, "--json")
    assert ended.code == 0
    assert (ended.told["written"], ended.told["format"], ended.told["skipped"]) == (ROWS, shape, {})
    lines = _lines(Path("out.jsonl"))
    assert [line["questionID"] for line in lines] == [row["questionID"] for row in questions(ROWS)]
    assert [line["id"] for line in lines] == [line["id"] for line in _lines(run / "corpus.jsonl")]
    held = {"jsonl": "dialogue", "messages": "messages", "sharegpt": "conversations", "alpaca": "instruction"}[shape]
    assert all(line[held] for line in lines)


def test_smilechat_is_a_folder_of_files(smile: Smile, run: Path) -> None:
    assert smile("export", run, "out", "--format", "smilechat").code == 0
    assert len(_lines(Path("out/index.jsonl"))) == ROWS
    dialogue = json.loads(Path("out/0.json").read_text("utf-8"))
    assert dialogue[0].keys() == {"role", "content"}
    assert dialogue == _lines(run / "corpus.jsonl")[0]["dialogue"]


def test_the_papers_system_prompt_can_be_put_in(smile: Smile, run: Path) -> None:
    assert smile("export", run, "out.jsonl", "--format", "messages", "--system", "paper-zh").code == 0
    assert {line["messages"][0]["role"] for line in _lines(Path("out.jsonl"))} == {"system"}


@pytest.mark.parametrize(
    ("shape", "flag"), [("smilechat", "--system"), ("jsonl", "--system"), ("smilechat", "--topics")]
)
def test_what_a_format_has_no_place_for_is_refused(smile: Smile, run: Path, shape: str, flag: str) -> None:
    ended = smile("export", run, "out", "--format", shape, flag, "paper-zh")
    assert (ended.code, flag in ended.err, f"--format {shape} has no place for it" in ended.err) == (2, True, True)
    assert not Path("out").exists()


def test_any_corpus_can_be_exported_not_only_a_run(smile: Smile, run: Path) -> None:
    smile("export", run, "first", "--format", "smilechat")
    assert smile("export", "first", "second.jsonl", "--json").told["written"] == ROWS
    assert smile("export", "second.jsonl", "third.jsonl", "--format", "sharegpt").code == 0
    assert smile("export", "third.jsonl", "fourth.jsonl").code == 0
    told = [[line["dialogue"] for line in _lines(Path(name))] for name in (run / "corpus.jsonl", "second.jsonl")]
    assert told[0] == told[1]
    assert [line["id"] for line in _lines(Path("fourth.jsonl"))] == [
        line["id"] for line in _lines(run / "corpus.jsonl")
    ]


def test_roles_of_ones_own_are_told(smile: Smile) -> None:
    said = [{"role": role, "content": "。"} for role in ("甲", "乙", "旁白")]
    Path("mine.jsonl").write_text(json.dumps({"dialogue": said[:2]}) + "\n" + json.dumps({"dialogue": said}) + "\n")
    refused = smile("export", "mine.jsonl", "out.jsonl", "--format", "messages")
    assert refused.code == 2
    assert "--roles" in refused.err
    told = smile("export", "mine.jsonl", "out.jsonl", "--format", "messages", "--roles", "甲,乙", "--json").told
    assert (told["written"], told["skipped"]) == (1, {"unknown-role": 1})


def test_a_dataset_folder_says_how_its_run_made_it(smile: Smile, run: Path) -> None:
    """24 questions: a quarter are 6; the seed decides which."""
    pytest.importorskip("pyarrow", reason="pip install 'smile-async[parquet]'")
    ended = smile("export", run, "set", "--format", "hf", "--validation", "0.25", "--test", "0", "--seed", "7")
    assert ended.code == 0
    assert "splits: train 18, validation 6" in ended.out
    card = Path("set/README.md").read_text("utf-8")
    for row in ("Model | simulated", "Source | qa.jsonl", "Rows asked for | 24", "Accepted | 24", "Set aside | 0"):
        assert f"| {row} |" in card
    assert "temperature 1.0, top_p 1.0" in card.replace("\\_", "_")
    assert str(Path.cwd()) not in card
    assert smile("stats", "set", "--json").told["dialogues"] == ROWS


@pytest.mark.parametrize("flag", ["--validation", "--test", "--seed", "--license", "--language"])
def test_flags_of_a_dataset_folder_belong_to_no_other_format(smile: Smile, run: Path, flag: str) -> None:
    ended = smile("export", run, "out.jsonl", flag, "0")
    assert ended.code == 2
    assert "--format hf" in ended.err
    assert not Path("out.jsonl").exists()


def test_shares_that_leave_nothing_are_refused(smile: Smile, run: Path) -> None:
    ended = smile("export", run, "set", "--format", "hf", "--test", "1")
    assert ended.code == 2
    assert "nothing to train on" in ended.err


def test_an_unknown_format_names_those_there_are(smile: Smile, run: Path) -> None:
    ended = smile("export", run, "out.jsonl", "--format", "parquet")
    assert ended.code == 2
    assert "sharegpt" in ended.err
    assert not Path("out.jsonl").exists()


def test_what_is_there_is_replaced_only_when_told_to(smile: Smile, run: Path) -> None:
    Path("out.jsonl").write_text("mine")
    ended = smile("export", run, "out.jsonl")
    assert ended.code == 2
    assert "--overwrite" in ended.err
    assert Path("out.jsonl").read_text() == "mine"
    assert smile("export", run, "out.jsonl", "--overwrite").code == 0
    assert len(_lines(Path("out.jsonl"))) == ROWS


def test_an_export_is_the_same_byte_for_byte_when_made_again(smile: Smile, run: Path) -> None:
    smile("export", run, "one.jsonl")
    smile("export", run, "two.jsonl")
    assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()


def test_prepare_lists_hugs_takes_the_decisions_and_applies_them(smile: Smile, tmp_path: Path) -> None:
    rows = questions(4)
    rows[0]["answer"] = "楼主抱抱，" + rows[0]["answer"]
    rows[1]["answer"] += "抱抱自己吧。"
    source = write_psyqa(tmp_path / "psyqa.json", rows)
    first = smile("prepare", source, "out.jsonl", "--review", "hugs.csv", "--json")
    assert first.code == 0
    assert first.told["hugs"] == 2
    with Path("hugs.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2

    undecided = smile("prepare", source, "out.jsonl", "--review", "hugs.csv", "--overwrite")
    assert undecided.code == 2
    assert "decision" in undecided.err

    for row in table:
        row["decision"] = "keep"
    with Path("hugs.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys())
        writer.writeheader()
        writer.writerows(table)
    second = smile("prepare", source, "out.jsonl", "--review", "hugs.csv", "--overwrite", "--json")
    assert second.code == 0
    assert second.told["written"] == 4
    assert "抱抱" in _lines(Path("out.jsonl"))[0]["answer"]


def test_what_prepare_writes_is_a_source(smile: Smile, serve: Serve, source: Path) -> None:
    assert smile("prepare", source, "out.jsonl").code == 0
    assert smile("generate", "out.jsonl", "run", *at(serve()), "--json").told["rows"]["accepted"] == ROWS


def test_sample_draws_by_seed_without_a_question_twice(smile: Smile, tmp_path: Path) -> None:
    twice = [{**row, "answer": row["answer"] + "补充。"} for row in questions(30)]
    rows = [row for pair in zip(questions(30), twice, strict=True) for row in pair]  # two answers each
    source = write_jsonl(tmp_path / "many.jsonl", rows)
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        ended = smile("sample", source, f"{name}.jsonl", "-n", "10", "--seed", seed, "--json")
        assert ended.code == 0
        assert ended.told == {"written": 10, "out": f"{name}.jsonl", "seed": int(seed)}
    a, b, c = (Path(f"{name}.jsonl").read_bytes() for name in "abc")
    assert a == b != c
    assert len({line["question"] for line in _lines(Path("a.jsonl"))}) == 10


def test_more_than_there_are_cannot_be_drawn(smile: Smile, source: Path) -> None:
    ended = smile("sample", source, "out.jsonl", "-n", "500")
    assert ended.code == 2
    assert str(ROWS) in ended.err
    assert not Path("out.jsonl").exists()
