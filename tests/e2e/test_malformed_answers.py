"""A whole run against a server whose answers break the rules of HTTP every other time: no row is lost for it."""

import asyncio
from collections import Counter
from pathlib import Path

import orjson
import pytest

from smile_async.engine.job import FailureKind, Message, Request
from smile_async.engine.run import RunReport
from smile_async.engine.task import Accepted, Task
from smile_async.options import Options
from smile_async.settings import Endpoint, RetryPolicy
from smile_async.tasks import results, run_task
from tests.provider.wire import Seen, listening

pytestmark = pytest.mark.e2e

ROWS = 60
OK = b"HTTP/1.1 200 OK\r\n"
REFUSED = (  # each is the answer to a row's first attempt: a length too many, none, a head without end, a cut one, ...
    OK + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabc",
    OK + b"Content-Length: many\r\n\r\n",
    OK + b"X: " + b"a" * 700_000,
    OK + b"nonsense\r\n\r\n",
    OK + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
    OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
)
MALFORMED_ERROR = b"HTTP/1.1 503 X\r\nX: y\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc"


def task() -> Task[int, str]:
    return Task(
        name="echo",
        render=lambda number: Request((Message("user", str(number)),)),
        accept=lambda _number, reply: Accepted(reply.text),
        dump_item=orjson.dumps,
        load_item=orjson.loads,
        dump_value=orjson.dumps,
        identity={},
    )


async def ask(folder: Path) -> tuple[RunReport, Counter[int]]:
    asked: Counter[int] = Counter()

    async def script(seen: Seen, writer: asyncio.StreamWriter) -> bool:
        number = int(orjson.loads(seen.body)["messages"][0]["content"])
        asked[number] += 1
        if asked[number] == 1:
            writer.write((*REFUSED, MALFORMED_ERROR)[number % (len(REFUSED) + 1)])
            return True
        message = {"role": "assistant", "content": f"got {number}"}
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        body = orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage, "model": "m"})
        twice = b"Content-Length: %d\r\n" % len(body) * 2  # said twice alike: to be read
        writer.write(OK + twice + b"\r\n" + body)
        return True

    async with listening(script) as wire:
        endpoint = Endpoint(base_url=f"http://127.0.0.1:{wire.port}/v1", model="m", api_key_env="")
        options = Options(retry=RetryPolicy(first_wait=0.01, max_wait=0.05))
        return await run_task(task(), range(ROWS), folder, provider=endpoint, options=options), asked


def test_rows_whose_answers_cannot_be_read_are_asked_again_and_what_may_be_billed_is_counted(tmp_path: Path) -> None:
    """60 rows, each answered badly once, in seven ways in turn: the seventh is a 503, which stays one and costs nothing."""
    report, asked = asyncio.run(ask(tmp_path))

    refused = sum(number % 7 != 6 for number in range(ROWS))
    assert (report.state, report.counts.accepted, report.counts.set_aside) == ("done", ROWS, 0)
    assert [value for _, value in results(tmp_path, task())] == [f"got {number}" for number in range(ROWS)]
    assert set(asked.values()) == {2}
    assert report.counts.failures == {FailureKind.BROKEN_BODY: refused, FailureKind.OVERLOADED: ROWS - refused}
    assert report.counts.perhaps_billed == refused
