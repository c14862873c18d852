"""The benchmarks run: small, and without the environments of others."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def printed_by(*command: str) -> str:
    arguments = [sys.executable, str(BENCHMARKS / command[0]), *command[1:]]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_throughput_prints_a_line_for_each_contender_and_size_and_what_a_request_in_flight_takes() -> None:
    """Two sizes, two contenders, one round: four lines, two ratios, and a slope of memory for each contender."""
    lines = printed_by("throughput.py", "--rows", "100", "--in-flight", "8", "32", "--rounds", "1").splitlines()

    assert sum(" floor " in line for line in lines) == 2
    assert sum(" smile " in line for line in lines) == 2 + 2  # a ratio names both
    assert sum("KB a request in flight" in line for line in lines) == 2


def test_limits_prints_what_was_used_of_a_bucket_with_its_full_start() -> None:
    """Two windows of a second of 600 requests a minute: the bucket admits 3 x 10 of them at most."""
    printed = printed_by("limits.py", "--kind", "bucket", "--headers", "no", "--windows", "2", "--window", "1",
                         "--latency", "0.1", "--tokens", "6000000")  # fmt: skip
    kind, headers, admitted = printed.splitlines()[-1].split()[:3]

    assert (kind, headers) == ("bucket", "no")
    assert 0 < int(admitted) <= 30


def test_the_comparison_with_others_loses_no_row_of_ours_and_asks_again_at_most_what_was_in_flight() -> None:
    printed = printed_by("peers/run.py", "floor", "smile", "--rows", "200", "--rounds", "1", "--only", "speed", "kills")
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
            for line in printed.splitlines() if line.startswith("| ")}  # fmt: skip

    assert rows["floor"][-2:] == ["0", "0"]  # rows lost, requests too many
    _answered, again, left = rows["smile"]  # the later table
    assert int(again) <= 64
    assert left == "2,000 unique"


def test_the_analysis_tells_time_and_memory_of_words_and_of_pairs() -> None:
    """3,100 rows are more than are held as a whole: 3,100 x 3,099 / 2 = 4,803,450 pairs, in blocks."""
    lexical, pairs = printed_by("analysis.py", "--rows", "3100", "--dimensions", "16").splitlines()[1:]

    assert lexical.startswith("lexical")
    assert "characters: " in lexical
    assert "4,803,450 pairs" in pairs
