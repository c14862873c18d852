"""How much of a quota is used, and how often the server refuses: against a strict server with sliding windows.

    python benchmarks/limits.py                        # 600 requests and 300,000 tokens a minute, three minutes
    python benchmarks/limits.py --requests 600 --tokens 300000 --minutes 3 --kind bucket

The simulated server refuses whatever goes above its limits in any 60 seconds and counts what it admitted. What it would
have admitted at most is minutes x limit (kind sliding), of the limit that binds: an answer costs about as many tokens
as the source row is long, so `--characters` moves what binds.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from corpus import write_psyqa
from measuring import simulator, stats

from smile_async import Endpoint, Limits, Options, StopSwitch, generate_corpus


async def run_for(seconds: float, source: Path, folder: Path, base_url: str, arguments: argparse.Namespace) -> None:
    """Ask for so long, from the first request on, then stop at once."""
    stop = StopSwitch()
    asyncio.get_running_loop().call_later(seconds, stop.abort)
    await generate_corpus(
        source,
        folder / "run",
        provider=Endpoint(base_url=base_url, model="m", api_key_env=""),
        options=Options(
            limits=Limits(
                requests_per_minute=arguments.requests,
                tokens_per_minute=arguments.tokens,
                concurrency=arguments.in_flight,
            )
        ),
        stop=stop,
    )


def report(counted: dict[str, Any], arguments: argparse.Namespace) -> None:
    refused = counted["by_status"].get("429", 0)
    admitted, tokens = counted["admitted"], sum(minute["tokens"] for minute in counted["per_minute"])
    shares = {
        "requests": admitted / (arguments.requests * arguments.minutes),
        "tokens": tokens / (arguments.tokens * arguments.minutes),
    }
    print(f"admitted {admitted:,} requests, {tokens:,} tokens in {arguments.minutes} minutes; refused (429): {refused}")
    for name, share in shares.items():
        print(f"  {share:7.1%} of the {name} allowed")
    binding = max(shares, key=lambda name: shares[name])
    print(f"share of what was allowed, by the limit that binds ({binding}): {shares[binding]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=600, help="a minute")
    parser.add_argument("--tokens", type=int, default=300_000, help="a minute, prompt and answer together")
    parser.add_argument("--minutes", type=int, default=3)
    parser.add_argument("--kind", choices=["sliding", "bucket"], default="sliding")
    parser.add_argument("--latency", type=float, default=1.0, help="seconds")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--characters", type=int, default=600, help="of a source row")
    arguments = parser.parse_args()
    flags = [
        "--latency", f"base={arguments.latency}", "--limit", f"requests={arguments.requests}",
        "--limit", f"tokens={arguments.tokens}", "--limit", f"kind={arguments.kind}",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, simulator(*flags) as base_url:
        source = Path(folder) / "psyqa.json"
        write_psyqa(source, arguments.requests * (arguments.minutes + 2), characters=arguments.characters)
        asyncio.run(run_for(arguments.minutes * 60, source, Path(folder), base_url, arguments))
        report(stats(base_url), arguments)


if __name__ == "__main__":
    main()
