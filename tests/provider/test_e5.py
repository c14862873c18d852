"""The child that computes embeddings is ended whenever nobody waits for it, and half of its answer is none."""

import asyncio
import io
import json
import threading
from typing import Any

import pytest

from smile_async.engine.job import Failure, FailureKind, Reply
from smile_async.provider import e5
from smile_async.provider.embeddings import embedding_request, unpack

ASKED = embedding_request(["好"])
ANSWER = json.dumps({"count": 1, "tokens": 3, "values": "0000803f"}).encode() + b"\n"  # one float32: 1.0
GOOD = (1, b"\x00\x00\x80\x3f")


class Child:
    """In the place of `subprocess.Popen`: its output is there at once."""

    def __init__(self, output: bytes = ANSWER) -> None:
        self.stdin, self.stdout, self.killed = io.BytesIO(), io.BytesIO(output), False

    def kill(self) -> None:
        self.killed = True

    def wait(self) -> None:
        assert self.killed


class Starts:
    """In the place of `_start`: gives one child after another, the first once `go` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *children: Child) -> None:
        self.children, self.given = children, 0
        self.begun, self.go = threading.Event(), threading.Event()
        monkeypatch.setattr(e5, "require_e5", lambda: None)
        monkeypatch.setattr(e5, "_start", self)

    def __call__(self) -> Any:
        number, self.given = self.given, self.given + 1
        self.begun.set()
        if number == 0:
            assert self.go.wait(10)
        return self.children[number]


async def cancelled_while_it_starts(provider: e5.E5Provider, starts: Starts) -> None:
    asking = asyncio.ensure_future(provider.ask(ASKED))
    assert await asyncio.to_thread(starts.begun.wait, 10)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


def test_a_child_that_comes_up_after_a_cancel_and_the_close_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, child := Child())

    async def main() -> None:
        provider = e5.E5Provider()
        await cancelled_while_it_starts(provider, starts)
        await provider.aclose()
        starts.go.set()

    asyncio.run(main())  # which waits for the thread
    assert child.killed


def test_a_child_that_comes_up_late_does_not_take_the_place_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two are started: the first, which was cancelled, is ended; the second answers and lives until the close."""
    starts = Starts(monkeypatch, first := Child(), second := Child(ANSWER + ANSWER))

    async def main() -> list[Reply | Failure]:
        provider = e5.E5Provider()
        await cancelled_while_it_starts(provider, starts)
        one = await provider.ask(ASKED)
        starts.go.set()
        while not first.killed:  # noqa: ASYNC110 (by another thread)
            await asyncio.sleep(0.001)
        two = await provider.ask(ASKED)
        assert not second.killed
        await provider.aclose()
        return [one, two]

    replies = asyncio.run(asyncio.wait_for(main(), 10))
    assert [unpack(reply.text) for reply in replies if isinstance(reply, Reply)] == [GOOD, GOOD]
    assert (starts.given, second.killed) == (2, True)


def test_who_waits_for_a_turn_while_it_is_closed_starts_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, child := Child())

    async def main() -> tuple[Reply | Failure, Reply | Failure]:
        provider = e5.E5Provider()
        both = asyncio.gather(provider.ask(ASKED), provider.ask(ASKED))
        assert await asyncio.to_thread(starts.begun.wait, 10)
        await provider.aclose()
        starts.go.set()
        return await both

    lost = asyncio.run(main())
    assert [getattr(one, "kind", None) for one in lost] == [FailureKind.SERVER_ERROR] * 2
    assert (starts.given, child.killed) == (1, True)


@pytest.mark.parametrize("left", [0, 1, len(ANSWER) // 2, len(ANSWER) - 1])
def test_half_a_line_is_the_word_of_a_dead_child(monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """Killed in the midst of a line: a failure that may be tried again, and another child answers the next request."""
    starts = Starts(monkeypatch, dead := Child(ANSWER[:left]), Child())
    starts.go.set()

    async def main() -> tuple[Reply | Failure, Reply | Failure]:
        provider = e5.E5Provider()
        try:
            return await provider.ask(ASKED), await provider.ask(ASKED)
        finally:
            await provider.aclose()

    lost, found = asyncio.run(main())
    assert isinstance(lost, Failure)
    assert lost.kind is FailureKind.SERVER_ERROR
    assert dead.killed
    assert isinstance(found, Reply)
    assert unpack(found.text) == GOOD
