"""Answers to test cases: what is asked, what is kept, and cases that are none."""

import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from smile_async.chatbot.respond import Case, read_cases, respond, response_task
from smile_async.engine.job import Reply, Request
from smile_async.engine.run import RunReport
from smile_async.errors import RunMismatchError, SourceError
from smile_async.options import Options
from smile_async.settings import RetryPolicy
from smile_async.tasks import Following
from smile_async.testing import ScriptedProvider, replying, run_virtual


def case(ident: str, *said: str, system: str = "", reference: str | None = None) -> Case:
    """Turns by turns, the user first."""
    roles = ("user", "assistant")
    turns: list[dict[str, str]] = [{"role": roles[place % 2], "content": text} for place, text in enumerate(said)]
    head = [{"role": "system", "content": system}] if system else []
    return Case.model_validate({"id": ident, "messages": head + turns, "reference": reference})


def answers(request: Request, _number: int) -> Reply:
    return replying(f" 回{request.messages[-1].content}\n")


def ask(out: Path, cases: list[Case], script: Any = answers, **more: Any) -> tuple[RunReport, ScriptedProvider]:
    provider, options = ScriptedProvider(script), Options(retry=RetryPolicy(max_attempts=1))
    seen = Following(deterministic=random.Random(1))
    return run_virtual(respond(cases, out, provider=provider, options=options, following=seen, **more)), provider


def lines(out: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (out / "responses.jsonl").read_bytes().splitlines()]


def test_each_answer_stands_beside_its_case_in_their_order(tmp_path: Path) -> None:
    report, provider = ask(tmp_path, [case("a", "甲", "乙", "丙", reference="真"), case("b", "丁")], name="mechat")

    assert report.exit_code == 0
    assert lines(tmp_path) == [
        {"id": "a", "response": "回丙", "reference": "真", "system": "mechat"},
        {"id": "b", "response": "回丁", "system": "mechat"},
    ]
    assert [message.content for message in provider.asked[0][1].messages] == ["甲", "乙", "丙"]


def test_without_a_name_the_system_is_the_model(tmp_path: Path) -> None:
    ask(tmp_path, [case("a", "甲")])

    assert lines(tmp_path)[0]["system"] == "scripted"


def test_a_system_prompt_goes_before_cases_that_have_none(tmp_path: Path) -> None:
    _, provider = ask(tmp_path, [case("a", "甲"), case("b", "乙", system="旧")], system="新")

    asked = {request.messages[1].content: request.messages[0].content for _, request in provider.asked}
    assert asked == {"甲": "新", "乙": "旧"}
    with pytest.raises(RunMismatchError, match="system_prompt"):
        ask(tmp_path, [case("a", "甲")], system="另一")


@pytest.mark.parametrize(
    ("reply", "reasons", "flags"),
    [
        (replying("  "), {"empty": 1}, []),
        (Reply("", "stop", refusal="不"), {"refused": 1}, []),
        (Reply("", "content_filter"), {"content-filter": 1}, []),
        (Reply("说了一半", "length"), {}, [["truncated"]]),
    ],
)
def test_what_is_no_answer_is_set_aside_and_half_an_answer_is_flagged(
    tmp_path: Path, reply: Reply, reasons: dict[str, int], flags: list[Any]
) -> None:
    report, _ = ask(tmp_path, [case("a", "甲")], lambda _request, _number: reply)

    assert report.counts.reasons == reasons
    assert [line["flags"] for line in lines(tmp_path)] == flags


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "row 2: is not JSON"),
        ('{"messages": []}', "row 2, field 'id'"),
        ('{"id": 7, "messages": []}', "row 2, field 'messages'"),
        ('{"id": 7, "messages": [{"role": "client", "content": "x"}]}', "row 2, field 'messages.0.role'"),
        ('{"id": 7, "messages": [{"role": "assistant", "content": "x"}]}', "the last message is not the user's"),
        ('{"id": "1", "messages": [{"role": "user", "content": "x"}]}', "repeats the id"),
    ],
)
def test_what_is_no_case_is_named_by_its_line(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": 1, "messages": [{"role": "user", "content": "私密的话"}]}\n' + line + "\n", "utf-8")

    with pytest.raises(SourceError, match=told) as error:
        read_cases(path)

    assert "私密" not in str(error.value)


def test_cases_are_read_with_numbers_for_ids_and_fields_of_others(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": 1, "dialogue": "d", "messages": [{"role": "user", "content": "x"}]}\n\n', "utf-8")

    assert read_cases(path) == [case("1", "x")]


def test_no_file_and_no_case_are_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_cases(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(SourceError, match="holds no case"):
        read_cases(tmp_path / "empty.jsonl")


def test_a_case_survives_the_ledger() -> None:
    task, one = response_task(), case("a", "甲", "乙", "丙", system="前", reference="真")

    assert task.load_item(task.dump_item(one)) == one
