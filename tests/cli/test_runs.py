"""generate, resume, retry, status, revalidate: exit codes, what is printed where, and what `--json` holds."""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import KEY, ROWS, Serve, Smile, at
from tests.e2e.questions import QA, questions, write_jsonl

FEW = {"too-few-turns": 0.4}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _shape(value: Any) -> Any:
    """A value's types, as deep as it goes."""
    return {name: _shape(inner) for name, inner in value.items()} if isinstance(value, dict) else type(value)


PROMISED = {
    "rows": {"total": int, "accepted": int, "set_aside": int, "pending": int},
    "attempts": int,
    "tokens": {"prompt": int, "completion": int},
    "spend_usd": float,
    "in_flight": int,
    "state": str,
}


def _keeps_its_promise(told: dict[str, Any]) -> None:
    """The fields that programs may rely on, with their types; `reasons` maps codes to rows."""
    shape = _shape(told)
    for name, wanted in PROMISED.items():
        found = shape[name]
        assert (found | wanted if isinstance(wanted, dict) else wanted) == found
    assert all(isinstance(rows, int) for rows in told["reasons"].values())
    rows = told["rows"]
    assert rows["accepted"] + rows["set_aside"] + rows["pending"] == rows["total"]
    assert sum(told["reasons"].values()) == rows["set_aside"]


def test_all_accepted_is_0_and_stdout_holds_the_json_alone(smile: Smile, serve: Serve, source: Path) -> None:
    ended = smile("generate", source, "run", *at(serve()), "--json")
    assert ended.code == 0
    _keeps_its_promise(ended.told)
    assert ended.told["state"] == "done"
    assert ended.told["rows"]["accepted"] == ROWS == ended.told["attempts"]
    assert "corpus.jsonl" in ended.err


def test_without_json_stdout_is_empty(smile: Smile, serve: Serve, source: Path) -> None:
    ended = smile("generate", source, "run", *at(serve()))
    assert (ended.code, ended.out) == (0, "")
    assert f"accepted   {ROWS}" in ended.err


def test_quiet_leaves_nothing_but_how_it_ended(smile: Smile, serve: Serve, source: Path) -> None:
    ended = smile("generate", source, "run", *at(serve()), "--quiet")
    assert ended.code == 0
    assert "run.started" not in ended.err
    assert ended.err.startswith("run: done")


def test_some_set_aside_is_3_with_reasons(smile: Smile, serve: Serve, source: Path) -> None:
    ended = smile("generate", source, "run", *at(serve(breaches=FEW)), "--max-attempts", "1", "--json")
    assert ended.code == 3
    _keeps_its_promise(ended.told)
    assert list(ended.told["reasons"]) == ["too-few-turns"]
    assert "smile retry run" in ended.err
    aside = _lines(Path("run/set-aside.jsonl"))
    assert len(aside) == ended.told["rows"]["set_aside"] > 0
    assert {line["reason"] for line in aside} == {"too-few-turns"}
    assert all(line["reply"] for line in aside), "the reply that was paid for is shown"


def test_stopped_is_4_and_says_how_to_go_on(smile: Smile, serve: Serve, source: Path) -> None:
    ended = smile("generate", source, "run", *at(serve(api_key="another")), "--json")
    assert ended.code == 4
    _keeps_its_promise(ended.told)
    assert (ended.told["state"], ended.told["reason"]) == ("stopped", "auth")
    assert "smile resume run" in ended.err


def test_a_budget_stops_before_it_is_overspent_and_a_larger_one_goes_on(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve()
    prices = ("--price-in", "10", "--price-out", "10")  # some 1,000 tokens a row: 0.01 dollars
    ended = smile("generate", source, "run", *at(server), *prices, "--budget", "0.1", "--json")
    assert ended.code == 4
    assert ended.told["reason"] == "budget"
    assert 0 < ended.told["spend_usd"] <= 0.1
    ended = smile("resume", "run", "--budget", "1", "--json")
    assert ended.code == 0
    tokens = ended.told["tokens"]
    assert ended.told["spend_usd"] == pytest.approx((tokens["prompt"] + tokens["completion"]) * 10 / 1e6, abs=1e-5)
    assert server.stats["requests"] == ROWS


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate", "absent.json", "run", "--model", "m"), ("absent.json",)),
        (("generate", "{source}", "run"), ("No model is named.\n  --model NAME, or",)),
        (("generate", "{source}", "run", "--model", "m", "--recipe", "nonsense"), ("nonsense", "smile", "standardT")),
        (("generate", "{source}", "run", "--model", "m", "--recipe", "absent.toml"), ("absent.toml",)),
        (("generate", "{source}", "run", "--model", "m", "--budget", "1"), ("--price-in",)),
        (("generate", "{source}", "run", "--model", "m", "--until-valid", "--max-attempts", "2"), ("--until-valid",)),
        (("generate", "{source}", "run", "--model", "m", "--temperature", "9"), ("temperature",)),
        (("generate", "{source}", "run", "--model", "m", "--concurrency", "0"), ("concurrency",)),
        (("generate", "{source}", "run", "--model", "m", "--format", "xml"), ("format",)),
        (("generate", "{source}", "run", "--model", "m", "--columns", "answer=reply"), ("qa.jsonl", "reply")),
        (("generate", "{source}", "run", "--model", "m", "--base-url", "ftp://x"), ("ftp://x", "https://")),
        (("generate", "{source}", "run", "--model", "m", "--provider", "nonsense"), ("provider",)),
        (("generate", "-", "run", "--model", "m"), ("no source was given",)),
        (("generate", "{source}", "run", "--model", "m", "--config", "absent.toml"), ("absent.toml",)),
        (("generate", "{source}"), ("RUN",)),
        (("generate", "{source}", "run", "--nonsense"), ("--nonsense",)),
        (("resume", "absent"), ("absent is not a run", "smile generate")),
        (("retry", "absent"), ("absent is not a run",)),
        (("status", "absent"), ("absent is not a run",)),
        (("revalidate", "absent"), ("absent is not a run",)),
        (("export", "absent", "out.jsonl"), ("absent: there is no such file or folder",)),
        (("prepare", "absent.json", "out.jsonl"), ("absent.json",)),
        (("sample", "absent.json", "out.jsonl"), ("absent.json",)),
        (("nonsense",), ("nonsense",)),
    ],
)
def test_a_usage_error_is_2_says_what_is_wrong_and_leaves_no_run(
    smile: Smile, source: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ended = smile(*(part.format(source=source) for part in arguments))
    assert ended.code == 2
    assert ended.out == ""
    for word in words:
        assert word in ended.err
    assert not Path("absent").exists()


def test_openai_without_a_key_says_which_variable_to_set(
    smile: Smile, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    ended = smile("generate", source, "run", "--model", "gpt-4o-mini")
    assert ended.code == 2
    assert "export OPENAI_API_KEY=" in ended.err


def test_the_address_and_the_keys_variable_come_from_the_environment(
    smile: Smile, serve: Serve, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(api_key="sk-other")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OTHER_KEY", "sk-other")
    ended = smile("generate", source, "run", "--model", "m", "--api-key-env", "OTHER_KEY")
    assert ended.code == 0
    assert server.stats["requests"] == ROWS


def test_status_of_a_run_that_is_done(smile: Smile, serve: Serve, source: Path) -> None:
    told = smile("generate", source, "run", *at(serve()), "--json").told
    status = smile("status", "run", "--json")
    assert status.code == 0
    _keeps_its_promise(status.told)
    for name in ("state", "rows", "reasons", "attempts", "tokens"):
        assert status.told[name] == told[name]
    shown = smile("status", "run", "--follow")
    assert shown.out.startswith("run: done\n")
    assert shown.err == ""


def test_status_of_a_run_that_stopped_says_why_and_how_to_go_on(smile: Smile, serve: Serve, source: Path) -> None:
    smile("generate", source, "run", *at(serve(quota_requests=5)))
    told = smile("status", "run", "--json").told
    assert (told["state"], told["reason"]) == ("stopped", "quota-exhausted")
    assert told["rows"]["pending"] > 0
    shown = smile("status", "run").out
    assert shown.startswith("run: stopped (quota-exhausted)\n")
    assert "smile resume run" in shown


def test_status_tells_money_endpoints_and_changes(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(faults={"server-error": 0.3}, fault_asks=1, seed=2)
    Path("smile.toml").write_text("[retry]\nfirst_wait = 0.001\nmax_wait = 0.01\n")
    smile("generate", source, "run", *at(server), "--price-in", "1", "--price-out", "2")
    told = smile("status", "run", "--json").told
    failed = told["failures"]["server-error"]
    money = told["money"]
    assert money["attempts"] == {"settled": ROWS, "refunded": failed, "unknown": 0, "reserved": 0}
    assert money["settled_usd"] == told["spend_usd"] > 0
    assert (money["reserved_usd"], money["perhaps_usd"]) == (0, told["perhaps_usd"])
    [(name, endpoint)] = told["endpoints"].items()
    assert name == server.base_url.split("/")[2]
    assert endpoint["attempts"] == told["attempts"] == ROWS + failed
    assert endpoint["failures"] == {"server-error": failed}
    assert endpoint["models"] == ["simulated"]
    assert endpoint["spend_usd"] == told["spend_usd"]
    for change in told["changes"]:
        assert change["endpoint"] == name
        assert change["reason"]
    assert told["live"] is None
    assert "answered   by simulated" in smile("status", "run").out


def test_several_endpoints_are_a_table_in_the_report_and_the_status(smile: Smile, serve: Serve, source: Path) -> None:
    servers = [serve(), serve()]
    Path("smile.toml").write_text(
        "".join(
            f'[[endpoint]]\nbase_url = "{server.base_url}"\nmodel = "simulated"\nname = "region-{number}"\n'
            for number, server in enumerate(servers)
        )
    )
    ended = smile("generate", source, "run")
    assert ended.code == 0, ended.err
    shown = smile("status", "run").out
    for text in (ended.err, shown):
        [head] = [line.split() for line in text.splitlines() if line.startswith("  endpoint")]
        assert head[:3] == ["endpoint", "attempts", "replies"]
        for number, server in enumerate(servers):
            [row] = [line.split() for line in text.splitlines() if line.startswith(f"  region-{number}")]
            assert row[1] == row[2] == str(server.stats["requests"])
            assert row[-1] == "simulated"


def test_a_run_that_is_not_at_work_cannot_be_steered(smile: Smile, serve: Serve, source: Path) -> None:
    smile("generate", source, "run", *at(serve()))
    for arguments in (("pause",), ("resume",), ("status",), ("--concurrency", "3"), ()):
        ended = smile("control", "run", *arguments)
        assert (ended.code, ended.out) == (2, "")
        assert "no process is at work" in ended.err
    assert "pause, resume, status" in smile("control", "run", "dance").err
    assert smile("control", "run", "--concurrency", "0").code == 2
    assert smile("control", "absent", "pause").code == 2


def test_without_the_extra_otel_says_what_to_install(
    smile: Smile, serve: Serve, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    monkeypatch.delitem(sys.modules, "smile_async.observing.telemetry", raising=False)
    server = serve()
    ended = smile("generate", source, "run", *at(server), "--otel")
    assert ended.code == 2
    assert "smile-async[otel]" in ended.err
    assert server.stats["requests"] == 0


def test_status_leaves_the_run_as_it_is(smile: Smile, serve: Serve, source: Path) -> None:
    smile("generate", source, "run", *at(serve()))
    before = {file.name: file.read_bytes() for file in Path("run").iterdir() if "sqlite3-" not in file.name}
    smile("status", "run")
    assert {file.name: file.read_bytes() for file in Path("run").iterdir() if "sqlite3-" not in file.name} == before


def test_retry_asks_again_for_the_reasons_named_and_for_nothing_else(smile: Smile, serve: Serve, source: Path) -> None:
    # A prompt meets a broken rule at its first ask only, so that whatever is asked again is accepted.
    server = serve(breaches={"too-few-turns": 0.4, "bad-start": 0.4}, fault_asks=1, seed=1)
    first = smile("generate", source, "run", *at(server), "--max-attempts", "1", "--json").told
    few, bad = first["reasons"]["too-few-turns"], first["reasons"]["bad-start"]
    retried = smile("retry", "run", "--reason", "too-few-turns", "--json")
    assert retried.code == 3
    assert server.stats["requests"] == ROWS + few
    assert retried.told["reasons"] == {"bad-start": bad}
    assert retried.told["rows"]["accepted"] == ROWS - bad
    assert retried.told["replies"] == ROWS + few, "what was paid for before is kept"
    rest = smile("retry", "run", "--json")
    assert rest.code == 0
    assert server.stats["requests"] == ROWS + few + bad
    assert [line["questionID"] for line in _lines(Path("run/corpus.jsonl"))] == _ids()


def test_revalidate_judges_by_other_rules_and_back_and_asks_nobody(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(breaches={"repetition": 0.4}, seed=1, fault_asks=1)
    smile("generate", source, "run", *at(server))  # the paper's rules let loops pass
    stricter = smile("revalidate", "run", "--recipe", "smile-checked", "--json")
    assert stricter.code == 0
    _keeps_its_promise(stricter.told)
    loops = stricter.told["reasons"]["repetition"]
    assert loops == server.stats["by_fault"]["repetition"] > 0
    assert len(_lines(Path("run/corpus.jsonl"))) == ROWS - loops
    assert {line["reason"] for line in _lines(Path("run/set-aside.jsonl"))} == {"repetition"}
    back = smile("revalidate", "run", "--recipe", "smile")
    assert back.code == 0
    assert f"{ROWS} accepted ({loops} of them newly)" in back.out
    assert len(_lines(Path("run/corpus.jsonl"))) == ROWS
    assert server.stats["requests"] == ROWS


def test_after_stricter_rules_a_retry_asks_again_for_what_they_set_aside(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve(breaches={"repetition": 0.4}, seed=1, fault_asks=1)
    smile("generate", source, "run", *at(server))
    loops = smile("revalidate", "run", "--recipe", "smile-checked", "--json").told["reasons"]["repetition"]
    retried = smile("retry", "run", "--reason", "repetition", "--json")
    assert retried.code == 0, retried.err
    assert retried.told["rows"]["accepted"] == ROWS
    assert server.stats["requests"] == ROWS + loops
    again = smile("revalidate", "run", "--json")  # the run's own rules are now the stricter ones
    assert again.told["rows"]["accepted"] == ROWS


def test_revalidate_by_another_prompt_is_refused(smile: Smile, serve: Serve, source: Path) -> None:
    smile("generate", source, "run", *at(serve()), "--limit", "2")
    ended = smile("revalidate", "run", "--recipe", "standard")
    assert ended.code == 2
    assert "asks another prompt" in ended.err


def test_recipes_without_a_source_take_a_number(smile: Smile, serve: Serve) -> None:
    for recipe in ("standard", "standardT"):
        ended = smile("generate", "-", recipe, *at(serve()), "--recipe", recipe, "--limit", "6", "--json")
        assert ended.told["rows"]["total"] == 6


def test_sample_and_seed_draw_distinct_questions(smile: Smile, serve: Serve, source: Path) -> None:
    ended = smile("generate", source, "run", *at(serve()), "--sample", "7", "--seed", "3", "--json")
    assert ended.code == 0
    assert len({line["questionID"] for line in _lines(Path("run/corpus.jsonl"))}) == 7


def test_another_source_is_refused_before_anything_changes_and_added_when_it_is_meant(
    smile: Smile, serve: Serve, source: Path
) -> None:
    """24 rows of each; the same rows with 6 more in front, or most of them gone, are the same source."""
    server, lines = serve(), source.read_text("utf-8").splitlines()
    other = write_jsonl(source.with_name("other.jsonl"), questions(2 * ROWS)[ROWS:])
    grown, shrunk = source.with_name("grown.jsonl"), source.with_name("shrunk.jsonl")
    grown.write_text("\n".join([*other.read_text("utf-8").splitlines()[:6], *lines]), "utf-8")
    shrunk.write_text("\n".join(lines[-3:]), "utf-8")
    smile("generate", source, "run", *at(server), "--limit", str(ROWS - 1))

    refused = smile("generate", other, "run", *at(server))
    before = smile("status", "run", "--json").told
    more = smile("generate", grown, "run", *at(server), "--json")
    less = smile("generate", shrunk, "run", *at(server), "--json")
    added = smile("generate", other, "run", *at(server), "--add", "--json")
    again = smile("resume", "run", *at(server), "--json")

    assert refused.code == 2
    assert f"of 24 rows of {other} none is among its 23" in refused.err
    assert f"smile generate {other} run --add" in " ".join(refused.err.split())
    assert (before["source"], before["attempts"]) == (str(source), ROWS - 1)
    assert [one.code for one in (more, less, added, again)] == [0, 0, 0, 0]
    assert (more.told["rows"]["total"], less.told["rows"]["total"]) == (ROWS + 6, ROWS + 6)
    assert added.told["rows"]["total"] == again.told["rows"]["total"] == 2 * ROWS


def test_a_bad_row_is_named_with_the_flag_that_would_skip_it(smile: Smile, serve: Serve, tmp_path: Path) -> None:
    rows = questions(5)
    rows[2]["answer"] = ""
    source = write_jsonl(tmp_path / "bad.jsonl", rows)
    ended = smile("generate", source, "run", *at(serve()))
    assert ended.code == 2
    for word in ("bad.jsonl, row 3, field 'answer'", "--skip-bad-rows"):
        assert word in ended.err
    assert smile("generate", source, "run", *at(serve()), "--skip-bad-rows", "--json").told["reasons"] == {"bad-row": 1}


FAULTS = dict.fromkeys(("server-error", "refusal", "truncated", "bad-gateway", "content-filter", "reset"), 0.04)
BREACHES = dict.fromkeys(("bad-start", "no-separator", "bad-speaker", "english-tail", "too-few-turns"), 0.05)


def test_no_key_and_no_dialogue_is_in_a_log_a_note_or_on_a_screen(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(faults=FAULTS, breaches=BREACHES, seed=5, api_key=KEY)
    Path("smile.toml").write_text("[retry]\nfirst_wait = 0.001\nmax_wait = 0.01\n")
    ended = smile("generate", source, "run", *at(server), "--verbose", "--json")
    assert ended.code in {0, 3}
    assert "reply.rejected" in ended.err
    assert "row.accepted" in ended.err
    for folder in Path("run").iterdir():
        assert KEY.encode() not in folder.read_bytes()
    # All that was asked and answered is Chinese; nothing that is printed for a person is.
    assert not _chinese(ended.err + ended.out + smile("status", "run").out)
    with closing(sqlite3.connect("run/ledger.sqlite3")) as ledger:
        notes = "".join(value for (value,) in ledger.execute("SELECT value FROM meta WHERE key <> 'recipe'"))
        details = "".join(detail for (detail,) in ledger.execute("SELECT detail FROM attempts"))
    assert not _chinese(notes + details)


def test_a_key_that_was_put_into_the_settings_is_refused_and_not_repeated(smile: Smile, source: Path) -> None:
    Path("smile.toml").write_text(f'[endpoint]\napi_key = "{KEY}"\n')
    ended = smile("generate", source, "run", "--model", "m")
    assert ended.code == 2
    assert "endpoint.api_key" in ended.err  # (the fixture looks for the key itself)


def _chinese(text: str) -> list[str]:
    return [character for character in text if "\u4e00" <= character <= "\u9fff"]


def _ids(count: int = ROWS) -> list[str]:
    rows: list[QA] = questions(count)
    return [row["questionID"] for row in rows]


class TestSettingsFile:
    """`smile.toml`: found here or named; flags win over it; what is wrong in it is named."""

    def test_of_this_folder_is_read(self, smile: Smile, serve: Serve, source: Path) -> None:
        server = serve()
        Path("smile.toml").write_text(
            f'recipe = "smile-checked"\n[endpoint]\nbase_url = "{server.base_url}"\nmodel = "from-file"\n'
            "[intake]\nlimit = 9\n[limits]\nconcurrency = 3\n[sampling]\ntemperature = 0.25\n"
        )
        assert smile("generate", source, "run", "--json").told["rows"]["total"] == 9
        assert server.stats["max_in_flight"] <= 3
        identity = _identity(Path("run"))
        assert (identity["recipe"], identity["model"], identity["temperature"]) == ("smile-checked", "from-file", 0.25)

    def test_flags_win_over_it(self, smile: Smile, serve: Serve, source: Path) -> None:
        server = serve()
        Path("other.toml").write_text(
            'recipe = "smile-checked"\n[endpoint]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "from-file"\n'
            "[intake]\nlimit = 9\n[sampling]\ntemperature = 0.25\n"
        )
        flags = ("--recipe", "smile", "--limit", "4", "--temperature", "0.5", "--config", "other.toml")
        assert smile("generate", source, "run", *at(server), *flags, "--json").told["rows"]["total"] == 4
        identity = _identity(Path("run"))
        assert (identity["recipe"], identity["model"], identity["temperature"]) == ("smile", "simulated", 0.5)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[limits]\nrpm = 5\n", ("limits.rpm",)),
            ("[limits]\nconcurrency = 'many'\n", ("limits.concurrency",)),
            ("[retry]\nmax_attempts = 0\n", ("retry.max_attempts",)),
            ("[sampling.extra]\nmodel = 'x'\n", ("sampling.extra", "'model'")),
            ("not toml", ("not valid TOML",)),
        ],
    )
    def test_that_is_wrong_is_named_with_its_key(
        self, smile: Smile, source: Path, text: str, words: tuple[str, ...]
    ) -> None:
        Path("smile.toml").write_text(text)
        ended = smile("generate", source, "run", "--model", "m")
        assert ended.code == 2
        for word in ("smile.toml", *words):
            assert word in ended.err


def _identity(run: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(run / "ledger.sqlite3")) as ledger:
        return dict(json.loads(ledger.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()[0]))


def test_a_number_that_cannot_be_is_named_with_what_it_must_be(smile: Smile, source: Path) -> None:
    ended = smile("generate", source, "run", "--model", "m", "--rpm", "0")
    assert ended.code == 2
    assert "requests_per_minute must be greater than 0, not 0" in ended.err
