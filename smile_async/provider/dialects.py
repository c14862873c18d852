"""From an endpoint in the settings to its dialect: which address, which key, which interface."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from smile_async.errors import SettingsError
from smile_async.provider.anthropic import AnthropicDialect
from smile_async.provider.azure import azure_headers, azure_url
from smile_async.provider.chat import ENDPOINT as CHAT
from smile_async.provider.chat import ChatDialect, bearer_headers, chat_url
from smile_async.provider.dialect import Dialect
from smile_async.provider.embeddings import ENDPOINT as EMBEDDINGS
from smile_async.provider.embeddings import EmbeddingDialect, Encoding
from smile_async.settings import ANTHROPIC, OPENAI, OPENAI_KEY, Endpoint, Sampling


@dataclass(frozen=True, slots=True)
class Home:
    """Where a provider is found when the endpoint does not say: an address of its own, variables that name others."""

    name: str
    base_url: str | None
    base_url_envs: tuple[str, ...]
    key_env: str


_HOMES = {
    "openai": Home("OpenAI", OPENAI, ("OPENAI_BASE_URL", "OPENAI_API_BASE"), OPENAI_KEY),
    "azure": Home("Azure", None, ("AZURE_OPENAI_ENDPOINT",), "AZURE_OPENAI_API_KEY"),
    "anthropic": Home("Anthropic", ANTHROPIC, ("ANTHROPIC_BASE_URL",), "ANTHROPIC_API_KEY"),
}


def dialect_for(endpoint: Endpoint, sampling: Sampling) -> Dialect:
    """The endpoint's dialect, with its key out of the environment. Raises `SettingsError` for what cannot work."""
    if not endpoint.model:
        raise SettingsError(
            "No model is named.", hint="--model NAME, or [endpoint] in smile.toml (Endpoint(model=...) from Python)."
        )
    _check_belongings(endpoint)
    key = key_of(endpoint)
    headers = {name: value.get_secret_value() for name, value in endpoint.headers.items()}
    if endpoint.provider == "anthropic":
        return AnthropicDialect(
            base_url=base_url_of(endpoint),
            model=endpoint.model,
            api_key=key,
            headers=headers,
            sampling=sampling,
            api_version=endpoint.api_version or "",
        )
    azure = endpoint.provider == "azure"
    return ChatDialect(
        url=_azure_url(endpoint) if azure else chat_url(base_url_of(endpoint)),
        headers=(azure_headers if azure else bearer_headers)(key, headers),
        model=endpoint.model,
        asked_as=endpoint.deployment or endpoint.asked_as or "",
        sampling=sampling,
        max_tokens_field=endpoint.max_tokens_field,
        fixed_sampling=endpoint.fixed_sampling,
    )


def embedding_dialect_for(
    endpoint: Endpoint, sampling: Sampling, *, encoding: Encoding = "base64", dimensions: int | None = None
) -> Dialect:
    """As `dialect_for`, for embeddings. Of the sampling only `extra` is sent: vectors are not drawn."""
    if not endpoint.model:
        raise SettingsError("No model is named.", hint="--model text-embedding-3-small, or --provider local.")
    if endpoint.provider == "anthropic":
        raise SettingsError("Anthropic has no embeddings.", hint="Name another server, or --provider local.")
    _check_belongings(endpoint)
    key = key_of(endpoint)
    headers = {name: value.get_secret_value() for name, value in endpoint.headers.items()}
    azure = endpoint.provider == "azure"
    return EmbeddingDialect(
        url=_azure_url(endpoint, EMBEDDINGS) if azure else chat_url(base_url_of(endpoint), EMBEDDINGS),
        headers=(azure_headers if azure else bearer_headers)(key, headers),
        model=endpoint.model,
        asked_as=endpoint.deployment or endpoint.asked_as or "",
        encoding=encoding,
        dimensions=dimensions,
        extra=sampling.extra,
    )


def base_url_of(endpoint: Endpoint) -> str:
    """The endpoint's own address, else the environment's, else its provider's. Raises `SettingsError`."""
    home = _HOMES[endpoint.provider]
    found = endpoint.base_url or _first(os.environ, home.base_url_envs) or home.base_url
    if not found:
        raise SettingsError(
            f"{home.name} has no address of its own.",
            hint=f"--base-url https://NAME.openai.azure.com, or export {home.base_url_envs[0]}=...",
        )
    return found


def key_of(endpoint: Endpoint) -> SecretStr | None:
    """The key from the environment. None for a server that needs none; the providers' own need one."""
    home = _HOMES[endpoint.provider]
    variable = home.key_env if endpoint.api_key_env is None else endpoint.api_key_env
    key = os.environ.get(variable) if variable else None
    if key:
        return SecretStr(key)
    if variable not in ("", home.key_env):
        named = variable if variable.isupper() else "The variable that api_key_env names"
        raise SettingsError(
            f"{named} is not set.", hint="api_key_env is the name of an environment variable, not a key."
        )
    needed = bool(variable) if home.base_url is None else base_url_of(endpoint) == home.base_url
    if needed and not endpoint.headers:
        raise SettingsError(
            f"{home.key_env} is not set, and {home.base_url or home.name} needs a key.",
            hint=f"export {home.key_env}=..., or name another server (base_url), or use provider local.",
        )
    return None


def _azure_url(endpoint: Endpoint, path: str = CHAT) -> str:
    version = endpoint.api_version or os.environ.get("OPENAI_API_VERSION") or ""
    return azure_url(base_url_of(endpoint), endpoint.deployment or endpoint.model, version, path)


def _check_belongings(endpoint: Endpoint) -> None:
    """What one provider has is refused with another, or a run would go elsewhere than it was meant to."""
    if endpoint.deployment and endpoint.provider != "azure":
        raise SettingsError("deployment is Azure's.", hint='Add provider = "azure" (--provider azure).')
    if endpoint.api_version and endpoint.provider == "openai":
        raise SettingsError("api_version is Azure's or Anthropic's.", hint='Add provider = "azure" (--provider azure).')
    chat_only = endpoint.fixed_sampling or endpoint.max_tokens_field != "max_tokens"
    if chat_only and endpoint.provider == "anthropic":
        raise SettingsError(
            "max_tokens_field and fixed_sampling are of OpenAI's interface.", hint="Leave them out with anthropic."
        )


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((found for name in names if (found := environ.get(name))), None)
