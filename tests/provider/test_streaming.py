"""Answers in pieces, through httpx's own mock transport: no socket."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from smile_async.engine.job import Message, Request
from smile_async.provider.anthropic import AnthropicDialect
from smile_async.provider.chat import ChatDialect, bearer_headers, chat_url
from smile_async.provider.dialect import Dialect
from smile_async.provider.streaming import AnswerError, StreamedAnswers, piece_of
from smile_async.settings import Sampling
from smile_async.testing import run_virtual

KEY = "sk-31415926535897932384626433832795"
SECRET = "我昨天和母亲吵了一架"
ASKED = Request((Message("system", "S"), Message("user", SECRET)), max_tokens=9)


def dialect() -> Dialect:
    return ChatDialect(
        url=chat_url("http://127.0.0.1:1/v1"),
        headers=bearer_headers(SecretStr(KEY), {}),
        model="mechat",
        sampling=Sampling(temperature=0.8, top_p=0.8),
    )


class Chunks(httpx.AsyncByteStream):
    """A body that comes in these pieces, and knows whether it was closed."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks
        self.closed = False
        self.given = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            self.given += 1
            yield chunk

    async def aclose(self) -> None:
        self.closed = True


def answer(
    chunks: Sequence[bytes], *, status: int = 200, how: Dialect | None = None, most: int | None = None
) -> tuple[list[str], dict[str, Any], Chunks]:
    """The pieces (at most `most` are taken), the request's body, and the response's body."""
    seen: dict[str, Any] = {}
    body = Chunks(chunks)

    def respond(request: httpx.Request) -> httpx.Response:
        seen.update(json.loads(request.content))
        return httpx.Response(status, stream=body, headers={"content-type": "text/event-stream"})

    async def ask() -> list[str]:
        got: list[str] = []
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as client:
            pieces = StreamedAnswers(how or dialect(), client=client).pieces(ASKED)
            async for piece in pieces:
                got.append(piece)
                if len(got) == most:
                    break
            await pieces.aclose()
        return got

    return run_virtual(ask()), seen, body


def event(content: str | None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    return f"data: {json.dumps({'choices': [{'delta': delta}], **more}, ensure_ascii=False)}\n\n".encode()


def test_pieces_come_as_they_were_written_wherever_the_bytes_break() -> None:
    whole = b": hello\n\n" + event(None) + event("我听") + event("到你") + event("。") + b"data: [DONE]\n\n"
    got, seen, _ = answer([whole[place : place + 7] for place in range(0, len(whole), 7)])
    assert got == ["我听", "到你", "。"]
    assert seen["stream"] is True
    assert (seen["model"], seen["temperature"], seen["top_p"], seen["max_tokens"]) == ("mechat", 0.8, 0.8, 9)


def test_thoughts_and_usage_are_no_part_of_the_answer() -> None:
    thought = b'data: {"choices": [{"delta": {"reasoning_content": "hm"}}]}\n\n'
    usage = b'data: {"choices": [], "usage": {"total_tokens": 3}}\n\n'
    assert answer([thought, event("ok"), usage])[0] == ["ok"]


def test_anthropics_events_are_read_too() -> None:
    how = AnthropicDialect(
        base_url="http://127.0.0.1:1", model="claude", api_key=SecretStr(KEY), headers={}, sampling=Sampling()
    )
    events: tuple[dict[str, Any], ...] = (
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "message_stop"},
    )
    got, seen, _ = answer([f"event: x\ndata: {json.dumps(one)}\n\n".encode() for one in events], how=how)
    assert got == ["ok"]
    assert (seen["stream"], seen["system"]) == (True, "S")


def test_a_server_that_does_not_stream_is_read_whole() -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": "all at once"}, "finish_reason": "stop"}]}
    assert answer([json.dumps(body, indent=1).encode()])[0] == ["all at once"]


def test_who_stops_reading_closes_the_connection() -> None:
    got, _, body = answer([event("one"), event("two"), event("three")], most=1)
    assert got == ["one"]
    assert body.closed
    assert body.given < 3


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(AnswerError) as raised:
        act()
    told = str(raised.value)
    assert KEY not in told
    assert SECRET not in told
    return told


def test_a_refusal_is_told_without_the_words_that_were_sent() -> None:
    body = json.dumps({"error": {"message": f"cannot take: {SECRET}", "code": "x"}}, ensure_ascii=False).encode()
    assert "HTTP 400" in refused(lambda: answer([body], status=400))
    assert "auth" in refused(lambda: answer([b"{}"], status=401))


def test_an_error_in_the_middle_ends_the_answer() -> None:
    broken = b'data: {"error": {"message": "out of memory"}}\n\n'
    assert "out of memory" in refused(lambda: answer([event("I"), broken]))


def test_nobody_at_the_address_is_said_so() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client:
            async for _ in StreamedAnswers(dialect(), client=client).pieces(ASKED):
                pass

    assert "nobody listens at 127.0.0.1:1" in refused(lambda: run_virtual(ask()))


def test_an_error_in_the_midst_of_a_stream_repeats_nothing_of_what_was_asked() -> None:
    line = "data: " + json.dumps({"error": {"message": f"cannot read: {SECRET} ({KEY})"}})
    with pytest.raises(AnswerError) as broken:
        piece_of(line, [SECRET])
    assert "cannot read" in str(broken.value)
    assert SECRET not in str(broken.value)
    assert KEY not in str(broken.value)
