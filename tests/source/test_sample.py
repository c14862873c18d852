import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from smile_async.errors import UsageError
from smile_async.source.prepared import write_pairs
from smile_async.source.readers import open_source, rows_from
from smile_async.source.sample import sample
from tests.source.writing import pair, pair_lists, read

# 40 questions with three answers each: rows 1 to 120.
ROWS = [pair(number, answer=f"回答{number}-{index}", answer_index=index) for number in range(40) for index in range(3)]


def test_each_question_is_drawn_once_with_one_of_its_answers() -> None:
    drawn = sample(rows_from(ROWS), n=30, first=120, seed=7)
    assert len({one.source_id for one in drawn}) == len(drawn) == 30
    assert all(one in ROWS for one in drawn)
    assert {one.answer_index for one in drawn} == {0, 1, 2}
    assert drawn == sorted(drawn, key=ROWS.index)


def test_only_the_first_rows_are_looked_at() -> None:
    """The first 30 rows hold questions 0 to 9."""
    drawn = sample(rows_from(ROWS), n=10, first=30, seed=1)
    assert [one.source_id for one in drawn] == [str(number) for number in range(10)]


def test_the_seed_alone_decides() -> None:
    assert sample(rows_from(ROWS), n=9, seed=3) == sample(rows_from(ROWS), n=9, seed=3)
    assert sample(rows_from(ROWS), n=9, seed=3) != sample(rows_from(ROWS), n=9, seed=4)


@pytest.mark.e2e
def test_the_sample_does_not_depend_on_pythons_hash_seed() -> None:
    code = (
        "from smile_async.source import rows_from, sample\n"
        "rows = [{'question': f'q{n}', 'answers': ['a', 'b', 'c']} for n in range(50)]\n"
        "print([(one.question, one.answer) for one in sample(rows_from(rows), n=20, seed=5)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "77")
    }
    assert len(outputs) == 1


def test_questions_without_an_id_are_told_apart_by_their_text() -> None:
    rows = [{"question": "同", "description": d, "answer": a} for d in "一二" for a in "甲乙"]
    assert [one.description for one in sample(rows_from(rows), n=2, seed=0)] == ["一", "二"]


def test_too_few_questions_are_an_error() -> None:
    with pytest.raises(UsageError, match="hold 40 distinct questions, fewer than 41"):
        sample(rows_from(ROWS), n=41, seed=0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(rows=pair_lists)
def test_written_pairs_read_back_equal(tmp_path: Path, rows: Any) -> None:
    path = tmp_path / "out" / "sample.jsonl"
    assert write_pairs(path, rows, overwrite=True) == len(rows)
    assert read(open_source(path)) == rows
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["sample.jsonl"]
