"""What a row costs: the whole path (source, prompt, gate, HTTP, parser, rules, ledger) beside a bare loop.

    python benchmarks/throughput.py                       # 55,165 rows, 512 in flight, 200 ms server
    python benchmarks/throughput.py --rows 10000 --rounds 3

The floor is the least a script can do: aiohttp and orjson, send, append a JSON line; no limits, no checks, no ledger,
no resume. Both ask the same simulated server, which runs in a process of its own on the other core, in turn. CPU is
user + system of the client process with all its threads. Compare ratios of one run: a shared machine is noisy.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from corpus import write_psyqa
from measuring import measured, simulator, stats, used


async def floor(source: Path, out: Path, base_url: str, in_flight: int) -> int:
    """Send, parse the JSON, append a line. Reads its input with one `orjson.loads`, the cheapest way there is."""
    import aiohttp
    import orjson

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
        main = contender(arguments.source, Path(folder), arguments.base_url, arguments.in_flight)
        started = time.monotonic()
        if arguments.uvloop:
            import uvloop

            rows = uvloop.run(main)
        else:
            rows = asyncio.run(main)
        print(json.dumps({"rows": rows, "wall_s": time.monotonic() - started, **used()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=55_165)
    parser.add_argument("--in-flight", type=int, default=512)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--uvloop", action="store_true", help="both on uvloop")
    parser.add_argument("--child", choices=["floor", "smile"], help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--base-url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    with tempfile.TemporaryDirectory() as folder, simulator("--latency", f"base={arguments.latency}") as base_url:
        source = Path(folder) / "psyqa.json"
        write_psyqa(source, arguments.rows)
        compare(arguments, source, base_url)


def compare(arguments: argparse.Namespace, source: Path, base_url: str) -> None:
    print(f"{arguments.rows:,} rows, {arguments.in_flight} in flight, {arguments.latency * 1000:.0f} ms server")
    print(f"{'':8}{'rows/s':>10}{'CPU ms a row':>14}{'peak MB':>10}")
    found: dict[str, list[dict[str, Any]]] = {"floor": [], "smile": []}
    for _ in range(arguments.rounds):
        for name, results in found.items():
            asked = stats(base_url)["requests"]
            flags = ["--uvloop"] if arguments.uvloop else []
            result = measured(
                "throughput.py", "--child", name, "--source", str(source), "--base-url", base_url,
                "--in-flight", str(arguments.in_flight), *flags,
            )  # fmt: skip
            assert result["rows"] == arguments.rows <= stats(base_url)["requests"] - asked
            results.append(result)
            cpu = result["cpu_s"] / arguments.rows * 1000
            rate = arguments.rows / result["wall_s"]
            print(f"{name:8}{rate:10,.0f}{cpu:14.3f}{result['peak_mb']:10.0f}", flush=True)
    ratios = [ours["cpu_s"] / bare["cpu_s"] for ours, bare in zip(found["smile"], found["floor"], strict=True)]
    spread = f" ({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds)" if len(ratios) > 1 else ""
    print(f"CPU, smile / floor: {statistics.median(ratios):.2f}{spread}")


if __name__ == "__main__":
    main()
