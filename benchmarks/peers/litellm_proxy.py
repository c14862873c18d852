"""A litellm proxy as the endpoint: `smile generate` through it, with limits and faults behind it; do the sums agree?

    python benchmarks/peers/litellm_proxy.py                    # 500 rows, 60 requests in any 10 s, faults; two minutes
    python benchmarks/peers/litellm_proxy.py --retries 2        # the proxy retries too, as its default is
    python benchmarks/peers/litellm_proxy.py --told             # smile is told the limits

simulator <- litellm --config (an environment of its own, made once) <- smile generate, each in a process of its own.
Checked: every row ends accepted or set aside; every completion that the simulator served whole is a reply in the
ledger, token for token, but those that the proxy dropped; the run's failures are what the proxy answered. Exit code 1
where a sum is off.
"""

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from corpus import write_psyqa
from environments import default_cache, python_of
from measuring import simulator, today
from work import HERE, QUIET

PACKAGES = ("litellm[proxy]==1.106.2",)
WINDOW = 10.0  # seconds over which the simulator enforces its limits
START = 120.0  # seconds that the proxy may take to start
FAULTS = ("rate-limited=0.03", "server-error=0.02", "bad-gateway=0.01", "reset=0.01", "truncated=0.01", "refusal=0.01")
KEY = f"sk-{secrets.token_hex(16)}"  # the proxy wants one; it lives as long as this process
CONFIG = """\
model_list:
  - model_name: m
    litellm_params:
      model: openai/m
      api_base: {base_url}
      api_key: none
router_settings:
  num_retries: {retries}
  disable_cooldowns: {uncooled}
litellm_settings:
  telemetry: false
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def proxy(python: Path, folder: Path, base_url: str, arguments: argparse.Namespace) -> Iterator[str]:
    """`litellm --config` in front of `base_url`; yields its own base URL."""
    port = free_port()
    config = folder / "config.yaml"
    uncooled = str(not arguments.cooldowns).lower()
    config.write_text(CONFIG.format(base_url=base_url, retries=arguments.retries, uncooled=uncooled))
    command = [str(python.with_name("litellm")), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    quiet = {
        "PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(HERE / "loopback"),
        "LITELLM_MASTER_KEY": KEY,
        **QUIET,
    }
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=quiet, cwd=folder)
    try:
        wait_for(f"http://127.0.0.1:{port}/health/liveliness", process, folder / "proxy.log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), urlopen(url) as answer:
            if answer.status == 200:
                return
        time.sleep(0.2)
    raise SystemExit(f"The proxy did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")


def generate(base_url: str, source: Path, run: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """`smile generate` as a user calls it; what `smile status --json` says of it afterwards."""
    smile = [sys.executable, "-m", "smile_async.cli"]
    told = ["--rpm", str(arguments.rpm), "--tpm", str(arguments.tpm)] if arguments.told else []
    command = [*smile, "generate", str(source), str(run), "--base-url", base_url, "--model", "m", "--quiet", *told]
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    done = subprocess.run(command, check=False, env=environment, timeout=arguments.timeout)
    print(f"smile generate: exit {done.returncode}")
    status = subprocess.run([*smile, "status", str(run), "--json"], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(status.stdout)
    return found


def compare(status: dict[str, Any], counted: dict[str, Any], rows: int, *, retried: bool) -> list[str]:
    """The sums that are off. A proxy that has `retried` hides what it lost."""
    ended, tokens, served = status["rows"], status["tokens"], counted["served"]
    replies, failures = status["replies"], sum(status["failures"].values())
    print(f"rows {rows}: accepted {ended['accepted']}, set aside {ended['set_aside']} {status['reasons']}")
    print(f"smile: {status['attempts']} attempts, {replies} replies, failures {status['failures']}")
    print(f"       {tokens['prompt']:,} + {tokens['completion']:,} tokens; {status['perhaps_billed']} perhaps billed")
    print(f"simulator: {counted['requests']} requests, {counted['by_status']}, resets {counted['resets']}")
    print(f"       {served['completions']} whole: {served['prompt_tokens']:,} + {served['completion_tokens']:,} tokens")
    unknown, lost = status["perhaps_billed"], counted["by_status"].get("502", 0) + counted["resets"]
    checks = {
        "every row ended": ended["accepted"] + ended["set_aside"] == rows and ended["pending"] == 0,
        "attempts = replies + failures": status["attempts"] == replies + failures,
        "replies = completions served": replies == served["completions"],
        "prompt tokens agree": tokens["prompt"] == served["prompt_tokens"],
        "completion tokens agree": tokens["completion"] == served["completion_tokens"],
        "perhaps billed are 502s and resets": unknown == lost or (retried and unknown < lost),
    }
    for name, holds in checks.items():
        print(f"  {'ok ' if holds else 'OFF'} {name}")
    return [name for name, holds in checks.items() if not holds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--rpm", type=int, default=360, help="requests a minute of the simulator")
    parser.add_argument("--tpm", type=int, default=600_000, help="tokens a minute of the simulator")
    parser.add_argument("--told", action="store_true", help="smile is told these limits")
    parser.add_argument("--retries", type=int, default=0, help="of the proxy")
    parser.add_argument("--cooldowns", action="store_true", help="the proxy rests its endpoint after failures")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds that the run may take")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of the environments")
    arguments = parser.parse_args()
    python = python_of(PACKAGES, arguments.cache)
    share = WINDOW / 60
    limits = {"requests": round(arguments.rpm * share), "tokens": round(arguments.tpm * share), "window": WINDOW}
    flags = ["--latency", "base=0.5", *(word for fault in FAULTS for word in ("--fault", fault))]
    flags += [word for name, value in limits.items() for word in ("--limit", f"{name}={value}")]
    print(f"{today()}, {PACKAGES[0]}")
    with tempfile.TemporaryDirectory() as name, simulator(*flags) as server:
        folder = Path(name)
        source = folder / "psyqa.json"
        write_psyqa(source, arguments.rows)
        with proxy(python, folder, server.base_url, arguments) as base_url:
            began = time.monotonic()
            status = generate(base_url, source, folder / "run", arguments)
            print(f"{time.monotonic() - began:.0f} s")
            off = compare(status, server.stats(), arguments.rows, retried=arguments.retries > 0)
    raise SystemExit(1 if off else 0)


if __name__ == "__main__":
    main()
