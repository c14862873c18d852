"""`smile evaluate`: Table 5 as a table, as CSV and as JSON."""

import csv
import json
from pathlib import Path

from tests.cli.conftest import Smile

REFERENCES = ["你愿意多说一说吗？", "听起来你很难过。", "我在这里陪着你。"]


def files() -> None:
    def write(name: str, field: str, texts: list[str]) -> None:
        rows = [json.dumps({"id": number, field: text}) for number, text in enumerate(texts)]
        Path(name).write_text("\n".join(rows) + "\n", "utf-8")

    write("cases.jsonl", "reference", REFERENCES)
    write("golden.jsonl", "response", REFERENCES)
    write("base.jsonl", "response", ["好的，我知道了。"] * 3)


def test_systems_stand_beside_each_other_in_percent(smile: Smile) -> None:
    files()
    ended = smile("evaluate", "cases.jsonl", "base=base.jsonl", "golden=golden.jsonl")
    assert ended.code == 0, ended.err
    assert "3 cases, tokens: characters" in ended.out
    [rouge] = [line for line in ended.out.splitlines() if "ROUGE-L" in line]
    assert "100.00 (100.00-100.00) +" in rouge
    assert REFERENCES[0] not in ended.out


def test_the_references_script_decides_what_is_counted_unless_told(smile: Smile) -> None:
    """Of "it is hard" and "it was hard" two of three words are the same, F1 2/3; of eight and nine letters seven
    (I t s h a r d) are a common subsequence, 2 * 7 / 17."""
    Path("en.jsonl").write_text(json.dumps({"id": 1, "reference": "It is hard"}))
    Path("one.jsonl").write_text(json.dumps({"id": 1, "response": "It was hard"}))
    ended = smile("evaluate", "en.jsonl", "one=one.jsonl")
    assert "1 cases, tokens: words" in ended.out
    assert smile("evaluate", "en.jsonl", "one=one.jsonl", "--json").told["systems"][0]["rouge-l"]["mean"] == 2 / 3
    letters = smile("evaluate", "en.jsonl", "one=one.jsonl", "--tokens", "characters", "--json").told
    assert letters["tokens"] == "characters"
    assert letters["systems"][0]["rouge-l"]["mean"] == 2 * 7 / 17


def test_json_and_csv_hold_the_same_figures(smile: Smile) -> None:
    files()
    told = smile("evaluate", "cases.jsonl", "golden=golden.jsonl", "--json").told
    assert told["systems"][0]["rouge-l"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "counted": 3}
    assert "longest common subsequence" in told["formulas"]["rouge-l"]
    table = smile("evaluate", "cases.jsonl", "golden=golden.jsonl", "--csv").out.splitlines()
    assert table[0] == "system,metric,mean,low,high,cases"
    assert "golden,rouge-l,1.000000,1.000000,1.000000,3" in table


def test_a_figure_that_no_case_has_is_said_to_be_none_and_a_name_with_a_comma_is_one_cell(smile: Smile) -> None:
    """Three single signs have no 2-gram."""
    files()
    rows = [json.dumps({"id": number, "response": "嗯"}) for number in range(3)]
    Path("short.jsonl").write_text("\n".join(rows), "utf-8")
    [line] = [
        line
        for line in smile("evaluate", "cases.jsonl", "a,b=short.jsonl").out.splitlines()
        if line.strip().startswith("D-2")
    ]
    assert line.split() == ["D-2", "no", "score"]
    table = csv.reader(smile("evaluate", "cases.jsonl", "a,b=short.jsonl", "--csv").out.splitlines())
    assert {len(row) for row in table} == {6}


def test_what_cannot_be_meant_is_refused(smile: Smile) -> None:
    files()
    for arguments, word in (
        (("base.jsonl",), "NAME=FILE"),
        (("a=base.jsonl", "a=golden.jsonl"), "two systems"),
        (("a=base.jsonl", "--tokens", "bytes"), "characters, words"),
        (("a=base.jsonl", "--missing", "guess"), "refuse, empty, skip"),
        (("a=nowhere.jsonl",), "cannot be read"),
    ):
        ended = smile("evaluate", "cases.jsonl", *arguments)
        assert ended.code == 2
        assert word in ended.err
