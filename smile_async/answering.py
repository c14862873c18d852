"""From an endpoint in the settings to a provider that can be asked, open for as long as it is needed."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from smile_async.engine.task import Provider
from smile_async.errors import SettingsError
from smile_async.options import Options
from smile_async.prompt.recipe import Recipe
from smile_async.settings import Endpoint, Limits, Timeouts

if TYPE_CHECKING:
    import httpx

    from smile_async.provider.dialect import Dialect

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
        f"This process may open {room + OTHER_FILES:,} files: {fewer:,} requests in flight, not"
        f" {limits.most_in_flight:,}. For more, raise the limit (ulimit -n)."
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
        async with _closing(provider_for(provider, recipe, replace(options, limits=limits), client)) as chat:
            yield chat, limits


@asynccontextmanager
async def _closing(provider: Provider) -> AsyncIterator[Provider]:
    try:
        yield provider
    finally:
        await provider.aclose()


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
        async with _closing(provider_for(at, recipe, replace(options, limits=limits, timeouts=timeouts))) as chat:
            yield chat, limits


def _model_file(endpoint: Endpoint) -> Path | None:
    """The GGUF file that the endpoint names; None: the embedded model."""
    if endpoint.model and not Path(endpoint.model).is_file():
        raise SettingsError(
            f"{endpoint.model!r} is no file: with provider local, model is the path of a GGUF file.",
            hint="Leave it out for the embedded model.",
        )
    return Path(endpoint.model) if endpoint.model else None


def dialect_of(endpoint: Endpoint, recipe: Recipe, options: Options) -> "Dialect":
    """How the endpoint, which is a server's (not local), is spoken to.

    Raises `SettingsError` for an address, a key or a sampling that cannot be used.
    """
    from smile_async.provider.dialects import dialect_for

    sampling = options.sampling.over(recipe.sampling).model_copy(update={"max_tokens": None})  # the request's
    return dialect_for(endpoint, sampling)


def provider_for(
    endpoint: Endpoint, recipe: Recipe, options: Options, client: "httpx.AsyncClient | None" = None
) -> Provider:
    """Who is asked at this endpoint, which is a server's (not local). The caller closes it: `aclose`.

    Opens nothing yet. Raises `SettingsError` as `dialect_of` does.
    """
    from smile_async.provider.server import ServerProvider

    quota = endpoint.quota or options.limits
    return ServerProvider(
        dialect_of(endpoint, recipe, options),
        timeouts=options.timeouts,
        max_connections=quota.most_in_flight,
        client=client,
    )
