"""From an endpoint in the settings to a provider that can be asked, open for as long as it is needed."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from smile_async.engine.lane import Served
from smile_async.engine.task import Provider
from smile_async.errors import SettingsError
from smile_async.options import Options
from smile_async.settings import Endpoint, Limits, Quota, Sampling, Timeouts

if TYPE_CHECKING:
    import httpx

    from smile_async.provider.dialect import Dialect
    from smile_async.provider.embeddings import Encoding

LOCAL_TIMEOUTS = Timeouts(read=3_600.0, total=3_600.0)  # a busy laptop is slow, and giving up would only begin anew
OTHER_FILES = 64  # the source, the ledger and its side files, name look-ups: all that is no request


@dataclass(frozen=True, slots=True)
class Embeddings:
    """That vectors are asked for: how a server sends them, and of how many numbers, where its model can choose."""

    encoding: "Encoding" = "base64"
    dimensions: int | None = None


@asynccontextmanager
async def answering(
    provider: Provider | Endpoint | Sequence[Endpoint],
    sampling: Sampling,
    options: Options,
    client: "httpx.AsyncClient | None",
    notify: Callable[[str], None],
    *,
    embeddings: Embeddings | None = None,
) -> AsyncIterator[tuple[list[Served], Limits]]:
    """Whom to ask, open while the block runs, and the limits that suit them. `sampling` is what counts, the options'
    own included. `embeddings`: vectors are asked for, not words."""
    if isinstance(provider, Endpoint):
        provider = [provider]
    elif not isinstance(provider, Sequence):
        yield [Served(provider)], options.limits
        return
    limits = _within_open_files(provider, options.limits, notify)
    async with AsyncExitStack() as stack:
        served: list[Served] = []
        for endpoint in provider:
            at = replace(options, limits=limits)
            opened = _served(endpoint, sampling, at, client, notify, embeddings)
            served.append(await stack.enter_async_context(opened))
        names = told_apart([one.name for one in served])
        yield [replace(one, name=name) for one, name in zip(served, names, strict=True)], limits


def _within_open_files(endpoints: Sequence[Endpoint], limits: Limits, notify: Callable[[str], None]) -> Limits:
    """Each request in flight is an open file: raise the limit of this process, or ask for fewer at a time."""
    from smile_async.provider import raise_open_files_limit

    wanted = sum((endpoint.quota or limits).most_in_flight for endpoint in endpoints)
    room = raise_open_files_limit(wanted + OTHER_FILES) - OTHER_FILES
    if room >= wanted:
        return limits
    fewer = max(room // len(endpoints), 1)
    if limits.concurrency is not None:  # else fewer are found to be enough, or are all there can be
        notify(
            f"This process may open {room + OTHER_FILES:,} files: {fewer:,} requests in flight, not"
            f" {limits.concurrency:,}. For more, raise the limit (ulimit -n)."
        )
    return limits.model_copy(update={"concurrency": fewer})


@asynccontextmanager
async def _served(
    endpoint: Endpoint,
    sampling: Sampling,
    options: Options,
    client: "httpx.AsyncClient | None",
    notify: Callable[[str], None],
    embeddings: Embeddings | None,
) -> AsyncIterator[Served]:
    """One endpoint, open while the block runs."""
    quota = endpoint.quota
    async with AsyncExitStack() as stack:
        if endpoint.provider == "local" and embeddings is not None:
            asked, quota = _embedded(endpoint, options)
            stack.push_async_callback(asked.aclose)
        elif endpoint.provider == "local":
            asked, quota = await stack.enter_async_context(_local(endpoint, sampling, options, notify))
        else:
            asked = provider_for(endpoint, sampling, options, client, embeddings)
            stack.push_async_callback(asked.aclose)
        yield Served(asked, name_of(endpoint), quota, endpoint.prices, endpoint.weight)


def name_of(endpoint: Endpoint) -> str:
    """Its own name, or its host. Raises `SettingsError` where it has no address."""
    from smile_async.provider.dialects import base_url_of

    if endpoint.name or endpoint.provider == "local":
        return endpoint.name or endpoint.provider
    return urlsplit(base_url_of(endpoint)).netloc


def told_apart(names: Sequence[str]) -> list[str]:
    """The same names made different: two keys at one host are host and host#2."""
    seen: Counter[str] = Counter()
    apart = []
    for name in names:
        seen[name] += 1
        apart.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return apart


@asynccontextmanager
async def _local(
    endpoint: Endpoint, sampling: Sampling, options: Options, notify: Callable[[str], None]
) -> AsyncIterator[tuple[Provider, Quota | None]]:
    from smile_async.provider.local import local_endpoint

    async with local_endpoint(_model_file(endpoint), notify=notify) as served:
        quota: Quota = endpoint.quota or options.limits
        if "concurrency" not in quota.model_fields_set:
            quota = quota.model_copy(update={"concurrency": served.concurrency})
        timeouts = options.timeouts if options.timeouts.model_fields_set else LOCAL_TIMEOUTS
        at = Endpoint(base_url=served.base_url, model=served.model, api_key_env="", quota=quota)
        asked = provider_for(at, sampling, replace(options, timeouts=timeouts))
        try:
            yield asked, quota
        finally:
            await asked.aclose()


def _embedded(endpoint: Endpoint, options: Options) -> tuple[Provider, Quota]:
    """The embedded embedding model, one text at a time or nearly so."""
    from smile_async.provider.e5 import CONCURRENCY, E5Provider

    if endpoint.model:
        raise SettingsError(
            f"The embedded embedding model has no choice of models, and {endpoint.model!r} was named.",
            hint="Leave --model out, or name a server: --base-url.",
        )
    quota: Quota = endpoint.quota or options.limits
    if "concurrency" not in quota.model_fields_set:
        quota = quota.model_copy(update={"concurrency": CONCURRENCY})
    return E5Provider(), quota


def _model_file(endpoint: Endpoint) -> Path | None:
    """The GGUF file that the endpoint names; None: the embedded model."""
    if endpoint.model and not Path(endpoint.model).is_file():
        raise SettingsError(
            f"{endpoint.model!r} is no file: with provider local, model is the path of a GGUF file.",
            hint="Leave it out for the embedded model.",
        )
    return Path(endpoint.model) if endpoint.model else None


def dialect_of(endpoint: Endpoint, sampling: Sampling, embeddings: Embeddings | None = None) -> "Dialect":
    """How the endpoint, which is a server's (not local), is spoken to.

    Raises `SettingsError` for an address, a key or a sampling that cannot be used.
    """
    from smile_async.provider.dialects import dialect_for, embedding_dialect_for

    if embeddings is not None:
        return embedding_dialect_for(endpoint, sampling, encoding=embeddings.encoding, dimensions=embeddings.dimensions)
    return dialect_for(endpoint, sampling.model_copy(update={"max_tokens": None}))  # that is the request's


def provider_for(
    endpoint: Endpoint,
    sampling: Sampling,
    options: Options,
    client: "httpx.AsyncClient | None" = None,
    embeddings: Embeddings | None = None,
) -> Provider:
    """Who is asked at this endpoint, which is a server's (not local). The caller closes it: `aclose`.

    Opens nothing yet. Raises `SettingsError` as `dialect_of` does.
    """
    from smile_async.provider.server import ServerProvider

    # The gate bounds what is in flight, and may be told another number while the run goes on.
    return ServerProvider(dialect_of(endpoint, sampling, embeddings), timeouts=options.timeouts, client=client)
