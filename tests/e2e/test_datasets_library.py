"""What `smile export --format hf` writes is what Hugging Face's `datasets` reads, without a network."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.corpus.said import make_run
from tests.e2e.processes import clean_environment

pytestmark = pytest.mark.e2e
pytest.importorskip("datasets", reason="pip install 'smile-async[dev]'")

LOAD = """
import json, sys
import yaml
from datasets import load_dataset

folder = sys.argv[1]
found = load_dataset(folder)
card = yaml.safe_load(open(f"{folder}/README.md", encoding="utf-8").read().split("---\\n")[1])
entries = json.load(open(f"{folder}/dataset_info.json", encoding="utf-8"))
alone = {name: load_dataset("parquet", data_files=f"{folder}/{one['file_name']}", split="train").num_rows
         for name, one in entries.items()}
print(json.dumps({"rows": {split: list(rows) for split, rows in found.items()}, "card": card, "alone": alone}))
"""


def test_load_dataset_finds_splits_columns_and_every_row(tmp_path: Path) -> None:
    """40 rows of 20 questions, the first set aside: 39. A quarter of 39 is 9.75: five questions of two answers."""
    make_run(tmp_path / "run", rows=40)
    env = clean_environment(HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "home"), HF_DATASETS_DISABLE_PROGRESS_BARS="1")
    flags = ("--format", "hf", "--validation", "0", "--test", "0.25", "--license", "cc0-1.0", "--json")
    export = [sys.executable, "-m", "smile_async.cli", "export", str(tmp_path / "run"), str(tmp_path / "set"), *flags]
    exported = subprocess.run(export, capture_output=True, text=True, env=env, timeout=120, check=True)
    splits = json.loads(exported.stdout)["splits"]
    assert splits["train"] + splits["test"] == 39
    assert splits["test"] in (9, 10)  # nine when the question that lost an answer is among the five
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "set")],
        capture_output=True, text=True, env=env, timeout=240, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert {split: len(rows) for split, rows in told["rows"].items()} == splits
    assert told["alone"] == {"set": splits["train"], "set_test": splits["test"]}
    row = told["rows"]["test"][0]
    assert [one["role"] for one in row["messages"][:2]] == ["user", "assistant"]
    assert [one["content"] for one in row["dialogue"]] == [one["content"] for one in row["messages"]]
    asked = {split: Counter(one["question"] for one in rows) for split, rows in told["rows"].items()}
    assert not asked["train"].keys() & asked["test"].keys()
    assert told["card"]["license"] == "cc0-1.0"
    assert told["card"]["language"] == ["zh"]
    assert told["card"]["size_categories"] == ["n<1K"]
    assert told["card"]["configs"][0]["data_files"][1] == {"split": "test", "path": "data/test-*"}
