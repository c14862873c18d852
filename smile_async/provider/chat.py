"""OpenAI's chat completions, which nearly every server speaks: vLLM, Ollama, DeepSeek, DashScope, Zhipu, gateways."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlunsplit

import orjson
from pydantic import SecretStr

from smile_async.engine.job import Failure, Reply, Request, ServerPace
from smile_async.errors import SettingsError
from smile_async.provider.dialect import address, key_header, request_headers
from smile_async.provider.reply import read_reply
from smile_async.provider.server import ServerProvider
from smile_async.settings import Sampling, Timeouts

if TYPE_CHECKING:
    import httpx

ENDPOINT = "/chat/completions"

MaxTokensField = Literal["max_tokens", "max_completion_tokens"]


class ChatDialect:
    """`url` and `headers` are complete. `model` is what is meant, `asked_as` what it is called there (an Azure
    deployment); `max_tokens_field` is the field that limits an answer's tokens.

    With `fixed_sampling` neither temperature nor top_p is sent: OpenAI's reasoning models refuse both, and always
    sample as with 1. Raises `SettingsError` when another value is asked for.
    """

    def __init__(
        self,
        *,
        url: str,
        headers: Mapping[str, str],
        model: str,
        asked_as: str = "",
        sampling: Sampling,
        max_tokens_field: MaxTokensField = "max_tokens",
        fixed_sampling: bool = False,
    ) -> None:
        if fixed_sampling:
            _check_fixed(sampling)
        self.url = url
        self.headers = headers
        self.model = model
        self._max_tokens_field = max_tokens_field
        self.identity: Mapping[str, Any] = logical_identity(model, sampling)
        self._fixed: dict[str, Any] = {"model": asked_as or model}
        if not fixed_sampling:
            self._fixed |= sampling.model_dump(exclude_none=True, include={"temperature", "top_p"})
        if sampling.max_tokens is not None:
            self._fixed[max_tokens_field] = sampling.max_tokens
        self._fixed |= sampling.extra

    def body(self, request: Request) -> bytes:
        """Messages as they are, Chinese unescaped. The fixed fields cost 0.2 us: too little to encode them ahead."""
        body = {**self._fixed, "messages": request.messages}
        if request.max_tokens is not None:
            body[self._max_tokens_field] = request.max_tokens
        if request.extra:
            body.update(request.extra)
        return orjson.dumps(body)

    def read(
        self, body: bytes, headers: Mapping[str, str], now: float, pace: ServerPace | None, host: str
    ) -> Reply | Failure:
        return read_reply(body, headers, now, pace, host)


class ChatProvider(ServerProvider):
    """Any server that speaks OpenAI's chat completions; sampling that is None is left to the server.

    `base_url` is what the OpenAI client takes (`https://api.openai.com/v1`), a bare host (then `/v1` is added), or the
    whole address ending in `/chat/completions`, with a query if need be. `extra` goes into every request body,
    `Request.extra` over it; `headers` go beside the usual ones and win.

    Raises `SettingsError` for an unusable address.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: SecretStr | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeouts: Timeouts | None = None,
        max_connections: int | None = None,
        client: "httpx.AsyncClient | None" = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        dialect = ChatDialect(
            url=chat_url(base_url),
            headers=bearer_headers(api_key, headers or {}),
            model=model,
            sampling=Sampling.model_construct(
                temperature=temperature, top_p=top_p, max_tokens=max_tokens, extra=dict(extra or {})
            ),
        )
        super().__init__(dialect, timeouts=timeouts, max_connections=max_connections, client=client, clock=clock)


def logical_identity(model: str, sampling: Sampling) -> Mapping[str, Any]:
    """Of a provider whose model samples so; what is not sent because it is the server's own default counts all the
    same."""
    extra = {"extra": sampling.extra} if sampling.extra else {}
    return {"model": model, **sampling.model_dump(exclude_none=True, exclude={"extra"}), **extra}


def chat_url(base_url: str, endpoint: str = ENDPOINT) -> str:
    """The address to post to; see `ChatProvider` for what may be given. `endpoint`: another one of the same server.
    Raises `SettingsError`."""
    parts = address(base_url)
    path = parts.path
    if not path.endswith(endpoint):
        path = (path.removesuffix(ENDPOINT) or "/v1") + endpoint
    return urlunsplit(parts._replace(path=path))


def bearer_headers(api_key: SecretStr | None, more: Mapping[str, str]) -> dict[str, str]:
    return request_headers(key_header("authorization", api_key, prefix="Bearer "), more)


def _check_fixed(sampling: Sampling) -> None:
    for name, value in (("temperature", sampling.temperature), ("top_p", sampling.top_p)):
        if value not in (None, 1.0):
            raise SettingsError(
                f"{name} is {value:g}, and a model with fixed_sampling has no other than 1.",
                hint=f"Set {name} = 1 under [sampling] (--{name.replace('_', '-')} 1), or leave fixed_sampling out.",
            )
