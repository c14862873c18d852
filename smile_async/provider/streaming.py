"""An answer as it is written: server-sent events of OpenAI's chat completions and Anthropic's Messages.

For conversations, one request at a time; runs of thousands take whole answers (`server.py`). Goes through httpx, whose
connection closes when the reader stops: the server then stops writing.
"""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from smile_async.engine.job import Failure, Request
from smile_async.errors import SmileError
from smile_async.provider.dialect import Dialect
from smile_async.provider.headers import server_pace
from smile_async.provider.masking import masked, without_echo
from smile_async.provider.status import classify
from smile_async.provider.transport import Transport, _host
from smile_async.settings import Timeouts

if TYPE_CHECKING:
    import httpx


DONE = "[DONE]"


class AnswerError(SmileError):
    """The server gave no answer, or broke one off; what had arrived was handed on."""


class StreamedAnswers:
    """Asks one endpoint for one answer after another, each in pieces as they come.

    `client` is an `httpx.AsyncClient` of the user's, and closing it stays theirs.
    """

    def __init__(
        self, dialect: Dialect, *, timeouts: Timeouts | None = None, client: "httpx.AsyncClient | None" = None
    ) -> None:
        self._dialect = dialect
        self._transport = StreamingTransport(timeouts=timeouts, client=client)

    def __repr__(self) -> str:
        return f"<StreamedAnswers of {self._dialect.model} at {urlsplit(self._dialect.url).netloc}>"

    async def pieces(self, request: Request) -> AsyncGenerator[str, None]:
        """The answer's text; closing the iterator closes the connection. Raises `AnswerError`."""
        asked = replace(request, extra={**request.extra, "stream": True})
        sent = [message.content for message in request.messages]
        lines = self._transport.lines(self._dialect.url, self._dialect.headers, self._dialect.body(asked))
        whole: list[str] = []  # of a server that does not stream
        async with aclosing(lines):
            async for line in lines:
                if isinstance(line, Failure):
                    raise _error(line, sent)
                if not line.startswith("data:"):
                    whole.append(line)
                    continue
                if (piece := piece_of(line, sent)) is not None:
                    yield piece
        if (text := "\n".join(whole).strip()).startswith("{"):
            yield self._whole(text, sent)

    def _whole(self, text: str, sent: list[str]) -> str:
        read = self._dialect.read(text.encode(), {}, time.time(), server_pace({}, time.time()), "the server")
        if isinstance(read, Failure):
            raise _error(read, sent)
        return read.text

    async def aclose(self) -> None:
        await self._transport.aclose()


def piece_of(line: str, sent: Sequence[str] = ()) -> str | None:
    """The text in a `data:` line; None for what is no text (roles, thoughts, usage, the end). Raises `AnswerError`,
    which quotes nothing of what was `sent`."""
    told = line.removeprefix("data:").strip()
    if told == DONE:
        return None
    try:
        event = orjson.loads(told or b"null")
    except orjson.JSONDecodeError as broken:
        raise AnswerError("The answer is broken: a piece of it is no JSON.", hint="Ask again.") from broken
    if not isinstance(event, dict):
        return None
    if error := event.get("error"):
        message = error.get("message") if isinstance(error, dict) else error
        told = without_echo(masked(str(message)), sent)
        raise AnswerError(f"The server broke the answer off: {told}", hint="Ask again.")
    return _openai(event) or _anthropic(event)


def _openai(event: Mapping[str, Any]) -> str | None:
    choices = event.get("choices")
    delta = choices[0].get("delta") if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
    content = delta.get("content") if isinstance(delta, dict) else None
    return content if isinstance(content, str) else None


def _anthropic(event: Mapping[str, Any]) -> str | None:
    delta = event.get("delta")
    text = delta.get("text") if isinstance(delta, dict) else None
    return text if event.get("type") == "content_block_delta" and isinstance(text, str) else None


def _error(failure: Failure, sent: list[str]) -> AnswerError:
    told = without_echo(failure.detail, sent) if failure.detail else ""
    return AnswerError(f"No answer ({failure.kind}): {told}" if told else f"No answer ({failure.kind}).")


class StreamingTransport(Transport):
    """See the module; timeouts and errors are `Transport`'s, proxies and certificates httpx's (environment)."""

    def __init__(self, *, timeouts: Timeouts | None = None, client: "httpx.AsyncClient | None" = None) -> None:
        super().__init__(timeouts=timeouts, client=client)
        self._opened: httpx.AsyncClient | None = None

    async def lines(self, url: str, headers: Mapping[str, str], body: bytes) -> AsyncGenerator[str | Failure, None]:
        """The lines of a 2xx's body as they come; a `Failure` is the last thing that comes."""
        import httpx

        limit = self._timeouts
        timeout = httpx.Timeout(limit.read, connect=limit.connect, pool=limit.total)
        if self._theirs is None and self._opened is None:
            self._opened = httpx.AsyncClient(timeout=timeout)
        client = self._theirs or self._opened
        assert client is not None
        began, status = time.monotonic(), None
        try:
            async with client.stream("POST", url, content=body, headers=dict(headers), timeout=timeout) as response:
                status = response.status_code
                if status >= 300:
                    yield classify(status, await response.aread(), dict(response.headers), time.time())
                    return
                async for line in response.aiter_lines():
                    yield line
        except httpx.HTTPError as error:
            yield self._explain_httpx(error, url, time.monotonic() - began, status, b"")
        except httpx.InvalidURL as error:
            yield self._explain_httpx(httpx.UnsupportedProtocol(str(error)), _host(url), 0.0, None, b"")

    async def aclose(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.aclose()
        await super().aclose()
