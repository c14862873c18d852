"""Azure's addresses, and what it is asked there."""

import orjson
import pytest
from pydantic import SecretStr

from smile_async.errors import SettingsError
from smile_async.provider.azure import azure_headers, azure_url

AT = "https://r.openai.azure.com"
DATED = "2024-10-21"


@pytest.mark.parametrize(
    ("base_url", "version", "url"),
    [
        (AT, DATED, f"{AT}/openai/deployments/my%20dep/chat/completions?api-version={DATED}"),
        (f"{AT}/", DATED, f"{AT}/openai/deployments/my%20dep/chat/completions?api-version={DATED}"),
        (f"{AT}/openai", DATED, f"{AT}/openai/deployments/my%20dep/chat/completions?api-version={DATED}"),
        (f"{AT}/openai/deployments/d", DATED, f"{AT}/openai/deployments/d/chat/completions?api-version={DATED}"),
        (
            f"{AT}/openai/deployments/d/chat/completions?api-version=2025-01-01-preview",
            DATED,
            f"{AT}/openai/deployments/d/chat/completions?api-version=2025-01-01-preview",
        ),
        # the v1 interface: no version, or one without a date
        (AT, "", f"{AT}/openai/v1/chat/completions"),
        (AT, "v1", f"{AT}/openai/v1/chat/completions"),
        (f"{AT}/openai/v1/", "", f"{AT}/openai/v1/chat/completions"),
        (AT, "preview", f"{AT}/openai/v1/chat/completions?api-version=preview"),
        ("https://gateway.test/team", DATED, f"https://gateway.test/team/openai/deployments/my%20dep/chat/completions?api-version={DATED}"),
    ],
)  # fmt: skip
def test_addresses(base_url: str, version: str, url: str) -> None:
    assert azure_url(base_url, "my dep", version) == url


@pytest.mark.parametrize(
    ("base_url", "version", "told"),
    [
        (AT, "yesterday", "api_version 'yesterday' is none of Azure's"),
        (f"{AT}/openai/deployments/d", "", "needs an API version"),
        ("r.openai.azure.com", DATED, "no web address"),
    ],
)
def test_what_cannot_be_an_address_is_refused_at_once(base_url: str, version: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        azure_url(base_url, "d", version)


def test_the_key_is_in_azures_header() -> None:
    headers = azure_headers(SecretStr("k" * 32), {"X-Team": "corpus"})

    assert (headers["api-key"], headers["x-team"]) == ("k" * 32, "corpus")
    assert "authorization" not in headers
    assert orjson.dumps(headers)
