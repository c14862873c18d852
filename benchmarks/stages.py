"""Where the CPU of a row goes: each stage of its way alone, in microseconds a row.

    python benchmarks/stages.py                 # 20,000 rows, three rounds: lowest, middle, highest
    python benchmarks/stages.py --rows 5000 --rounds 1

CPU is user + system of this process with all its threads; the simulated server of the HTTP stage is another process.
The stages run one after the other over batches of rows, as the engine takes them. `engine` is a run with a task and
a provider that do nothing: feed, dispatcher, gate, ledger. The sum is what a row needs when nothing is shared; what a
whole run needs beside the bare loop, `throughput.py` says.
"""

import argparse
import asyncio
import hashlib
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).parent))

from corpus import write_psyqa
from measuring import pin, simulator

from smile_async.dialogue_task import dialogue_task
from smile_async.engine.job import Failure, Reply, Request
from smile_async.engine.run import run
from smile_async.engine.task import Accepted, Task
from smile_async.prompt.recipe import load_recipe
from smile_async.provider.headers import server_pace
from smile_async.provider.reply import read_reply
from smile_async.provider.transport import HttpAnswer, Transport
from smile_async.rows import Seed, opened, seeds
from smile_async.run_folder import write_results
from smile_async.settings import Intake, Limits

BATCH = 256  # rows
HEADERS = {"content-type": "application/json", "accept": "application/json"}


@dataclass(slots=True)
class Stopwatch:
    """CPU seconds of this process by stage."""

    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent[name] += time.process_time() - began


class Instant:
    """A provider that answers at once, always the same."""

    identity: Mapping[str, Any] = {"model": "m"}

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def ask(self, request: Request) -> Reply | Failure:
        return self._reply

    async def aclose(self) -> None:
        """Holds nothing."""


async def row_by_row(source: Path, base_url: str, watch: Stopwatch) -> tuple[list[bytes], Reply, bytes]:
    """Every stage from the source to the value. Returns the rows as bytes, and one reply and value for the engine."""
    recipe = load_recipe("smile")
    task, items, reply, value = dialogue_task(recipe), [], Reply(""), b""
    opening = opened(source, Intake())
    with watch.stage("source: read, parse"):
        for _ in opening or ():
            pass
    rows = seeds(opening, recipe, Intake())
    transport = Transport()
    url = f"{base_url}/chat/completions"
    while True:
        with watch.stage("source: read, parse, clean, cut"):
            batch = [row for row in islice(rows, BATCH) if isinstance(row, Seed)]
        if not batch:
            break
        with watch.stage("item as bytes, row id"):
            data = [task.dump_item(row) for row in batch]
            for each in data:
                hashlib.blake2b(each, digest_size=16, key=b"k" * 32).hexdigest()
        with watch.stage("prompt"):
            requests = [task.render(row) for row in batch]
        with watch.stage("request body"):
            bodies = [orjson.dumps({"model": "m", "messages": each.messages}) for each in requests]
        with watch.stage("HTTP, loopback, 256 at once"):
            answers = await asyncio.gather(*(transport.post(url, HEADERS, body) for body in bodies))
        replies = _replies(answers, watch)
        with watch.stage("parser and rules"):
            verdicts = [task.accept(row, reply) for row, reply in zip(batch, replies, strict=True)]
        values = [verdict.value for verdict in verdicts if isinstance(verdict, Accepted)]
        with watch.stage("value as bytes"):
            dumped = [task.dump_value(value) for value in values]
        items += data
        reply, value = replies[0], dumped[0]
    await transport.aclose()
    return items, reply, value


def _replies(answers: list[HttpAnswer | Failure], watch: Stopwatch) -> list[Reply]:
    whole = [answer for answer in answers if isinstance(answer, HttpAnswer)]
    assert len(whole) == len(answers), [answer for answer in answers if isinstance(answer, Failure)][:1]
    with watch.stage("limit headers"):
        for answer in whole:
            server_pace(answer.headers, 0.0)
    with watch.stage("reply body"):
        replies = [read_reply(answer.body, answer.headers, 0.0, None, "host") for answer in whole]
    return [reply for reply in replies if isinstance(reply, Reply)]


async def engine(items: list[bytes], reply: Reply, value: bytes, folder: Path, watch: Stopwatch) -> None:
    """The engine with its ledger, and the results as files."""
    request, verdict = Request(()), Accepted(value)
    task: Task[bytes, bytes] = Task(
        name="bytes",
        render=lambda _item: request,
        accept=lambda _item, _reply: verdict,
        dump_item=lambda item: item,
        load_item=lambda data: data,
        dump_value=lambda value: value,
    )
    with watch.stage("engine, ledger"):
        report = await run(task, items, folder, provider=Instant(reply), limits=Limits(concurrency=512))
    assert report.counts.accepted == len(items), report
    with watch.stage("results as a file"):
        write_results(folder)


def measure(source: Path, base_url: str, rows: int) -> dict[str, float]:
    """Microseconds a row by stage."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        items, reply, value = asyncio.run(row_by_row(source, base_url, watch))
        assert len(items) == rows, f"{len(items)} rows of {rows} came through"
        asyncio.run(engine(items, reply, value, Path(folder) / "run", watch))
    found = {name: seconds / rows * 1e6 for name, seconds in watch.spent.items()}
    found["source: clean, cut"] = found.pop("source: read, parse, clean, cut") - found["source: read, parse"]
    return found


def show(rounds: list[dict[str, float]]) -> None:
    print(f"{'microseconds a row':32}{'lowest':>9}{'middle':>9}{'highest':>9}")
    order = ["source: read, parse", "source: clean, cut"]
    for name in [*order, *(name for name in rounds[0] if name not in order)]:
        _line(name, [found[name] for found in rounds])
    _line("sum", [sum(found.values()) for found in rounds])


def _line(name: str, figures: list[float]) -> None:
    print(f"{name:32}{min(figures):9.1f}{statistics.median(figures):9.1f}{max(figures):9.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, simulator() as server:
        if keep := pin(0):  # the server has the last core
            keep()
        source = Path(folder) / "psyqa.json"
        write_psyqa(source, arguments.rows)
        show([measure(source, server.base_url, arguments.rows) for _ in range(arguments.rounds)])


if __name__ == "__main__":
    main()
