"""From an endpoint in the settings to what is asked where, with which key."""

from typing import Any

import orjson
import pytest

from smile_async.answering import provider_for
from smile_async.errors import SettingsError
from smile_async.options import Options
from smile_async.provider.dialects import dialect_for
from smile_async.settings import Endpoint, Sampling
from tests.provider.asking import ASK

PAPER = Sampling(temperature=1.0, top_p=1.0)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "BASE_URL", "API_BASE", "ENDPOINT", "API_VERSION"):
        for who in ("OPENAI", "AZURE_OPENAI", "ANTHROPIC"):
            monkeypatch.delenv(f"{who}_{name}", raising=False)


def body_of(endpoint: Endpoint, sampling: Sampling = PAPER) -> dict[str, Any]:
    return dict(orjson.loads(dialect_for(endpoint, sampling).body(ASK)))


@pytest.mark.parametrize(
    ("settings", "environment", "url", "key"),
    [
        (
            {},
            {"OPENAI_API_KEY": "k"},
            "https://api.openai.com/v1/chat/completions",
            ("authorization", "Bearer k"),
        ),
        (
            {},
            {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://h:1/v1", "ANTHROPIC_API_KEY": "other"},
            "http://h:1/v1/chat/completions",
            ("authorization", "Bearer k"),
        ),
        (
            {"provider": "anthropic"},
            {"ANTHROPIC_API_KEY": "k", "OPENAI_API_KEY": "other", "OPENAI_BASE_URL": "http://h:1/v1"},
            "https://api.anthropic.com/v1/messages",
            ("x-api-key", "k"),
        ),
        (
            {"provider": "anthropic"},
            {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://h:1"},
            "http://h:1/v1/messages",
            ("x-api-key", "k"),
        ),
        (
            {"provider": "azure"},
            {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://r.test"},
            "https://r.test/openai/v1/chat/completions",
            ("api-key", "k"),
        ),
        (
            {"provider": "azure", "deployment": "d"},
            {
                "AZURE_OPENAI_API_KEY": "k",
                "AZURE_OPENAI_ENDPOINT": "https://r.test",
                "OPENAI_API_VERSION": "2024-10-21",
            },
            "https://r.test/openai/deployments/d/chat/completions?api-version=2024-10-21",
            ("api-key", "k"),
        ),
        (
            {
                "provider": "azure",
                "base_url": "https://r.test",
                "api_version": "2025-04-01-preview",
                "api_key_env": "MINE",
            },
            {"MINE": "k", "AZURE_OPENAI_API_KEY": "other", "OPENAI_API_VERSION": "2024-10-21"},
            "https://r.test/openai/deployments/m/chat/completions?api-version=2025-04-01-preview",
            ("api-key", "k"),
        ),
    ],
)
def test_address_and_key_come_from_the_settings_else_from_the_providers_own_variables(
    settings: dict[str, Any],
    environment: dict[str, str],
    url: str,
    key: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    dialect = dialect_for(Endpoint(model="m", **settings), PAPER)

    assert dialect.url == url
    assert dialect.headers[key[0]] == key[1]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "OPENAI_API_KEY is not set, and https://api.openai.com/v1 needs a key"),
        ({"provider": "anthropic"}, "ANTHROPIC_API_KEY is not set, and https://api.anthropic.com needs a key"),
        ({"provider": "azure", "base_url": "https://r.test"}, "AZURE_OPENAI_API_KEY is not set, and Azure needs a key"),
        ({"provider": "azure", "api_key_env": ""}, "Azure has no address of its own"),
        ({"api_key_env": "NOT_THERE"}, "NOT_THERE is not set"),
        ({"base_url": "http://h", "deployment": "d"}, "deployment is Azure's"),
        ({"base_url": "http://h", "api_version": "2024-10-21"}, "api_version is Azure's or Anthropic's"),
        ({"provider": "anthropic", "base_url": "http://h", "fixed_sampling": True}, "are of OpenAI's interface"),
    ],
)
def test_what_is_missing_or_misplaced_is_said(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        dialect_for(Endpoint(model="m", **settings), PAPER)

    assert told in str(caught.value)
    assert caught.value.hint


def test_on_azure_the_deployment_is_asked_and_the_model_is_meant() -> None:
    """Two deployments of one model answer one run."""
    one, two = (
        Endpoint(provider="azure", base_url="https://r.test", model="gpt-x", deployment=name, api_key_env="")
        for name in ("east", "west")
    )

    assert [body_of(one)["model"], body_of(two)["model"]] == ["east", "west"]
    assert dialect_for(one, PAPER).identity == dialect_for(two, PAPER).identity
    assert dialect_for(one, PAPER).identity == {"model": "gpt-x", "temperature": 1.0, "top_p": 1.0}


def test_a_reasoning_model_is_told_its_ceiling_by_its_own_name_and_no_sampling() -> None:
    endpoint = Endpoint(base_url="http://h", model="o9", max_tokens_field="max_completion_tokens", fixed_sampling=True)
    chosen = PAPER.model_copy(update={"max_tokens": 9_000, "extra": {"reasoning_effort": "low"}})

    body = body_of(endpoint, chosen)

    assert body.keys() == {"model", "max_completion_tokens", "reasoning_effort", "messages"}
    assert body["max_completion_tokens"] == 9_000
    assert dialect_for(endpoint, PAPER).identity == {"model": "o9", "temperature": 1.0, "top_p": 1.0}


def test_a_temperature_that_would_not_be_sent_is_refused() -> None:
    endpoint = Endpoint(base_url="http://h", model="o9", fixed_sampling=True)

    with pytest.raises(SettingsError, match=r"temperature is 0\.4, and a model with fixed_sampling"):
        dialect_for(endpoint, Sampling(temperature=0.4))


def test_a_provider_is_built_without_opening_anything() -> None:
    endpoint = Endpoint(provider="anthropic", base_url="http://127.0.0.1:9", model="claude-x", api_key_env="")

    provider = provider_for(endpoint, PAPER, Options())

    assert repr(provider) == "<ServerProvider claude-x at 127.0.0.1:9>"
    assert provider.identity == {"model": "claude-x", "temperature": 1.0, "top_p": 1.0}
