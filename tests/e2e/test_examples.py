"""The examples do what they say, as a user would run them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.processes import clean_environment

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "examples"


def ran(name: str, *arguments: str) -> str:
    """What the example prints; it must end well."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_dialogue_is_asked_for_and_printed() -> None:
    lines = ran("one_dialogue.py").splitlines()
    assert len(lines) >= 10  # five turns
    assert {line.partition(":")[0] for line in lines} == {"client", "counselor"}


def test_a_full_run_accepts_every_row_and_exports_it(tmp_path: Path) -> None:
    told = ran("full_run.py", str(tmp_path / "run"))
    assert told.startswith("38 rows: 38 accepted, 0 set aside")  # 30 questions with 38 answers
    assert len((tmp_path / "run" / "sharegpt.jsonl").read_text("utf-8").splitlines()) == 38


def test_a_task_of_ones_own_labels_every_question(tmp_path: Path) -> None:
    assert ran("own_task.py", str(tmp_path / "run")).startswith("75 of 75 labelled with ")  # 25 of each of 3 questions
