"""How long a user waits: the import, the help, `smile status`, and a resumed run until its first request.

    python benchmarks/start.py                  # 55,165 rows, half of them done
    python benchmarks/start.py --rows 10000 --rounds 3

Seconds from the start of the process, median of the rounds, lowest and highest in brackets: by the clock, and of CPU
(user and system, children included). One round before them warms the disk's cache. The resumed run is asked to go on
with a source of which the first half is done; a server of this script takes the time when its first request arrives,
and kills it then.
"""

import argparse
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from corpus import write_psyqa
from measuring import simulator, spread, today

SMILE = [sys.executable, "-m", "smile_async.cli"]
Took = tuple[float, float]
"""Seconds by the clock and of CPU."""


def whole(*command: str) -> Took:
    """Run to the end."""
    before, began = os.times(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began, cpu


def until_asked(listener: socket.socket, *command: str) -> Took:
    """Run until it has sent something to `listener`, then kill it."""
    before, began = os.times(), time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            connection, _ = listener.accept()
            connection.recv(1)
            took = time.monotonic() - began
        finally:
            process.send_signal(signal.SIGKILL)
        connection.close()
    after = os.times()
    return took, after.children_user + after.children_system - before.children_user - before.children_system


def half_done(folder: Path, rows: int) -> tuple[Path, Path]:
    """A source and a run in which the first half of it has been answered."""
    source, run = folder / "source.json", folder / "run"
    write_psyqa(source, rows)
    with simulator("--latency", "base=0.02") as server:
        told = ["--base-url", server.base_url, "--model", "m", "--concurrency", "512", "--limit", str(rows // 2)]
        subprocess.run([*SMILE, "generate", str(source), str(run), *told], check=True, capture_output=True)
    return source, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=55_165)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print(f"{today()}, Python {platform.python_version()}, {arguments.rows:,} rows, median of {arguments.rounds}")
    print(f"{'':32} {'seconds':>22} {'CPU seconds':>22}", flush=True)
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as listener:
        source, run = half_done(Path(name), arguments.rows)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        listener.settimeout(60)
        resume = [*SMILE, "generate", str(source), str(run), "--base-url", url, "--model", "m"]
        waits: dict[str, Callable[[], Took]] = {
            "python -c pass": lambda: whole(sys.executable, "-c", "pass"),
            "import smile_async": lambda: whole(sys.executable, "-c", "import smile_async"),
            "smile --help": lambda: whole(*SMILE, "--help"),
            "smile status RUN": lambda: whole(*SMILE, "status", str(run)),
            "resume, until its first request": lambda: until_asked(listener, *resume),
        }
        for what, took in waits.items():
            rounds = [took() for _ in range(arguments.rounds + 1)][1:]
            clock, cpu = (spread([one[part] for one in rounds]) for part in (0, 1))
            print(f"{what:32} {clock:>22} {cpu:>22}", flush=True)


if __name__ == "__main__":
    main()
