"""The work that every peer is given, its process, and what is counted: by the server and the system, not by itself."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from corpus import write_psyqa
from environments import Peer
from measuring import Server, pin

QUIET = {  # each peer's own switch for telemetry, displays and look-ups in the net
    "TELEMETRY_ENABLED": "false",
    "POSTHOG_DISABLED": "1",
    "DO_NOT_TRACK": "1",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "CURATOR_VIEWER": "0",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NEMO_TELEMETRY_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_DATASETS_OFFLINE": "1",
    "DISTILABEL_LOG_LEVEL": "WARNING",
}
SAMPLE = 0.5  # seconds between two looks at the memory of a peer that has several processes


@dataclass(frozen=True)
class Work:
    """The rows in both forms, in one folder."""

    folder: Path
    rows: int

    @property
    def source(self) -> Path:
        return self.folder / f"psyqa-{self.rows}.json"

    @property
    def prompts(self) -> Path:
        return self.folder / f"prompts-{self.rows}.jsonl"


def write_work(folder: Path, rows: int) -> Work:
    """Distinct Chinese prompts of about 600 characters."""
    work = Work(folder, rows)
    if not work.prompts.exists():
        write_psyqa(work.source, rows)
        with work.prompts.open("wb") as file:
            for row in orjson.loads(work.source.read_bytes()):
                prompt = f"{row['question']}{row['description']}\n{row['answers'][0]['answer_text']}"
                file.write(orjson.dumps({"id": str(row["questionID"]), "prompt": prompt}) + b"\n")
    return work


@dataclass(frozen=True)
class Run:
    """One run of a peer: `code` is its exit code, None where it was ended from outside after its time."""

    code: int | None
    wall_s: float
    began: float
    cpu_s: float
    peak_mb: float
    log: str


class Process:
    """A peer at work in a session of its own, so that it can be ended with all that it started."""

    def __init__(self, peer: Peer, python: Path, job: Mapping[str, Any], folder: Path) -> None:
        self._log = folder / "log.txt"
        job_file = folder / "job.json"
        job_file.write_bytes(orjson.dumps(job))
        command = [str(python), str(HERE / "adapters" / f"{peer.adapter}.py"), str(job_file)]
        self.began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment(peer, folder),
                cwd=folder, start_new_session=True, preexec_fn=pin(0),  # noqa: PLW1509
            )  # fmt: skip
        self._ended = threading.Event()
        self._several_mb = 0.0
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def kill(self) -> None:
        """SIGKILL for it and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    @property
    def running(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait(self, seconds: float) -> Run:
        """Its end, or the end that is made after so many seconds."""
        over = False
        while self.running:
            if time.monotonic() - self.began > seconds:
                over = True
                self.kill()
            time.sleep(0.02)
        ended = time.monotonic()
        _pid, status, used = os.wait4(self._process.pid, 0)
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        self.kill()  # what it may have left behind
        self._ended.set()
        self._sampler.join()
        peak = max(used.ru_maxrss / 1024, self._several_mb)
        log = self._log.read_text("utf-8", "replace")[-2_000:]
        wall = ended - self.began
        return Run(None if over else code, wall, self.began, used.ru_utime + used.ru_stime, peak, log)

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE):
            pids = list(_session(self._process.pid))
            if len(pids) > 1:
                self._several_mb = max(self._several_mb, sum(_pss_mb(pid) for pid in pids))


def environment(peer: Peer, folder: Path) -> dict[str, str]:
    """Little of the caller's; a home of its own; nothing but this machine to be reached."""
    path = [str(HERE / "loopback"), str(HERE / "adapters")]
    if not peer.packages and "PYTHONPATH" in os.environ:
        path.append(os.environ["PYTHONPATH"])
    mine = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(path),
        "OPENAI_API_KEY": "none",
        "SIMULATED_API_KEY": "none",
    }
    return mine | QUIET


def _session(leader: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            fields = entry.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                yield int(entry.parent.name)


def _pss_mb(pid: int) -> float:
    """Memory of one process, what it shares counted by its share; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(text.partition("\nPss:")[2].split()[0]) / 1024
    return 0.0


def job_for(peer: Peer, work: Work, folder: Path, server: Server, in_flight: int, **limits: int) -> dict[str, Any]:
    return {
        "prompts": str(work.prompts),
        "source": str(work.source),
        "folder": str(folder),
        "out": str(folder / "out.jsonl"),
        "base_url": server.base_url,
        "in_flight": in_flight,
        "variant": peer.variant,
        **limits,
    }


def results(folder: Path) -> list[str]:
    """The ids of the rows that have a text, as often as they stand there; for a run folder also those set aside."""
    own = [folder / "run" / "corpus.jsonl", folder / "run" / "set-aside.jsonl"]
    files = own if own[0].exists() else [folder / "out.jsonl"]
    found = []
    for path in files:
        for line in path.read_bytes().splitlines() if path.exists() else ():
            with suppress(json.JSONDecodeError):  # the torn line of a killed script
                row = orjson.loads(line)
                if row.get("text") or "text" not in row:
                    found.append(str(row["id"]))
    return found


@contextmanager
def started(peer: Peer, python: Path, job: Mapping[str, Any], folder: Path) -> Iterator[Process]:
    """A peer's process that is surely gone afterwards."""
    process = Process(peer, python, job, folder)
    try:
        yield process
    finally:
        process.kill()
