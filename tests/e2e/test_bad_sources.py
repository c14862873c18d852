"""Sources with something wrong in them: named by file, row and field, or set aside and counted."""

import json
from pathlib import Path

import pytest

from tests.e2e.processes import in_ledger, read_jsonl, simulator, smile
from tests.e2e.questions import questions, write_psyqa

pytestmark = pytest.mark.e2e

ROWS = 600  # more than are read ahead, so that the run has begun when it meets what is wrong


def _damaged(path: Path) -> Path:
    """PsyQA's shape, with an empty answer in row 301 and an answer that is a number in row 401."""
    write_psyqa(path, questions(ROWS))
    rows = json.loads(path.read_text("utf-8"))
    rows[300]["answers"][0]["answer_text"] = "  "
    rows[400]["answers"] = 7
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def test_a_bad_row_stops_the_run_and_is_named_and_what_was_asked_is_kept(tmp_path: Path) -> None:
    source, run = _damaged(tmp_path / "psyqa.json"), tmp_path / "run"
    with simulator("--latency", "base=0") as server:
        stopped = smile("generate", str(source), str(run), *server.where)
        served = server.settled()["served"]["completions"]
    assert stopped.code == 2
    for words in (str(source), "row 301", "answer", "--skip-bad-rows"):
        assert words in stopped.err
    assert "Traceback" not in stopped.err
    assert len(read_jsonl(run / "corpus.jsonl")) == served, "what was paid for is in the corpus"


def test_bad_rows_are_set_aside_counted_and_named_where_that_is_wanted(tmp_path: Path) -> None:
    source, run = _damaged(tmp_path / "psyqa.json"), tmp_path / "run"
    with simulator("--latency", "base=0") as server:
        command = ("generate", str(source), str(run), *server.where, "--skip-bad-rows", "--json")
        ended, again = smile(*command), smile(*command)
        assert server.counted("requests") == ROWS - 2
    assert ended.code == again.code == 3
    assert ended.told["rows"] == again.told["rows"]
    assert ended.told["rows"]["total"] == ROWS
    assert ended.told["reasons"] == {"bad-row": 2}
    details = [line["detail"] for line in read_jsonl(run / "set-aside.jsonl")]
    assert ["row 301" in details[0], "row 401" in details[1]] == [True, True]
    assert in_ledger(run, "SELECT count(*) FROM outcomes") == [(ROWS,)]


def test_a_truncated_file_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    source = write_psyqa(tmp_path / "psyqa.json", questions(ROWS))
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) * 3 // 4])
    with simulator("--latency", "base=0") as server:
        command = ("generate", str(source), str(tmp_path / "run"), *server.where, "--json")
        refused = [smile(*command), smile(*command, "--skip-bad-rows")]
        assert server.counted("requests") == 0
        source.write_bytes(whole)
        ended = smile(*command)
    for one in refused:  # the rest of a cut file is no bad row: nobody knows what it held
        assert one.code == 2
        assert str(source) in one.err
        assert "Traceback" not in one.err
    assert ended.code == 0, ended.err
    assert ended.told["rows"]["accepted"] == ROWS
