"""`smile batch`: the whole way from a source to its corpus through batches, alone and mixed with `smile resume`."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from smile_async.simulate.server import SimulatorServer
from tests.cli.conftest import KEY, ROWS, Ended, Serve, Smile, at
from tests.e2e.processes import in_ledger
from tests.e2e.questions import questions, write_jsonl

FAULTS = {"server-error": 0.1, "content-filter": 0.1, "broken-json": 0.05, "rate-limited": 0.05}
BREACHES = {"bad-start": 0.15}
QUICK = ("--wait", "--poll", "0.05")


def batches_of(server: SimulatorServer) -> list[dict[str, Any]]:
    """What the server would list, the oldest first."""
    return [server.office._told(batch) for batch in server.office._batches.values()]


def answered(server: SimulatorServer) -> list[int]:
    """How often each prompt was answered."""
    return [prompt["answered"] for prompt in server.stats["per_prompt"].values()]


def sums_agree(ended: Ended, server: SimulatorServer) -> None:
    """Each line that the server worked off, and each request, is an attempt; each completion a reply that was paid."""
    stats, told = server.stats, ended.told
    assert told["attempts"] == stats["requests"]
    assert told["replies"] == stats["served"]["completions"]
    assert told["tokens"] == {
        "prompt": stats["served"]["prompt_tokens"], "completion": stats["served"]["completion_tokens"],
    }  # fmt: skip
    rows = told["rows"]
    assert rows["accepted"] + rows["set_aside"] + rows["pending"] == rows["total"] == ROWS


def test_batch_after_batch_until_every_row_has_ended_and_the_sums_are_the_servers(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve(faults=FAULTS, breaches=BREACHES, seed=3)
    submitted = smile("batch", "submit", source, "run", *at(server), "--most-rows", "10", "--json")
    assert submitted.code == 0
    assert [batch["requests"] for batch in submitted.told["batches"]] == [10, 10, 4]
    assert submitted.told["in_batches"] == ROWS
    for _ in range(10):
        ended = smile("batch", "status", "run", *QUICK, "--json")
        sums_agree(ended, server)
        if ended.told["state"] == "done":
            break
        assert ended.code == 4
        assert ended.told["in_batches"] == 0
        assert smile("batch", "submit", "run").code == 0
    assert ended.code == 3
    assert set(ended.told["reasons"]) >= {"content-filter"}
    kept = [json.loads(line)["questionID"] for line in Path("run/corpus.jsonl").read_text("utf-8").splitlines()]
    wanted = [row["questionID"] for row in questions(ROWS)]
    assert len(kept) == ended.told["rows"]["accepted"]
    assert kept == [one for one in wanted if one in kept]  # in the source's order


def test_batches_and_requests_share_one_run_in_any_order_and_nothing_is_asked_twice(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve(quota_requests=7)
    assert smile("generate", source, "run", *at(server), "--concurrency", "1").code == 4  # the account is empty
    server.endpoint.settings = server.endpoint.settings.model_copy(update={"quota_requests": None})
    submitted = smile("batch", "submit", "run", "--json").told
    assert (submitted["rows"]["accepted"], submitted["in_batches"], submitted["rows"]["total"]) == (7, ROWS - 7, ROWS)
    asked = server.stats["requests"]
    resumed = smile("resume", "run")
    assert resumed.code == 4
    assert f"{ROWS - 7} rows wait in batch 1" in resumed.err
    assert "smile batch status run --wait" in resumed.err
    status = smile("status", "run", "--json").told
    assert (status["state"], status["reason"], status["in_batches"]) == ("stopped", "batch", ROWS - 7)
    assert smile("retry", "run").code == 4
    assert server.stats["requests"] in (asked, asked + ROWS - 7)  # only what the batch has done meanwhile
    collected = smile("batch", "collect", "run", "--json")
    assert collected.code == 0
    assert collected.told["collected"]["accepted"] == ROWS - 7
    assert answered(server) == [1] * ROWS
    assert smile("resume", "run").code == 0
    assert smile("batch", "collect", "run").code == 0
    assert answered(server) == [1] * ROWS


def test_what_broke_a_rule_in_a_batch_may_be_asked_at_once(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(breaches={"bad-start": 1.0}, fault_asks=1)
    smile("batch", "submit", source, "run", *at(server))
    collected = smile("batch", "collect", "run", "--json")
    assert collected.code == 4
    assert collected.told["collected"]["again"] == ROWS
    assert (collected.told["state"], collected.told["reason"]) == ("stopped", "collected")
    resumed = smile("resume", "run", "--json")
    assert resumed.code == 0
    assert resumed.told["replies"] == 2 * ROWS
    assert answered(server) == [2] * ROWS


def test_the_attempts_that_a_row_may_cost_count_over_batches(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(breaches={"bad-start": 1.0})
    smile("batch", "submit", source, "run", *at(server), "--max-attempts", "2")
    assert smile("batch", "collect", "run").code == 4
    smile("batch", "submit", "run")
    collected = smile("batch", "collect", "run", "--json")
    assert collected.code == 3
    assert collected.told["reasons"] == {"bad-start": ROWS}
    assert answered(server) == [2] * ROWS


def test_an_expired_batch_keeps_what_was_paid_for_and_the_rest_is_sent_again(
    smile: Smile, serve: Serve, source: Path
) -> None:
    """Of a batch that takes 2 seconds, half is done when it expires after 1."""
    server = serve(batches={"duration": 2.0, "window": 1.0})
    smile("batch", "submit", source, "run", *at(server), "--price-in", "1", "--price-out", "1")
    reserved = in_ledger(Path("run").absolute(), "SELECT total(ceiling_usd) FROM batched")[0][0]
    assert reserved > 0
    ended = smile("batch", "status", "run", *QUICK, "--json")
    assert ended.code == 4
    assert ended.told["batches"][0]["state"] == "expired"
    done = ended.told["rows"]["accepted"]
    assert 0 < done < ROWS
    assert ended.told["collected"]["not_run"] == ended.told["rows"]["pending"] == ROWS - done
    tokens = ended.told["tokens"]
    assert ended.told["spend_usd"] == pytest.approx((tokens["prompt"] + tokens["completion"]) / 1e6, abs=1e-6)
    assert ended.told["perhaps_usd"] == 0.0
    assert server.stats["requests"] == done
    server.office._settings = server.office._settings.model_copy(update={"duration": 0.0})
    smile("batch", "submit", "run")
    ended = smile("batch", "collect", "run", "--json")
    assert ended.code == 0
    assert answered(server) == [1] * ROWS
    assert ended.told["replies"] == ROWS == server.stats["served"]["completions"]


def test_a_cancelled_batch_keeps_what_was_done_by_then(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(batches={"duration": 3600.0})
    smile("batch", "submit", source, "run", *at(server))
    batch = next(iter(server.office._batches.values()))
    batch.made -= 1_800.0  # half the time is over
    assert smile("batch", "cancel", "run").code == 0
    ended = smile("batch", "collect", "run", "--json")
    assert ended.told["batches"][0]["state"] == "cancelled"
    assert (ended.told["rows"]["accepted"], ended.told["collected"]["not_run"]) == (ROWS // 2, ROWS // 2)
    assert smile("resume", "run").code == 0
    assert answered(server) == [1] * ROWS


def test_too_many_tokens_are_said_to_be_so_and_less_at_a_time_goes_through(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve(batches={"enqueued_tokens": 6_000, "duration": 0.5})
    smile("batch", "submit", source, "run", *at(server))
    ended = smile("batch", "collect", "run")
    assert ended.code == 4
    assert "token_limit_exceeded" in ended.out
    assert "--enqueued" in ended.err
    status = smile("status", "run", "--json").told
    assert (status["failures"], status["rows"]["pending"], status["in_batches"]) == ({"batch-failed": ROWS}, ROWS, 0)
    for _ in range(ROWS):
        submitted = smile("batch", "submit", "run", "--enqueued", "6000", "--json")
        assert 0 < submitted.told["in_batches"] < ROWS
        ended = smile("batch", "status", "run", *QUICK, "--json")
        assert ended.told["batches"][-1]["state"] == "completed"
        if ended.code == 0:
            break
        assert submitted.told["stopped_by"] == "tokens"
    assert answered(server) == [1] * ROWS


def test_the_budget_holds_over_batches_and_batch_prices_are_not_the_runs(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve()
    prices = ("--price-in", "10", "--price-out", "10")
    ended = smile("batch", "submit", source, "run", *at(server), *prices, "--budget", "0.5", "--json")
    assert ended.told["stopped_by"] == "budget"
    first = ended.told["in_batches"]
    assert 0 < first < ROWS
    assert in_ledger(Path("run").absolute(), "SELECT total(ceiling_usd) FROM batched")[0][0] <= 0.5
    ended = smile("batch", "collect", "run", "--json")
    assert 0 < ended.told["spend_usd"] <= 0.5
    refused = smile("resume", "run")  # whose price is not known: half as much would be wrong
    assert refused.code == 2
    assert "A budget needs prices" in refused.err
    ended = smile("batch", "submit", "run", "--budget", "5", "--json")  # at the batch's prices, which are known
    assert ended.told["stopped_by"] == ""
    ended = smile("batch", "collect", "run", "--json")
    assert ended.code == 0
    tokens = ended.told["tokens"]
    assert ended.told["spend_usd"] == pytest.approx((tokens["prompt"] + tokens["completion"]) * 10 / 1e6, abs=1e-5)


def test_a_batch_that_no_request_of_which_is_right_sets_no_row_aside(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(faults={"content-filter": 1.0})
    smile("batch", "submit", source, "run", *at(server))
    ended = smile("batch", "collect", "run", "--json")
    assert ended.code == 4
    assert (ended.told["stopped_by"], ended.told["rows"]["pending"]) == ("content-filter", ROWS)


def test_a_failed_validation_tells_the_servers_reason_and_frees_the_rows(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve(batches={"most_requests": 10})
    smile("batch", "submit", source, "run", *at(server))
    ended = smile("batch", "collect", "run")
    assert "At most 10 requests a batch" in ended.err
    smile("batch", "submit", "run", "--most-rows", "10")
    assert smile("batch", "collect", "run").code == 0
    assert answered(server) == [1] * ROWS


def test_status_tells_of_states_counts_age_and_time_left(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(batches={"duration": 3600.0})
    smile("batch", "submit", source, "run", *at(server))
    next(iter(server.office._batches.values())).made -= 1_800.0
    shown = smile("batch", "status", "run")
    assert shown.code == 0
    assert f"in_progress, {ROWS // 2} of {ROWS} done; {ROWS} rows wait" in shown.out
    [batch] = smile("batch", "status", "run", "--json").told["batches"]
    assert (batch["state"], batch["id"], batch["waiting"], batch["completed"]) == (
        "in_progress", "batch_1", ROWS, ROWS // 2,
    )  # fmt: skip
    assert 86_000 < batch["seconds_left"] <= 86_400


def test_a_corpus_that_a_crash_left_unwritten_is_written_by_the_next_collect(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve()
    smile("batch", "submit", source, "run", *at(server))
    smile("batch", "collect", "run")
    Path("run/corpus.jsonl").unlink()
    assert smile("batch", "collect", "run").code == 0
    assert len(Path("run/corpus.jsonl").read_text("utf-8").splitlines()) == ROWS


def test_nothing_is_left_lying_about_and_nothing_told_of_anybody(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(faults={"server-error": 0.3})
    told = [smile("batch", "submit", source, "run", *at(server)), smile("batch", "status", "run")]
    told += [smile("batch", "collect", "run"), smile("batch", "submit", "run"), smile("batch", "cancel", "run")]
    shown = "".join(one.out + one.err for one in told)
    for row in questions(ROWS):
        assert row["question"][:8] not in shown
    assert KEY not in shown
    assert not list(Path("run").glob("*batch*"))
    assert all(file.stat().st_mode & 0o077 == 0 for file in Path("run").iterdir())
    metadata = batches_of(server)[0]["metadata"]
    assert set(metadata) == {"smile_run", "smile_batch"}
    assert "run" not in metadata.values()


def test_the_servers_copies_are_deleted_on_demand_and_only_when_they_are_home(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve(batches={"duration": 3600.0}, faults={"server-error": 0.3})
    smile("batch", "submit", source, "run", *at(server), "--most-rows", "12")
    one, _ = server.office._batches.values()
    one.made -= 7_200.0
    smile("batch", "collect", "run", "--delete-files")
    assert [batch["status"] for batch in batches_of(server)] == ["completed", "in_progress"]
    assert list(server.office._files) == ["file-2"]  # the other's requests
    smile("batch", "collect", "run", "--delete-files")  # again, while it still runs
    assert list(server.office._files) == ["file-2"]


# Elsewhere ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("submit", "{source}", "run", "--provider", "anthropic", "--model", "m"), ("Message Batches", "smile generate")),
        (("submit", "{source}", "run", "--provider", "local"), ("no batches",)),
        (("submit", "{source}", "run", "--model", "m", "--provider", "azure", "--api-version", "2024-10-21", "--base-url", "http://x", "--api-key-env", ""), ("v1 interface",)),
        (("submit", "a", "b", "c", "--model", "m"), ("[SOURCE] RUN",)),
        (("submit", "absent"), ("absent is not a run",)),
        (("status", "absent"), ("absent is not a run",)),
        (("collect", "absent"), ("absent is not a run",)),
        (("cancel", "absent"), ("absent is not a run",)),
        (("import", "absent", "x"), ("no such file",)),
        (("export", "absent", "out.jsonl"), ("absent is not a run",)),
        (("submit", "{source}", "run"), ("No model is named",)),
    ],
)  # fmt: skip
def test_a_usage_error_is_2_and_leaves_no_run(
    smile: Smile, source: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ended = smile("batch", *(part.format(source=source) for part in arguments))
    assert ended.code == 2, ended.err
    for word in words:
        assert word in ended.err
    assert not Path("run").exists()
    assert not Path("absent").exists()


def test_another_source_is_not_handed_over_with_a_run_unless_that_is_meant(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server, other = serve(), source.with_name("other.jsonl")
    write_jsonl(other, questions(2 * ROWS)[ROWS:])
    smile("batch", "submit", source, "run", *at(server))

    refused = smile("batch", "submit", other, "run", *at(server))
    added = smile("batch", "submit", other, "run", *at(server), "--add", "--json")

    assert (refused.code, "none is among its 24" in refused.err) == (2, True)
    assert (added.code, added.told["in_batches"]) == (0, 2 * ROWS)


def test_a_run_without_batches_says_so(smile: Smile, serve: Serve, source: Path) -> None:
    smile("generate", source, "run", *at(serve()))
    for command in ("status", "collect", "cancel"):
        ended = smile("batch", command, "run")
        assert ended.code == 2
        assert "has no batches" in ended.err


def test_a_wrong_key_or_no_batch_api_frees_the_rows_at_once(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(api_key="another")
    ended = smile("batch", "submit", source, "run", *at(server))
    assert ended.code == 4
    assert "check the key" in ended.err
    status = smile("status", "run", "--json").told
    assert (status["in_batches"], status["rows"]["pending"], status["attempts"]) == (0, ROWS, 0)
    assert not list(Path("run").glob("*batch*"))


def test_a_batch_is_asked_for_only_where_it_was_made(smile: Smile, serve: Serve, source: Path) -> None:
    first, second = serve(), serve()
    smile("batch", "submit", source, "run", *at(first))
    smile("resume", "run", "--base-url", second.base_url)
    ended = smile("batch", "collect", "run")
    assert ended.code == 2
    assert first.base_url in ended.err
    assert smile("batch", "collect", "run", "--base-url", first.base_url).code == 0
    assert second.stats["requests"] == 0


def test_of_several_endpoints_the_first_has_the_batches_and_all_stay_the_runs(
    smile: Smile, serve: Serve, source: Path
) -> None:
    first, second = serve(breaches={"bad-start": 1.0}, fault_asks=1), serve()
    Path("smile.toml").write_text(
        "".join(
            f'[[endpoint]]\nname = "{name}"\nbase_url = "{one.base_url}"\nmodel = "m"\n'
            for name, one in (("a", first), ("b", second))
        )
    )
    assert smile("batch", "submit", source, "run").code == 0
    Path("smile.toml").unlink()
    assert smile("batch", "collect", "run", "--json").told["collected"]["again"] == ROWS
    assert second.stats["requests"] == 0
    assert smile("resume", "run").code == 0
    assert second.stats["requests"] > 0


def test_a_batch_that_the_server_has_forgotten_can_be_given_up(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve()
    smile("batch", "submit", source, "run", *at(server), "--price-in", "1", "--price-out", "1")
    server.office._batches.clear()
    ended = smile("batch", "collect", "run")
    assert ended.code == 4
    assert "knows no such batch" in ended.err
    ended = smile("batch", "cancel", "run")
    assert ended.code == 4
    assert "--forget" in ended.err
    assert smile("batch", "cancel", "run", "--forget").code == 0
    status = smile("status", "run", "--json").told
    assert (status["in_batches"], status["perhaps_billed"]) == (0, ROWS)
    assert status["perhaps_usd"] > 0
    assert smile("resume", "run").code == 0


def test_results_that_the_server_has_deleted_can_be_given_up(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve()
    smile("batch", "submit", source, "run", *at(server))
    smile("batch", "status", "run")
    server.office._files.clear()
    assert smile("batch", "collect", "run").code == 4
    assert smile("batch", "cancel", "run").code == 0
    assert smile("status", "run", "--json").told["in_batches"] == ROWS
    assert smile("batch", "cancel", "run", "--forget").code == 0
    told = smile("status", "run", "--json").told
    assert (told["in_batches"], told["perhaps_billed"], told["reason"]) == (0, ROWS, "collected")


def test_giving_up_takes_what_can_still_be_had(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve()
    smile("batch", "submit", source, "run", *at(server))
    assert smile("batch", "cancel", "run", "--forget", "--json").told["collected"]["accepted"] == ROWS
    assert answered(server) == [1] * ROWS


def test_giving_up_keeps_the_half_of_the_results_that_came(smile: Smile, serve: Serve, source: Path) -> None:
    """The file of errors is gone at the server: those rows are unknown, the others' answers were paid for and are kept."""
    server = serve(faults={"content-filter": 0.5})
    smile("batch", "submit", source, "run", *at(server))
    smile("batch", "status", "run")
    [batch] = server.office._batches.values()
    assert batch.error_file is not None
    del server.office._files[batch.error_file]
    collected = smile("batch", "cancel", "run", "--forget", "--json").told["collected"]
    assert 0 < collected["accepted"] == sum(answered(server)) < ROWS
    assert collected["not_run"] == ROWS - collected["accepted"]
    assert not list(Path("run").glob("*batch-*"))


@pytest.mark.parametrize("where", ["azure", "zhipu"])
def test_other_addresses_of_the_same_interface(
    smile: Smile, serve: Serve, source: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    server = serve(api_key=KEY)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    root = server.base_url.removesuffix("/v1")
    flags = {"azure": ("--provider", "azure", "--base-url", root), "zhipu": ("--base-url", f"{root}/api/paas/v4")}[
        where
    ]
    submitted = smile("batch", "submit", source, "run", *flags, "--model", "m")
    assert submitted.code == 0, submitted.err
    assert smile("batch", "collect", "run").code == 0
    assert batches_of(server)[0]["endpoint"] == {"azure": "/v1", "zhipu": "/v4"}[where] + "/chat/completions"


# Offline --------------------------------------------------------------------------------------------------------------

WORKER = '''
"""Does line by line what `vllm run-batch -i IN -o OUT` does: answers, or an error in vLLM's shape."""
import json, sys
from pathlib import Path

_, requests, results, dialogue, failing = sys.argv
text = Path(dialogue).read_text("utf-8")
with open(requests, encoding="utf-8") as source, open(results, "w", encoding="utf-8") as out:
    for number, line in enumerate(source):
        asked = json.loads(line)
        assert asked["method"] == "POST" and asked["url"] == "/v1/chat/completions", asked
        assert asked["body"]["model"] == "Qwen/Qwen3-32B" and asked["body"]["messages"]
        told = {"id": f"vllm-{number}", "custom_id": asked["custom_id"]}
        if failing != "0" and number % int(failing) == 0:
            response, error = {"status_code": 400, "request_id": "r", "body": None}, "maximum context length is 10"
        else:
            message = {"role": "assistant", "content": text, "reasoning_content": None, "tool_calls": []}
            body = {
                "id": f"chatcmpl-{number}", "object": "chat.completion", "created": 0, "model": asked["body"]["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop", "stop_reason": None}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300},
            }
            response, error = {"status_code": 200, "request_id": "r", "body": body}, None
        out.write(json.dumps(told | {"response": response, "error": error}) + "\\n")
'''
DIALOGUE = "".join(
    f"求助者：“这是我第{turn}次想到这件事。”\n支持者：“我听见你第{turn}次提起它，谢谢你愿意说出来。”\n"
    for turn in "一二三四五六七"
)


@pytest.fixture
def work(tmp_path: Path) -> Callable[..., Path]:
    """Has the worker, a process of its own, answer a file of requests."""
    (tmp_path / "worker.py").write_text(WORKER, "utf-8")
    (tmp_path / "dialogue.txt").write_text(DIALOGUE, "utf-8")

    def run(requests: str, results: str = "results.jsonl", *, failing: int = 0) -> Path:
        command = [sys.executable, "worker.py", requests, results, "dialogue.txt", str(failing)]
        subprocess.run(command, check=True, cwd=tmp_path)
        return Path(results)

    return run


def test_vllm_run_batch_does_the_work_and_its_failures_are_understood(
    smile: Smile, source: Path, work: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")  # nobody is asked
    model = ("--model", "Qwen/Qwen3-32B")
    exported = smile("batch", "export", source, "run", "requests.jsonl", *model)
    assert exported.code == 0, exported.err
    assert "smile batch import run RESULTS.jsonl" in exported.out
    status = smile("status", "run")
    assert "smile batch import run RESULTS.jsonl" in status.out
    assert smile("status", "run", "--json").told["reason"] == "exported"
    assert Path("requests.jsonl").stat().st_mode & 0o777 == 0o600
    assert len(Path("requests.jsonl").read_text("utf-8").splitlines()) == ROWS
    imported = smile("batch", "import", "run", work("requests.jsonl", failing=6), "--json")
    assert imported.code == 3, imported.err
    assert imported.told["rows"]["accepted"] == ROWS - ROWS // 6
    assert imported.told["reasons"] == {"bad-request": ROWS // 6}
    assert imported.told["tokens"] == {"prompt": 100 * (ROWS - ROWS // 6), "completion": 200 * (ROWS - ROWS // 6)}
    assert len(Path("run/corpus.jsonl").read_text("utf-8").splitlines()) == ROWS - ROWS // 6
    again = smile("batch", "import", "run", "results.jsonl", "--json")
    assert again.told["collected"]["strange"] == ROWS
    assert again.told["replies"] == ROWS - ROWS // 6


def test_a_part_of_the_results_will_do_and_the_rest_may_come_later(
    smile: Smile, serve: Serve, source: Path, work: Callable[..., Path]
) -> None:
    server = serve()
    smile("batch", "export", source, "run", "requests.jsonl", "--model", "Qwen/Qwen3-32B", "--most-rows", "20")
    lines = work("requests.jsonl").read_bytes().splitlines(keepends=True)
    Path("part.jsonl").write_bytes(b"".join(lines[:8]) + lines[8][:40])  # torn in the ninth line
    part = smile("batch", "import", "run", "part.jsonl", "--json").told
    assert (part["rows"]["accepted"], part["in_batches"]) == (8, 12)
    assert (part["collected"]["strange"], part["collected"]["torn"]) == (0, 1)
    assert "the last line was cut off" in smile("batch", "import", "run", "part.jsonl").out
    # The rows that were not exported are asked at a server meanwhile, those that wait are not.
    resumed = smile("resume", "run", "--base-url", server.base_url)
    assert "12 rows wait in batch 1" in resumed.err
    assert server.stats["requests"] == ROWS - 20
    rest = smile("batch", "import", "run", "results.jsonl", "--json")
    assert rest.code == 0
    assert rest.told["rows"]["accepted"] == ROWS


def test_exported_rows_can_be_taken_back(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve()
    smile("batch", "export", source, "run", "requests.jsonl", *at(server))
    assert smile("batch", "export", "run", "other.jsonl").code == 2
    assert not Path("other.jsonl").exists()
    assert smile("batch", "cancel", "run").code == 0
    assert smile("resume", "run").code == 0
    assert answered(server) == [1] * ROWS


def test_a_file_of_another_run_is_refused(smile: Smile, source: Path, work: Callable[..., Path]) -> None:
    model = ("--model", "Qwen/Qwen3-32B")
    smile("batch", "export", source, "one", "requests.jsonl", *model)
    smile("batch", "export", source, "two", "others.jsonl", *model)
    ended = smile("batch", "import", "two", work("requests.jsonl"))
    assert ended.code == 2
    assert "holds no result" in ended.err
    assert smile("status", "two", "--json").told["in_batches"] == ROWS


def test_an_export_does_not_write_over_a_file_and_leaves_the_run_as_it_was(smile: Smile, source: Path) -> None:
    Path("requests.jsonl").write_text("precious")
    assert smile("batch", "export", source, "run", "requests.jsonl", "--model", "m").code == 2
    assert Path("requests.jsonl").read_text() == "precious"
    assert not Path("run").exists()
    smile("batch", "export", source, "run", "other.jsonl", "--model", "m")
    before = smile("status", "run", "--json").told
    assert smile("batch", "export", source, "run", "other.jsonl", "--model", "m").code == 2
    assert smile("status", "run", "--json").told == before
