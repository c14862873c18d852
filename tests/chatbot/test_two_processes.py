"""Training in two processes, as on two GPUs: one writes, and after a kill both go on."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.chatbot import tiny
from tests.e2e.processes import clean_environment

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("default")]

SESSIONS, EPOCHS, ACCUMULATION, PROCESSES = 16, 2, 2, 2
UPDATES = EPOCHS * SESSIONS // (ACCUMULATION * PROCESSES)  # 8: each process has every second session


def _train(out: Path, *, until: str = "") -> subprocess.CompletedProcess[str]:
    """Killed, all of it, once `until` is told."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(PROCESSES),
        "-m", "smile_async.cli", "train", "sessions", str(out), "--base", "./tiny", "--precision", "fp32",
        "--epochs", str(EPOCHS), "--lr", "1e-2", "--accumulation", str(ACCUMULATION), "--checkpoint-steps", "2",
        "--evaluations", "1", "--json",
    ]  # fmt: skip
    environment = clean_environment() | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        assert running.stderr is not None
        told = []
        for line in running.stderr:
            told.append(line)
            if until and until in line:
                os.killpg(running.pid, signal.SIGKILL)
                break
        out_text = running.stdout.read() if running.stdout and not until else ""
    return subprocess.CompletedProcess(command, running.returncode, out_text, "".join(told))


def test_two_processes_train_one_adapter_and_go_on_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.require("torch", "transformers", "peft", "trl", extra="train")
    monkeypatch.chdir(tmp_path)
    tiny.save_model(Path("tiny"))
    Path("sessions").mkdir()
    for name, count in (("train", SESSIONS), ("validation", 4)):
        rows = [
            {"messages": [{"role": "user", "content": f"睡不好{n}"}, {"role": "assistant", "content": "愿意多说吗？"}]}
            for n in range(count)
        ]
        Path(f"sessions/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    killed = _train(Path("out"), until=f"update 5 of {UPDATES}")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ended = _train(Path("out"))

    assert ended.returncode == 0, ended.stderr
    [report] = map(json.loads, ended.stdout.splitlines())  # one of the two tells it
    assert (report["steps"], report["sessions"]) == (UPDATES, SESSIONS)
    assert report["validation_loss"] < report["validation_loss_before"]
    points = [json.loads(line) for line in Path("out/progress.jsonl").read_bytes().splitlines()]
    assert Counter(point["step"] for point in points if point["loss"] is not None) == dict.fromkeys(
        range(1, UPDATES + 1), 1
    )
    assert "update 1 of" not in ended.stderr  # it went on
    assert not Path("out/checkpoints").exists()
    assert (Path("out/adapter/adapter_model.safetensors").stat().st_mode & 0o777) == 0o600
