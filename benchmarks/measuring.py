"""What the benchmarks share: the simulated server as a process of its own, and a client process that is measured."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

HERE = Path(__file__).parent
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextmanager
def simulator(*flags: str) -> Iterator[str]:
    """`smile simulate` on a free port; yields its base URL. On the last core, where there are two."""
    command = [sys.executable, "-m", "smile_async.cli", "simulate", "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=pin(-1)) as process:  # noqa: PLW1509
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
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


def stats(base_url: str, path: str = "/stats") -> dict[str, Any]:
    """What the server counted."""
    with urlopen(base_url.removesuffix("/v1") + path) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def used() -> dict[str, float]:
    """CPU seconds (user and system, all threads) and peak memory in MB of this process so far."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": own.ru_utime + own.ru_stime, "peak_mb": own.ru_maxrss / 1024}
