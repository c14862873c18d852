"""From an endpoint in the settings to a provider that can be asked, open for as long as it is needed."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from smile_async.engine.task import Provider
from smile_async.errors import SettingsError
from smile_async.options import Options
from smile_async.prompt.recipe import Recipe
from smile_async.settings import OPENAI, OPENAI_KEY, Endpoint, Limits, Timeouts

if TYPE_CHECKING:
    import httpx

LOCAL_TIMEOUTS = Timeouts(read=3_600.0, total=3_600.0)  # a busy laptop is slow, and giving up would only begin anew
OTHER_FILES = 64  # the source, the ledger and its side files, name look-ups: all that is no request


def _within_open_files(limits: Limits, notify: Callable[[str], None]) -> Limits:
    """Each request in flight is an open file: raise the limit of this process, or ask for fewer at a time."""
    from smile_async.provider import raise_open_files_limit

    room = raise_open_files_limit(limits.most_in_flight + OTHER_FILES) - OTHER_FILES
    if room >= limits.most_in_flight:
        return limits
    fewer = max(room, 1)
    notify(
        f"This process may open {room + OTHER_FILES:,} files: {fewer:,} requests in flight, not {limits.most_in_flight:,}."
        " For more, raise the limit (ulimit -n)."
    )
    return limits.model_copy(update={"concurrency": fewer})


@asynccontextmanager
async def answering(
    provider: Provider | Endpoint,
    recipe: Recipe,
    options: Options,
    client: "httpx.AsyncClient | None",
    notify: Callable[[str], None],
) -> AsyncIterator[tuple[Provider, Limits]]:
    """The provider to ask, open while the block runs, and the limits that suit it."""
    if not isinstance(provider, Endpoint):
        yield provider, options.limits
    elif provider.provider == "local":
        async with _local(provider, recipe, options, notify) as (chat, limits):
            yield chat, limits
    else:
        limits = _within_open_files(options.limits, notify)
        async with _chat(provider, recipe, replace(options, limits=limits), client) as chat:
            yield chat, limits


@asynccontextmanager
async def _local(
    endpoint: Endpoint, recipe: Recipe, options: Options, notify: Callable[[str], None]
) -> AsyncIterator[tuple[Provider, Limits]]:
    from smile_async.provider.local import local_endpoint

    async with local_endpoint(_model_file(endpoint), notify=notify) as served:
        limits, timeouts = options.limits, options.timeouts
        if "concurrency" not in limits.model_fields_set:
            limits = limits.model_copy(update={"concurrency": served.concurrency})
        if not timeouts.model_fields_set:
            timeouts = LOCAL_TIMEOUTS
        at = Endpoint(base_url=served.base_url, model=served.model, api_key_env="")
        async with _chat(at, recipe, replace(options, limits=limits, timeouts=timeouts), None) as chat:
            yield chat, limits


def _model_file(endpoint: Endpoint) -> Path | None:
    """The GGUF file that the endpoint names; None: the embedded model."""
    if endpoint.model and not Path(endpoint.model).is_file():
        raise SettingsError(
            f"{endpoint.model!r} is no file: with provider local, model is the path of a GGUF file.",
            hint="Leave it out for the embedded model.",
        )
    return Path(endpoint.model) if endpoint.model else None


@asynccontextmanager
async def _chat(
    endpoint: Endpoint, recipe: Recipe, options: Options, client: "httpx.AsyncClient | None"
) -> AsyncIterator[Provider]:
    from smile_async.provider.chat import ChatProvider

    if not endpoint.model:
        raise SettingsError("No model is named.", hint="Endpoint(model=...); --model; or [endpoint] in smile.toml.")
    sampling = options.sampling.over(recipe.sampling)
    chat = ChatProvider(
        base_url=base_url_of(endpoint),
        model=endpoint.model,
        api_key=_api_key(endpoint),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        extra=sampling.extra,
        headers={name: value.get_secret_value() for name, value in endpoint.headers.items()},
        timeouts=options.timeouts,
        max_connections=options.limits.most_in_flight,
        client=client,
    )
    try:
        yield chat
    finally:
        await chat.aclose()


def base_url_of(endpoint: Endpoint) -> str:
    """The endpoint's own address, else `OPENAI_BASE_URL` or `OPENAI_API_BASE`, else OpenAI's."""
    return endpoint.base_url or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or OPENAI


def _api_key(endpoint: Endpoint) -> SecretStr | None:
    """The key from the environment. None for a server that needs none; OpenAI's own needs one."""
    key = os.environ.get(endpoint.api_key_env) if endpoint.api_key_env else None
    if not key and endpoint.api_key_env not in ("", OPENAI_KEY):
        named = endpoint.api_key_env if endpoint.api_key_env.isupper() else "The variable that api_key_env names"
        raise SettingsError(
            f"{named} is not set.", hint="api_key_env is the name of an environment variable, not a key."
        )
    if not key and not endpoint.headers and base_url_of(endpoint) == OPENAI:
        raise SettingsError(
            f"{endpoint.api_key_env} is not set, and {OPENAI} needs a key.",
            hint=f"export {endpoint.api_key_env}=..., or name another server (base_url), or use provider local.",
        )
    return SecretStr(key) if key else None
