"""A run that is taken up again stays one run: the same rows, the same rules, and nothing changes when it is refused."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import ROWS, Serve, Smile, at
from tests.e2e.questions import questions, write_jsonl

STRICT = 'extends = "smile"\nname = "strict"\n[format]\nmin_turns = 99\n'


@pytest.mark.parametrize(
    "flags", [("--no-clean",), ("--max-characters", "50"), ("--sample", "3"), ("--columns", "answer=answer")]
)
def test_with_rows_shaped_otherwise_it_is_refused_and_asks_nothing(
    flags: tuple[str, ...], smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve()
    assert smile("generate", source, "run", *at(server)).code == 0
    refused = smile("generate", source, "run", *at(server), *flags)
    assert refused.code == 2
    assert "was started with other settings" in refused.err
    assert server.stats["requests"] == ROWS


def test_however_the_path_is_typed_a_bad_row_is_the_same_row(smile: Smile, serve: Serve, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "qa.jsonl", [*questions(3), {"question": "没有回答"}])
    where = at(serve())
    for path in ("qa.jsonl", tmp_path / "qa.jsonl"):
        ended = smile("generate", path, "run", *where, "--skip-bad-rows", "--json")
        assert (ended.told["rows"]["total"], ended.told["reasons"]) == (4, {"bad-row": 1})


def test_rows_that_a_sample_cannot_read_are_counted(smile: Smile, serve: Serve, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "qa.jsonl", [{"question": "没有回答"}, *questions(4)])
    ended = smile("generate", "qa.jsonl", "run", *at(serve()), "--sample", "2", "--skip-bad-rows", "--json")
    assert (ended.told["rows"]["accepted"], ended.told["reasons"]) == (2, {"bad-row": 1})


def test_after_revalidate_the_first_command_judges_by_the_runs_rules(
    smile: Smile, serve: Serve, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "strict.toml").write_text(STRICT, "utf-8")
    where = at(serve())
    smile("generate", source, "run", *where, "--limit", "4")
    assert smile("revalidate", "run", "--recipe", "strict.toml", "--json").told["rows"]["accepted"] == 0
    again = smile("generate", source, "run", *where, "--limit", "6", "--json")
    assert again.told["reasons"] == {"too-few-turns": 6}
    assert "smile revalidate" in again.err


def test_a_retry_that_is_refused_leaves_the_rows_set_aside(smile: Smile, serve: Serve, source: Path) -> None:
    where = at(serve(breaches={"too-few-turns": 1.0}))
    before = smile("generate", source, "run", *where, "--max-attempts", "1", "--json").told["rows"]
    assert smile("retry", "run", "--model", "another").code == 2
    assert smile("status", "run", "--json").told["rows"] == before
    unknown = smile("retry", "run", "--reason", "too-few-turn")
    assert unknown.code == 2
    assert "too-few-turns" in unknown.err


def test_resume_takes_limits_from_a_file_that_is_named(
    smile: Smile, serve: Serve, source: Path, tmp_path: Path
) -> None:
    smile("generate", source, "run", *at(serve()), "--limit", "2")
    (tmp_path / "wrong.toml").write_text("[limits]\nconcurrency = 0\n", "utf-8")
    refused = smile("resume", "run", "--config", "wrong.toml")
    assert refused.code == 2
    assert "limits.concurrency" in refused.err


def test_a_header_is_asked_for_again_and_its_value_is_nowhere_in_the_run(
    smile: Smile, serve: Serve, source: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "smile.toml"
    settings.write_text('[endpoint.headers]\napi-key = "geheim-314159"\n', "utf-8")
    smile("generate", source, "run", *at(serve()), "--limit", "2")
    assert not any(b"geheim" in file.read_bytes() for file in (tmp_path / "run").iterdir())
    assert smile("resume", "run").code == 0
    settings.unlink()
    refused = smile("resume", "run")
    assert refused.code == 2
    assert "'api-key'" in refused.err


def test_a_dialogue_on_a_topic_names_it(smile: Smile, serve: Serve, tmp_path: Path) -> None:
    smile("generate", "-", "run", *at(serve()), "--recipe", "standardT", "--limit", "3")
    lines = [json.loads(line) for line in (tmp_path / "run" / "corpus.jsonl").read_text("utf-8").splitlines()]
    assert len({line["topic"] for line in lines}) > 1


def test_the_builtin_recipes_are_listed_and_printed(smile: Smile, tmp_path: Path) -> None:
    assert {line.split()[0] for line in smile("recipes").out.splitlines()} >= {"smile", "standard", "standardT"}
    (tmp_path / "mine.toml").write_text(smile("recipes", "smile").out, "utf-8")
    assert smile("recipes", "nosuch").code == 2


def test_a_local_model_that_is_no_file_is_refused(smile: Smile, source: Path) -> None:
    refused = smile("generate", source, "run", "--provider", "local", "--model", "nosuchmodel")
    assert refused.code == 2
    assert "no file" in refused.err
