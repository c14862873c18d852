"""`smile generate` against Anthropic's Messages and Azure's deployments, from the command line to the corpus."""

from pathlib import Path
from typing import Any

import pytest

from smile_async.simulate.server import SimulatorServer
from tests.cli.conftest import ROWS, Serve, Smile

CLAUDE, AZURE = "sk-ant-31415926535897932384", "0123456789abcdef0123456789abcdef"


def claude(server: SimulatorServer) -> tuple[str, ...]:
    return "--provider", "anthropic", "--base-url", server.base_url, "--model", "claude-x"


def azure(server: SimulatorServer, *more: str) -> tuple[str, ...]:
    return "--provider", "azure", "--base-url", server.base_url.removesuffix("/v1"), "--model", "gpt-x", *more


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch, smile: Smile) -> None:
    """After those that `smile` takes away."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", CLAUDE)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", AZURE)


def corpus(run: Path) -> bytes:
    return (run / "corpus.jsonl").read_bytes()


def test_anthropic_writes_the_same_corpus_as_chat_completions(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(api_key=CLAUDE, seed=3)
    ended = smile("generate", source, "run", *claude(server), "--json")

    assert ended.code == 0, ended.err
    assert ended.told["rows"]["accepted"] == ROWS
    served = server.stats["served"]
    assert ended.told["tokens"] == {"prompt": served["prompt_tokens"], "completion": served["completion_tokens"]}
    openai = serve(seed=3).base_url
    assert smile("generate", source, "other", "--base-url", openai, "--model", "claude-x").code == 0
    assert corpus(Path("run")) == corpus(Path("other"))


def test_anthropics_address_comes_from_its_own_variable(
    smile: Smile, serve: Serve, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(api_key=CLAUDE)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url.removesuffix("/v1"))

    assert smile("generate", source, "run", "--provider", "anthropic", "--model", "claude-x").code == 0
    assert server.stats["by_status"] == {"200": ROWS}


def test_the_recipes_sampling_is_taken_by_models_that_refuse_both(smile: Smile, serve: Serve, source: Path) -> None:
    """The simulated endpoint refuses temperature beside top_p, as newer models do; the recipe says 1 of both."""
    server = serve()

    assert smile("generate", source, "run", *claude(server), "--temperature", "0.5").code == 0
    assert server.stats["by_status"] == {"200": ROWS}


def test_faults_of_anthropics_end_in_the_same_outcomes(smile: Smile, serve: Serve, source: Path) -> None:
    faults = {
        "rate-limited": 0.1,
        "server-error": 0.1,
        "unavailable": 0.1,
        "truncated": 0.1,
        "cut-body": 0.05,
        "empty-choices": 0.05,
        "content-filter": 0.2,
        "filtered-answer": 0.2,
    }
    server = serve(faults=faults, fault_asks=1, fault_retry_after=0.01, seed=11)
    ended = smile("generate", source, "run", *claude(server), "--config", _impatient(Path("smile.toml")), "--json")

    told, stats = ended.told, server.stats
    assert told["rows"]["pending"] == 0
    assert told["reasons"].keys() == {"content-filter"}
    sticky = stats["by_fault"]["content-filter"] + stats["by_fault"]["filtered-answer"]
    assert told["reasons"]["content-filter"] == sticky
    assert told["rows"]["accepted"] == ROWS - sticky
    assert "529" in stats["by_status"]
    assert stats["by_fault"].keys() >= {"rate-limited", "server-error", "truncated"}


def _impatient(path: Path) -> Path:
    path.write_text("[retry]\nfirst_wait = 0.01\nmax_wait = 0.02\n")
    return path


def test_limits_of_prompt_and_answer_apart_are_kept_by_the_server(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(limits={"input_tokens": 10**7, "output_tokens": 10**6, "requests": 10**4})

    assert smile("generate", source, "run", *claude(server)).code == 0
    stats = server.stats
    assert stats["limits"]["input_tokens"]["peak"] == stats["served"]["prompt_tokens"]
    assert stats["limits"]["output_tokens"]["peak"] == stats["served"]["completion_tokens"]


@pytest.mark.parametrize("version", [("--api-version", "2024-10-21"), ()], ids=["dated", "v1"])
@pytest.mark.parametrize("deployment", [("--deployment", "east"), ()], ids=["deployment", "model"])
def test_azure_is_asked_at_its_deployment(
    smile: Smile, serve: Serve, source: Path, version: tuple[str, ...], deployment: tuple[str, ...]
) -> None:
    server = serve(api_key=AZURE, models=[deployment[-1] if deployment else "gpt-x"])
    ended = smile("generate", source, "run", *azure(server, *version, *deployment), "--json")

    assert ended.code == 0, ended.err
    assert ended.told["rows"]["accepted"] == ROWS


def test_azures_version_and_address_come_from_its_own_variables(
    smile: Smile, serve: Serve, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(api_key=AZURE)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.base_url.removesuffix("/v1"))
    monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")

    assert smile("generate", source, "run", "--provider", "azure", "--model", "gpt-x").code == 0
    assert server.stats["by_status"] == {"200": ROWS}


def test_a_run_goes_on_at_another_deployment_of_its_model(smile: Smile, serve: Serve, source: Path) -> None:
    """The deployment is only the way there; the corpus is the model's."""
    server = serve(quota_requests=ROWS // 2)
    stopped = smile("generate", source, "run", *azure(server, "--deployment", "east"), "--json")
    assert stopped.told["reason"] == "quota-exhausted"
    other = serve()

    ended = smile("resume", "run", "--base-url", other.base_url.removesuffix("/v1"), "--deployment", "west", "--json")

    assert ended.code == 0, ended.err
    assert ended.told["rows"]["accepted"] == ROWS


@pytest.mark.parametrize(
    ("settings", "where", "reason", "told"),
    [
        ({"api_key": "another"}, "anthropic", "auth", "ANTHROPIC_API_KEY"),
        ({"api_key": "another"}, "azure", "auth", "AZURE_OPENAI_API_KEY"),
        ({"models": ["other"]}, "anthropic", "unknown-model", "model: claude-x"),
        ({"models": ["other"]}, "azure", "unknown-model", "no deployment of that name"),
        ({"quota_requests": 0}, "anthropic", "quota-exhausted", "Plans & Billing"),
    ],
)
def test_what_no_row_can_escape_costs_one_request_and_says_what_to_do(
    smile: Smile, serve: Serve, source: Path, settings: dict[str, Any], where: str, reason: str, told: str
) -> None:
    server = serve(**settings)
    way = claude(server) if where == "anthropic" else azure(server, "--api-version", "2024-10-21")
    ended = smile("generate", source, "run", *way, "--json")

    assert ended.code == 4
    assert ended.told["reason"] == reason
    assert ended.told["rows"]["set_aside"] == 0
    assert server.stats["requests"] == 1
    assert told in ended.err
    assert CLAUDE not in ended.err
    assert AZURE not in ended.err


def test_a_temperature_that_anthropic_does_not_have_is_refused_before_the_run_begins(
    smile: Smile, serve: Serve, source: Path
) -> None:
    server = serve()
    ended = smile("generate", source, "run", *claude(server), "--temperature", "1.5")

    assert ended.code == 2
    assert "Anthropic's go from 0 to 1" in ended.err
    assert server.stats["requests"] == 0


def test_azure_set_in_a_file_filters_with_its_category(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(faults={"content-filter": 0.5, "filtered-answer": 0.5})
    Path("smile.toml").write_text(
        "[endpoint]\n"
        'provider = "azure"\n'
        f'base_url = "{server.base_url.removesuffix("/v1")}"\n'
        'model = "gpt-x"\n'
        'deployment = "east"\n'
        'api_version = "2024-10-21"\n'
        'max_tokens_field = "max_completion_tokens"\n'
        "fixed_sampling = true\n"
    )
    ended = smile("generate", source, "run", "--json")

    assert ended.told["reasons"] == {"content-filter": ROWS}
    aside = Path("run", "set-aside.jsonl").read_text("utf-8").splitlines()
    assert all("self_harm (medium)" in line for line in aside)
