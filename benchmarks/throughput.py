"""What a row costs: the whole path (source, prompt, gate, HTTP, parser, rules, ledger) beside a bare loop.

    python benchmarks/throughput.py                       # 55,165 rows, 512 in flight, 200 ms server, three rounds
    python benchmarks/throughput.py --rows 20000 --in-flight 64 512 4000
    python benchmarks/throughput.py --rows 10000 55165    # what a further row costs in memory
    python benchmarks/throughput.py --uvloop              # both on uvloop

The floor is the least a script can do: aiohttp and orjson, send, append a JSON line; no limits, no checks, no ledger,
no resume. Both ask the same simulated server, which runs in a process of its own on the other core, in turn: floor,
smile, floor, smile. CPU is user + system of the whole client process, start-up included, with all its threads. `server`
is how busy the server's core was: near 100 % the rate is the server's, not the client's. Compare ratios of one run: a
shared machine is noisy.
"""

import argparse
import asyncio
import itertools
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from corpus import write_psyqa
from measuring import Server, measured, raise_open_files, simulator, spread, today, used

Results = dict[str, list[dict[str, float]]]
COLUMNS = "{:>8} {:>9}  {:6} {:>22} {:>24} {:>16} {:>8}"


async def floor(source: Path, out: Path, base_url: str, in_flight: int) -> int:
    """Send, parse the JSON, append a line. Reads its input with one `orjson.loads`, the cheapest way there is."""
    import aiohttp
    import orjson

    raise_open_files()
    rows = iter(orjson.loads(source.read_bytes()))
    done = 0
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector) as session:
        with (out / "floor.jsonl").open("wb") as file:

            async def work() -> None:
                nonlocal done
                for row in rows:
                    text = f"{row['question']}{row['description']}\n{row['answers'][0]['answer_text']}"
                    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
                    headers = {"content-type": "application/json"}
                    async with session.post(f"{base_url}/chat/completions", data=body, headers=headers) as answer:
                        reply = orjson.loads(await answer.read())
                    line = {"id": row["questionID"], "text": reply["choices"][0]["message"]["content"]}
                    file.write(orjson.dumps(line) + b"\n")
                    file.flush()
                    done += 1

            await asyncio.gather(*(work() for _ in range(in_flight)))
    return done


async def smile(source: Path, out: Path, base_url: str, in_flight: int) -> int:
    from smile_async import Endpoint, Limits, Options, generate_corpus

    report = await generate_corpus(
        source,
        out / "run",
        provider=Endpoint(base_url=base_url, model="m", api_key_env=""),
        options=Options(limits=Limits(concurrency=in_flight)),
    )
    assert report.counts.pending == 0, report
    return report.counts.accepted + report.counts.set_aside


def child(arguments: argparse.Namespace) -> None:
    """Run one contender here and print what it used."""
    contender = {"floor": floor, "smile": smile}[arguments.child]
    with tempfile.TemporaryDirectory() as folder:
        main = contender(arguments.source, Path(folder), arguments.base_url, arguments.in_flight[0])
        started = time.monotonic()
        if arguments.uvloop:
            import uvloop

            rows = uvloop.run(main)
        else:
            rows = asyncio.run(main)
        print(json.dumps({"rows": rows, "wall_s": time.monotonic() - started, **used()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[55_165])
    parser.add_argument("--in-flight", type=int, nargs="+", default=[512], help="requests")
    parser.add_argument("--latency", type=float, default=0.2, help="of the server, in seconds")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run, in turn")
    parser.add_argument("--uvloop", action="store_true", help="both on uvloop")
    parser.add_argument("--child", choices=["floor", "smile"], help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    loop = "uvloop" if arguments.uvloop else "asyncio"
    print(f"{today()}, Python {platform.python_version()}, {loop}, {arguments.latency * 1000:.0f} ms server;")
    print(f"median (lowest-highest) of {arguments.rounds} rounds in turn")
    print(COLUMNS.format("rows", "in flight", "", "rows/s", "CPU ms a row", "peak MB", "server"))
    cells: dict[tuple[int, int], Results] = {}
    with tempfile.TemporaryDirectory() as folder, simulator("--latency", f"base={arguments.latency}") as server:
        for rows, in_flight in itertools.product(arguments.rows, arguments.in_flight):
            source = Path(folder) / f"psyqa-{rows}.json"
            write_psyqa(source, rows)
            cells[rows, in_flight] = found = compare(arguments, source, server, rows, in_flight)
            show(rows, in_flight, found)
    show_memory(cells)


def compare(arguments: argparse.Namespace, source: Path, server: Server, rows: int, in_flight: int) -> Results:
    """Every round runs the floor and then smile, each in a fresh process."""
    found: Results = {"floor": [], "smile": []}
    for _ in range(arguments.rounds):
        for name, results in found.items():
            server.reset()
            began, busy = time.monotonic(), server.cpu_s()
            flags = ["--uvloop"] if arguments.uvloop else []
            result = measured(
                "throughput.py", "--child", name, "--source", str(source), "--base-url", server.base_url,
                "--in-flight", str(in_flight), *flags,
            )  # fmt: skip
            busy = (server.cpu_s() - busy) / (time.monotonic() - began)
            assert result["rows"] == rows <= server.stats()["requests"], "a row was lost"
            results.append(as_result(result, rows, busy))
    return found


def as_result(result: dict[str, Any], rows: int, busy: float) -> dict[str, float]:
    rate, cost = rows / result["wall_s"], result["cpu_s"] / rows * 1000
    return {"rate": rate, "cpu_ms": cost, "peak_mb": result["peak_mb"], "server": busy}


def show(rows: int, in_flight: int, found: Results) -> None:
    for name, results in found.items():
        rate, cost, peak = (spread([result[key] for result in results], digits) for key, digits in
                            (("rate", 0), ("cpu_ms", 3), ("peak_mb", 0)))  # fmt: skip
        busy = f"{max(result['server'] for result in results):.0%}"
        print(COLUMNS.format(f"{rows:,}", f"{in_flight:,}", name, rate, cost, peak, busy))
    ratios = [ours["cpu_ms"] / bare["cpu_ms"] for ours, bare in zip(found["smile"], found["floor"], strict=True)]
    print(f"{'':18}  CPU, smile / floor: {spread(ratios)}", flush=True)


def show_memory(cells: dict[tuple[int, int], Results]) -> None:
    """Slopes of the peak between the smallest and the largest cell: a request in flight, a row."""
    few, many = min(cells), max(cells)
    peaks = {cell: {name: max(r["peak_mb"] for r in found[name]) for name in found} for cell, found in cells.items()}
    for name in ("floor", "smile"):
        if few[1] < many[1]:
            kb = (peaks[many[0], many[1]][name] - peaks[many[0], few[1]][name]) * 1024 / (many[1] - few[1])
            print(f"{name}: {kb:.0f} KB a request in flight, from {few[1]:,} to {many[1]:,} in flight")
        if few[0] < many[0]:
            mb = (peaks[many[0], few[1]][name] - peaks[few[0], few[1]][name]) * 10_000 / (many[0] - few[0])
            print(f"{name}: {mb:.1f} MB for each further 10,000 rows, from {few[0]:,} to {many[0]:,} rows")


if __name__ == "__main__":
    main()
