"""Toxiproxy between `smile generate` and the simulator, one toxic after another; is a row lost, or one paid for unseen?

    python benchmarks/peers/toxiproxy.py --server ./toxiproxy-server             # three minutes
    python benchmarks/peers/toxiproxy.py --server ./toxiproxy-server --only limit_data

simulator <- toxiproxy <- smile generate, each in a process of its own, on the loopback. Checked: every row ends;
attempts = replies + failures; what the simulator served and never arrived is counted as perhaps billed; the tokens of
the ledger are those of the replies that arrived. Exit code 1 where a sum is off.

The binary is in the releases of github.com/Shopify/toxiproxy, or built from its source (`go build ./cmd/server`).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from corpus import write_psyqa
from litellm_proxy import free_port
from measuring import simulator, today

CONFIG = """\
[timeouts]
connect = 2.0
read = 2.0
total = 8.0
[retry]
first_wait = 0.1
max_wait = 1.0
"""


@dataclass(frozen=True)
class Toxic:
    """`share` of the connections that it meets; toxiproxy draws for each. `meanwhile` is done while the run goes on."""

    kind: str
    attributes: dict[str, int] = field(default_factory=dict)
    stream: str = "downstream"
    share: float = 1.0
    meanwhile: "Callable[[Proxy], None] | None" = None

    @property
    def words(self) -> str:
        told = [f"{name}={value}" for name, value in self.attributes.items()]
        told += ["upstream"] * (self.stream == "upstream") + [f"on {self.share:.0%}"] * (self.share < 1)
        return " ".join([self.kind, *told])


def goes_and_comes(proxy: "Proxy") -> None:
    """Down for a second, three times: connections are cut and nobody listens."""
    for _ in range(3):
        time.sleep(1.0)
        proxy.tell("", {"enabled": False})
        time.sleep(1.0)
        proxy.tell("", {"enabled": True})


TOXICS = (
    Toxic("latency", {"latency": 300, "jitter": 200}),
    Toxic("bandwidth", {"rate": 1}),
    Toxic("bandwidth", {"rate": 4}, "upstream"),
    Toxic("slow_close", {"delay": 1000}),
    Toxic("timeout", {"timeout": 500}, share=0.3),
    Toxic("timeout", {"timeout": 0}, share=0.2),
    Toxic("reset_peer", {"timeout": 400}, share=0.3),
    Toxic("reset_peer", {"timeout": 400}, "upstream", share=0.3),
    Toxic("slicer", {"average_size": 40, "size_variation": 30, "delay": 200}),
    Toxic("limit_data", {"bytes": 20_000}),
    Toxic("limit_data", {"bytes": 20_000}, "upstream"),
    Toxic("down", meanwhile=goes_and_comes),
)


@dataclass(frozen=True)
class Proxy:
    """The one proxy of a toxiproxy-server, steered over HTTP."""

    api: str
    port: int

    def tell(self, path: str, what: dict[str, Any], method: str = "POST") -> None:
        self.call(f"/proxies/simulator{path}", what, method)

    def call(self, path: str, what: dict[str, Any] | None, method: str) -> None:
        data = json.dumps(what).encode() if what is not None else None
        with urlopen(Request(self.api + path, data, method=method, headers={"content-type": "application/json"})):
            pass


@contextmanager
def toxiproxy(binary: Path, upstream: str) -> Iterator[Proxy]:
    """In front of `upstream`, a host and port."""
    api, port = free_port(), free_port()
    process = subprocess.Popen([binary, "-port", str(api)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    proxy = Proxy(f"http://127.0.0.1:{api}", port)
    try:
        for _ in range(100):
            with suppress(OSError):
                proxy.call("/version", None, "GET")
                break
            time.sleep(0.05)
        proxy.call("/proxies", {"name": "simulator", "listen": f"127.0.0.1:{port}", "upstream": upstream}, "POST")
        yield proxy
    finally:
        process.terminate()
        process.wait(10)


def generate(source: Path, folder: Path, port: int) -> dict[str, Any]:
    smile = [sys.executable, "-m", "smile_async.cli"]
    (folder / "smile.toml").write_text(CONFIG)
    where = ["--base-url", f"http://127.0.0.1:{port}/v1", "--model", "m", "--config", str(folder / "smile.toml")]
    run = folder / "run"
    command = [*smile, "generate", str(source), str(run), *where, "--concurrency", "16", "--quiet"]
    environment = {**os.environ, "OPENAI_API_KEY": "none"}
    with (folder / "generate.log").open("wb") as log:
        done = subprocess.run(command, check=False, env=environment, timeout=600, stdout=log, stderr=log)
    status = subprocess.run([*smile, "status", str(run), "--json"], check=True, stdout=subprocess.PIPE, text=True)
    return {"exit": done.returncode, **json.loads(status.stdout)}


def compare(status: dict[str, Any], counted: dict[str, Any], rows: int) -> list[str]:
    """The sums that are off."""
    ended, replies, served = status["rows"], status["replies"], counted["served"]
    lost = served["completions"] - replies
    checks = {
        "every row ended": ended["accepted"] + ended["set_aside"] == rows and ended["pending"] == 0,
        "attempts = replies + failures": status["attempts"] == replies + sum(status["failures"].values()),
        "no reply that was not served": lost >= 0,
        "what was lost is perhaps billed": lost <= status["perhaps_billed"],
        "no more requests than attempts": counted["requests"] <= status["attempts"],
        "tokens of the replies": (status["tokens"]["completion"] == served["completion_tokens"]) or lost > 0,
    }
    return [name for name, holds in checks.items() if not holds]


def trial(toxic: Toxic, binary: Path, rows: int) -> list[str]:
    with tempfile.TemporaryDirectory() as name, simulator("--latency", "base=0.05") as server:
        folder, source = Path(name), Path(name) / "psyqa.json"
        write_psyqa(source, rows)
        upstream = server.base_url.removeprefix("http://").removesuffix("/v1")
        with toxiproxy(binary, upstream) as proxy:
            if toxic.meanwhile:
                threading.Thread(target=toxic.meanwhile, args=(proxy,), daemon=True).start()
            else:
                told = {"type": toxic.kind, "stream": toxic.stream, "toxicity": toxic.share}
                proxy.tell("/toxics", {**told, "attributes": toxic.attributes})
            began = time.monotonic()
            status = generate(source, folder, proxy.port)
        off = compare(status, counted := server.stats(), rows)
        failures = ", ".join(f"{kind} {count}" for kind, count in status["failures"].items()) or "none"
        print(
            f"| {toxic.words} | {status['rows']['accepted']} + {status['rows']['set_aside']} | {status['attempts']} | "
            f"{failures} | {counted['served']['completions']} | {status['perhaps_billed']} | "
            f"{time.monotonic() - began:.0f} | {'; '.join(off) or 'agree'} |",
            flush=True,
        )
        if off:
            print(status, counted, (folder / "generate.log").read_text("utf-8", "replace")[-1500:], file=sys.stderr)
        return off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=Path, required=True, help="the binary toxiproxy-server")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--only", default="", help="the toxics whose name begins so")
    arguments = parser.parse_args()
    binary = arguments.server.resolve()
    version = subprocess.run([binary, "-version"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"{today()}, {version}, {arguments.rows} rows each\n")
    print("| toxic | accepted + set aside | attempts | failures | served | perhaps billed | seconds | sums |")
    print("|---|---|---|---|---|---|---|---|")
    chosen = [toxic for toxic in TOXICS if toxic.kind.startswith(arguments.only)]
    raise SystemExit(1 if [off for toxic in chosen if (off := trial(toxic, binary, arguments.rows))] else 0)


if __name__ == "__main__":
    main()
