"""`smile respond`: from cases to what `smile evaluate` reads."""

from pathlib import Path

from tests.cli.conftest import Serve, Smile, at
from tests.e2e.questions import write_jsonl


def test_answers_are_what_evaluate_reads(smile: Smile, serve: Serve, tmp_path: Path) -> None:
    server = serve(answers=["我在听，请继续说。", "这一定很不容易。"])
    cases = write_jsonl(tmp_path / "cases.jsonl", [
        {"id": f"c{row}", "messages": [{"role": "user", "content": f"第{row}次"}], "reference": "这很不容易。"}
        for row in range(12)
    ])  # fmt: skip

    ended = smile("respond", cases, "answers", *at(server), "--system", "paper-zh", "--json")
    reread = smile("revalidate", "answers")
    told = smile("status", "answers")
    scores = smile("evaluate", cases, "one=answers/responses.jsonl", "--json")
    missing = smile("respond", "none.jsonl", "other", *at(server))

    assert ended.code == 0
    assert reread.out.startswith("judged again: 12 accepted (0 of them newly)")
    assert (ended.told["task"], ended.told["rows"]["accepted"]) == ("responses", 12)
    assert "asked      simulated, for responses" in told.out
    assert (scores.code, scores.told["cases"]) == (0, 12)
    assert (missing.code, "none.jsonl: cannot be read" in missing.err) == (2, True)
