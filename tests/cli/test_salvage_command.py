"""--salvage: replies that break a rule are mended, counted, and mended again later without paying."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import ROWS, Serve, Smile, at

PREFACED = {"bad-start": 1.0}


def _flags(path: str) -> list[Any]:
    return [json.loads(line).get("flags") for line in Path(path).read_text("utf-8").splitlines()]


def test_without_it_they_are_asked_again_as_the_paper_did(smile: Smile, serve: Serve, source: Path) -> None:
    ended = smile("generate", source, "run", *at(serve(breaches=PREFACED)), "--max-attempts", "2", "--json")
    assert (ended.code, ended.told["attempts"], ended.told["salvaged"]) == (3, 2 * ROWS, {})
    assert ended.told["reasons"] == {"bad-start": ROWS}


def test_replies_are_mended_flagged_and_counted(smile: Smile, serve: Serve, source: Path) -> None:
    arguments = ("generate", source, "run", *at(serve(breaches=PREFACED)), "--salvage", "all", "--json")
    ended = smile(*arguments)
    assert (ended.code, ended.told["attempts"]) == (0, ROWS)
    assert ended.told["salvaged"] == {"preface": ROWS}
    assert f"salvaged         preface {ROWS}" in ended.err
    assert f"salvaged         preface {ROWS}" in smile("status", "run").out
    assert _flags("run/corpus.jsonl") == [["salvaged:preface"]] * ROWS
    assert smile(*arguments).told["attempts"] == ROWS, "the same command goes on with the same run"


@pytest.mark.parametrize(
    ("fault", "step", "expected"),
    [
        ({"breaches": {"no-separator": 1.0}}, "separators", ROWS),
        ({"breaches": {"english-tail": 1.0}}, "afterword", ROWS),
        ({"breaches": {"bad-speaker": 1.0}}, "headings", 0),  # a stranger speaks: not to be mended
        ({"faults": {"truncated": 1.0}}, "tail", None),  # those with five exchanges left
    ],
)
def test_what_the_simulated_endpoint_breaks_is_mended_where_it_can_be(
    smile: Smile, serve: Serve, source: Path, fault: dict[str, Any], step: str, expected: int | None
) -> None:
    ended = smile("generate", source, "run", *at(serve(**fault)), "--salvage", "free", "--max-attempts", "1", "--json")
    accepted = ended.told["rows"]["accepted"]
    assert ended.told["salvaged"] == ({step: accepted} if accepted else {})
    assert accepted == expected if expected is not None else 0 < accepted < ROWS


def test_replies_that_are_paid_for_are_mended_later_without_asking(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(breaches=PREFACED)
    smile("generate", source, "run", *at(server), "--max-attempts", "1")
    asked = server.stats["requests"]
    ended = smile("revalidate", "run", "--salvage", "all", "--json")
    assert ended.told["rows"]["accepted"] == ROWS
    assert ended.told["salvaged"] == {"preface": ROWS}
    ended = smile("revalidate", "run", "--salvage", "tail", "--json")
    assert (ended.told["rows"]["accepted"], ended.told["salvaged"]) == (0, {})
    ended = smile("revalidate", "run", "--recipe", "smile-checked", "--json")
    assert ended.told["rows"]["accepted"] == ROWS
    assert server.stats["requests"] == asked == ROWS


def test_a_re_ask_is_counted_with_what_came_of_it(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(breaches={"too-few-turns": 0.5})
    ended = smile("generate", source, "run", *at(server), "--salvage", "re-ask", "--max-attempts", "2", "--json")
    told = ended.told["amended"]["re-ask"]
    assert told["replies"] == ended.told["attempts"] - ROWS > 0
    assert told["accepted"] == told["replies"] - ended.told["rows"]["set_aside"] > 0
    assert f"re-ask           {told['accepted']} of {told['replies']} asked" in ended.err


def test_a_settings_file_may_say_it_and_a_flag_wins(smile: Smile, serve: Serve, source: Path) -> None:
    Path("smile.toml").write_text('salvage = ["preface"]\n', "utf-8")
    server = serve(breaches=PREFACED)
    assert smile("generate", source, "one", *at(server), "--json").told["salvaged"] == {"preface": ROWS}
    flags = ("--salvage", "none", "--max-attempts", "1")
    assert smile("generate", source, "two", *at(server), *flags, "--json").told["salvaged"] == {}


def test_a_step_that_does_not_exist_is_a_usage_error(smile: Smile, serve: Serve, source: Path) -> None:
    ended = smile("generate", source, "run", *at(serve()), "--salvage", "tial")
    assert ended.code == 2
    assert "'tial' is no step of salvage" in ended.err
    assert not Path("run").exists()
