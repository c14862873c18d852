"""Any server that speaks OpenAI's chat completions."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import orjson
from pydantic import SecretStr

from smile_async.engine.job import Failure, Reply, Request
from smile_async.errors import SettingsError
from smile_async.provider.headers import server_pace
from smile_async.provider.masking import without_echo
from smile_async.provider.reply import read_reply
from smile_async.provider.status import classify
from smile_async.provider.transport import HttpAnswer, Transport
from smile_async.settings import Timeouts

if TYPE_CHECKING:
    import httpx

ENDPOINT = "/chat/completions"


class ChatProvider:
    """Asks one endpoint for one model; sampling that is None is left to the server.

    `base_url` is what the OpenAI client takes (`https://api.openai.com/v1`), a bare host (then `/v1` is added), or the
    whole address ending in `/chat/completions`, with a query if need be. `extra` goes into every request body,
    `Request.extra` over it; `headers` go beside the usual ones and win. `max_connections` bounds the requests in
    flight; without it the caller does. `client` is an `httpx.AsyncClient` of the user's own: its proxies, auth and
    hooks hold, and closing it stays theirs. `clock` is the wall clock.

    The key and the headers are in no `repr`, message or identity. Raises `SettingsError` for an unusable address.
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
        self._url = chat_url(base_url)
        self._host = urlsplit(self._url).netloc.rpartition("@")[2]
        sampling = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        self._sampling = {name: value for name, value in sampling.items() if value is not None}
        self._extra = dict(extra or {})
        self._model = model
        self._fixed = {"model": model, **self._sampling, **self._extra}
        self._headers = _headers(api_key, headers or {})
        self._transport = Transport(timeouts=timeouts, max_connections=max_connections, client=client)
        self._clock = clock

    def __repr__(self) -> str:
        return f"<ChatProvider {self._model} at {self._host}>"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model, sampling and extra fields: what shapes the answer. Never the key, never the address."""
        return {"model": self._model, **self._sampling, **({"extra": self._extra} if self._extra else {})}

    async def ask(self, request: Request) -> Reply | Failure:
        answer = await self._transport.post(self._url, self._headers, self._body(request))
        if isinstance(answer, Failure):
            return answer
        outcome = self._judge(answer)
        if isinstance(outcome, Failure) and outcome.detail:
            sent = [message.content for message in request.messages]
            return replace(outcome, detail=without_echo(outcome.detail, sent))
        return outcome

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _body(self, request: Request) -> bytes:
        """Messages as they are, Chinese unescaped. The fixed fields cost 0.2 us: too little to encode them ahead."""
        body = {**self._fixed, "messages": request.messages}
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        if request.extra:
            body.update(request.extra)
        return orjson.dumps(body)

    def _judge(self, answer: HttpAnswer) -> Reply | Failure:
        now = self._clock()
        if not 200 <= answer.status < 300:
            return classify(answer.status, answer.body, answer.headers, now)
        pace = server_pace(answer.headers, now)
        return read_reply(answer.body, answer.headers, now, pace, self._host)


def chat_url(base_url: str) -> str:
    """The address to post to; see `ChatProvider` for what may be given. Raises `SettingsError`."""
    parts = urlsplit(base_url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
        raise SettingsError(f"base_url {shown!r} is no web address.", hint="It looks like https://api.openai.com/v1")
    path = parts.path.rstrip("/")
    if not path.endswith(ENDPOINT):
        path = (path or "/v1") + ENDPOINT
    return urlunsplit(parts._replace(path=path, fragment=""))


def _headers(api_key: SecretStr | None, more: Mapping[str, str]) -> dict[str, str]:
    """A key with a stray line break is a key that was pasted: cut, or no request could be sent."""
    headers = {"content-type": "application/json", "accept": "application/json"}
    key = api_key.get_secret_value().strip() if api_key else ""
    if key:
        headers["authorization"] = f"Bearer {key}"
    headers |= {name.lower(): value for name, value in more.items()}
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise SettingsError(
                f"The header {name!r} (or the key in it) holds a character that HTTP cannot send.",
                hint="Was it pasted with a quotation mark or a line break?",
            )
    return headers
