"""`smile psytest`: list, decide, call again."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Smile

pytest.importorskip("rjieba", reason="pip install 'smile-async[analysis]'")


def test_the_list_waits_for_a_person_and_then_the_cases_are_there(smile: Smile) -> None:
    spoken = [
        ("user", "我叫王小明。"),
        ("assistant", "你好，小明。"),
        ("user", "我睡不好。"),
        ("assistant", "多久了？"),
    ]
    dialogue = [{"role": role, "content": said} for role, said in spoken]
    Path("real.jsonl").write_text(json.dumps({"id": "7", "dialogue": dialogue}) + "\n", "utf-8")
    first = smile("psytest", "real.jsonl", "cases.jsonl")
    assert first.code == 0, first.err
    assert "Now decide: open cases.jsonl.review.csv" in first.out
    assert "王小明" not in first.out
    again = smile("psytest", "real.jsonl", "cases.jsonl")
    assert again.code == 2
    assert "undecided" in again.err
    review = Path("cases.jsonl.review.csv")
    head, *rows = review.read_text("utf-8-sig").splitlines()
    review.write_text("\n".join([head, *(row + "accept" for row in rows)]) + "\n", "utf-8")
    told = smile("psytest", "real.jsonl", "cases.jsonl", "--system", "paper-zh", "--json").told
    assert (told["dialogues"], told["cases"], told["decisions"]) == (1, 2, {"accept": 2})
    [one, two] = [json.loads(line) for line in Path("cases.jsonl").read_text("utf-8").splitlines()]
    assert (one["id"], one["reference"]) == ("7-2", "你好，[姓名1]。")
    assert [message["role"] for message in two["messages"]] == ["system", "user", "assistant", "user"]


def test_roles_are_two(smile: Smile) -> None:
    Path("real.jsonl").write_text('{"id": "7", "dialogue": []}\n', "utf-8")
    ended = smile("psytest", "real.jsonl", "cases.jsonl", "--roles", "a,b,c")
    assert ended.code == 2
    assert "CLIENT,COUNSELOR" in ended.err
