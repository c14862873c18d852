"""How much of a quota is used, and how often the server refuses: against a strict server, over many windows.

    python benchmarks/limits.py                     # 600 requests, 300,000 tokens a minute; ten windows of 6 s; 4 min
    python benchmarks/limits.py --window 60         # ten windows of a minute, 40 minutes
    python benchmarks/limits.py --kind bucket --headers no --windows 3 --window 60
    python benchmarks/limits.py --unknown           # the same servers, without headers, and nobody tells their limits
    python benchmarks/limits.py --unknown --kind none --max-concurrency 50    # a server that refuses by load alone

The simulated server refuses whatever goes above its limits and counts what it admitted. It enforces each window's share
of what is allowed a minute: of 600 requests a minute 60 in any 6 seconds. What it admits at most in the time measured,
from the first request on, is windows x a window's share (kind sliding), or a share more (kind bucket: it is full at
the start). The limit that binds counts: `--characters` of a source row move it. `--headers no` leaves rate headers out.

With `--unknown` the client is given no limit and the server names none. The first minute (of which the client learns)
stands beside what follows: `after` is the rate after it, as a share of what the server can do at best. A server's
`--max-concurrency` answers 503 above so many in flight; its best is that many by its latency.
"""

import argparse
import asyncio
import itertools
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from corpus import write_psyqa
from measuring import Server, simulator, today

from smile_async import Endpoint, Limits, Options, StopSwitch, generate_corpus

MINUTE = 60.0  # seconds
ROOM = 2  # times what the server admits: rows that the source holds, so that it never runs dry
REFUSED = {"429", "503"}


@dataclass(frozen=True)
class Cell:
    """One server to be measured: `kind` sliding, bucket or none; amounts are per minute, `window` in seconds."""

    kind: str
    headers: bool
    requests: int
    tokens: int
    window: float
    windows: int
    latency: float
    max_concurrency: int | None = None

    @property
    def seconds(self) -> float:
        return self.window * self.windows

    @property
    def shares(self) -> float:
        """How many windows' shares the server can admit in the time measured."""
        return self.windows + (1 if self.kind == "bucket" else 0)

    def flags(self) -> list[str]:
        """What `smile simulate` is told."""
        flags = ["--latency", f"base={self.latency}"]
        if self.max_concurrency:
            flags += ["--max-concurrency", str(self.max_concurrency)]
        if self.kind == "none":
            return flags
        share = self.window / MINUTE
        limits = {
            "requests": round(self.requests * share),
            "tokens": round(self.tokens * share),
            "window": self.window,
            "kind": self.kind,
            "headers": self.headers,
        }
        return flags + [word for name, value in limits.items() for word in ("--limit", f"{name}={value}")]

    def best_rate(self) -> dict[str, float]:
        """The most a minute, by what bounds it; a bucket's full start is left out."""
        rates: dict[str, float] = {}
        if self.kind != "none":
            rates = {"requests": self.requests, "tokens": self.tokens}
        if self.max_concurrency:
            rates["requests"] = min(rates.get("requests", 1e9), self.max_concurrency * MINUTE / self.latency)
        return rates


@dataclass(frozen=True)
class Reading:
    """What the server had counted `at` seconds after its first request."""

    at: float
    requests: int = 0
    refused: int = 0
    amounts: dict[str, float] = field(default_factory=dict)


def read(counted: dict[str, Any], now: float) -> Reading:
    amounts = {"requests": counted["admitted"], "tokens": sum(minute["tokens"] for minute in counted["per_minute"])}
    refused = sum(n for status, n in counted["by_status"].items() if status in REFUSED)
    return Reading(now - counted["first"], counted["requests"], refused, amounts)


async def watch(server: Server, seconds: float, stop: StopSwitch, into: list[Reading]) -> None:
    """Readings each second from the server's first request on; stops the run after so many seconds."""
    loop = asyncio.get_running_loop()
    while (counted := await asyncio.to_thread(server.stats))["first"] is None:
        await asyncio.sleep(0.05)
    end = counted["first"] + seconds
    while (now := loop.time()) < end:
        into.append(read(await asyncio.to_thread(server.stats), now))
        await asyncio.sleep(min(1.0, max(0.0, end - loop.time())))
    stop.abort()


async def run_cell(cell: Cell, server: Server, source: Path, folder: Path, limits: Limits) -> list[Reading]:
    """Ask for the cell's time, from the first request on, then stop at once. The last reading is the final one."""
    stop = StopSwitch()
    readings: list[Reading] = []
    watching = asyncio.create_task(watch(server, cell.seconds, stop, readings))
    report = await generate_corpus(
        source,
        folder / "run",
        provider=Endpoint(base_url=server.base_url, model="m", api_key_env=""),
        options=Options(limits=limits),
        stop=stop,
    )
    counted = await asyncio.to_thread(server.stats)
    seconds = cell.seconds
    if not watching.done():
        watching.cancel()
        seconds = asyncio.get_running_loop().time() - counted["first"]
        why = report.message or f"set aside: {dict(report.counts.reasons)}"
        print(f"the run ended by itself after {seconds:.0f} of {cell.seconds:.0f} s ({report.state}; {why}):")
    return [*readings, read(counted, counted["first"] + seconds)]


def measure(cell: Cell, arguments: argparse.Namespace) -> list[Reading]:
    known = Limits(
        requests_per_minute=cell.requests,
        tokens_per_minute=cell.tokens,
        window=cell.window,
        concurrency=arguments.in_flight,
    )
    limits = Limits(concurrency=arguments.in_flight) if arguments.unknown else known
    rate = cell.best_rate()["requests"]
    rows = int(ROOM * rate * (cell.seconds + cell.window) / MINUTE)
    with tempfile.TemporaryDirectory() as folder, simulator(*cell.flags()) as server:
        source = Path(folder) / "psyqa.json"
        write_psyqa(source, rows, characters=arguments.characters)
        return asyncio.run(run_cell(cell, server, source, Path(folder), limits))


def show_known(cell: Cell, readings: list[Reading]) -> None:
    last = readings[-1]
    share = cell.window / MINUTE
    shares = {name: last.amounts[name] / (rate * share * cell.shares) for name, rate in cell.best_rate().items()}
    binding = max(shares, key=lambda name: shares[name])
    print(
        f"{cell.kind:8} {'yes' if cell.headers else 'no':8} {last.amounts['requests']:9,.0f} "
        f"{last.amounts['tokens']:11,.0f} {last.refused:8,} {shares[binding]:7.1%}  {binding}",
        flush=True,
    )


def show_unknown(cell: Cell, readings: list[Reading]) -> None:
    """The first minute, the rate after it beside the best there can be, and what was refused."""
    best = cell.best_rate()
    first = max((r for r in readings if r.at <= MINUTE), key=lambda r: r.at)
    last = readings[-1]
    minutes = max(last.at - first.at, 1e-9) / MINUTE
    after = {name: (last.amounts[name] - first.amounts[name]) / minutes for name in best}
    binding = max(best, key=lambda name: after[name] / best[name])
    refused_after = (last.refused - first.refused) / max(1, last.requests - first.requests)
    print(
        f"{cell.kind:8} {first.amounts[binding]:12,.0f} {after[binding]:12,.0f} {best[binding]:12,.0f} "
        f"{after[binding] / best[binding]:7.1%} {last.refused / last.requests:8.1%} {refused_after:8.1%}  {binding}",
        flush=True,
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=600, help="a minute")
    parser.add_argument("--tokens", type=int, default=300_000, help="a minute, prompt and answer together")
    parser.add_argument("--windows", type=int, default=10, help="how many windows are measured")
    parser.add_argument("--window", type=float, default=6.0, help="seconds; with --unknown the default is 60")
    parser.add_argument("--kind", nargs="+", choices=["sliding", "bucket", "none"], default=["sliding", "bucket"])
    parser.add_argument("--headers", nargs="+", choices=["yes", "no"], default=["yes", "no"])
    parser.add_argument("--unknown", action="store_true", help="tell the client no limit, and send no headers")
    parser.add_argument("--max-concurrency", type=int, help="503 above so many in flight")
    parser.add_argument("--latency", type=float, default=1.0, help="seconds")
    parser.add_argument("--in-flight", type=int, default=None, help="the client's bound; it finds its own otherwise")
    parser.add_argument("--characters", type=int, default=600, help="of a source row")
    parser.set_defaults(window=None)
    arguments = parser.parse_args()
    if arguments.unknown:
        arguments.headers = ["no"]
    elif "none" in arguments.kind:
        parser.error("--kind none has no limits to keep: add --unknown")
    if "none" in arguments.kind and not arguments.max_concurrency:
        parser.error("--kind none bounds nothing: add --max-concurrency")
    arguments.window = arguments.window or (MINUTE if arguments.unknown else 6.0)
    if arguments.unknown and arguments.window * arguments.windows <= MINUTE:
        parser.error("--unknown compares with the first minute: measure longer than that (--windows, --window)")
    return arguments


def main() -> None:
    arguments = parsed()
    print(
        f"{today()}, {arguments.requests:,} requests and {arguments.tokens:,} tokens a minute, "
        f"{arguments.windows} windows of {arguments.window:g} s"
    )
    if arguments.unknown:
        print("limits that nobody tells; amounts a minute, of what binds")
        print("kind     first minute        after   at its best   after  refused    after  binding")
    else:
        print("kind     headers   admitted      tokens  refused   share  of what was allowed, binding")
    for kind, headers in itertools.product(arguments.kind, arguments.headers):
        cell = Cell(
            kind, headers == "yes", arguments.requests, arguments.tokens, arguments.window, arguments.windows,
            arguments.latency, arguments.max_concurrency,
        )  # fmt: skip
        (show_unknown if arguments.unknown else show_known)(cell, measure(cell, arguments))


if __name__ == "__main__":
    main()
