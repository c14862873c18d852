"""What the benchmarks share: the simulated server as a process of its own, and a client process that is measured."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@dataclass(frozen=True)
class Server:
    """The simulated endpoint: `base_url` with `/v1`, and its process."""

    base_url: str
    pid: int

    def stats(self, *, per_prompt: bool = False) -> dict[str, Any]:
        """What the server counted since it started or was last reset."""
        return self._ask("/stats?per_prompt=1" if per_prompt else "/stats")

    def reset(self) -> None:
        """Start the counts anew (limits keep what they hold)."""
        self._ask("/stats/reset", method="POST")

    def cpu_s(self) -> float:
        """CPU seconds that the server used so far; nan where the system does not tell (no /proc)."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ask(self, path: str, *, method: str = "GET") -> dict[str, Any]:
        with urlopen(Request(self.base_url.removesuffix("/v1") + path, method=method)) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@contextmanager
def simulator(*flags: str) -> Iterator[Server]:
    """`smile simulate` on a free port. On the last core, where there are two."""
    command = [sys.executable, "-m", "smile_async.cli", "simulate", "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=pin(-1)) as process:  # noqa: PLW1509
        assert process.stdout is not None
        try:
            yield Server(process.stdout.readline().split()[-1], process.pid)
        finally:
            process.terminate()


def pin(index: int) -> Any:
    """A function that keeps a process on one core, so that server and client do not take turns on the same one."""
    if len(CORES) < 2:
        return None
    return lambda: os.sched_setaffinity(0, {CORES[index]})


def measured(script: str, *arguments: str, pinned: bool = True) -> dict[str, Any]:
    """Run `script` (of this folder) in a fresh process; its last line is a JSON object, which is returned."""
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=pin(0) if pinned else None)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def used() -> dict[str, float]:
    """CPU seconds (user and system, all threads) and peak memory in MB of this process so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": own.ru_utime + own.ru_stime, "peak_mb": own.ru_maxrss / 1024}


def raise_open_files() -> None:
    """Each request in flight is an open file, and the soft limit is often 1,024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, with the lowest and the highest where there are several.

    >>> spread([1.0, 3.0, 2.0])
    '2.00 (1.00-3.00)'
    """
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def today() -> str:
    """The local date, for the head of a table."""
    return time.strftime("%Y-%m-%d")
