"""`smile respond`: from cases to what `smile evaluate` reads."""

from pathlib import Path

from smile_async.cli.following import in_own_words
from tests.cli.conftest import Serve, Smile, at
from tests.e2e.questions import write_jsonl


def two_cases(path: Path) -> Path:
    return write_jsonl(path, [{"id": f"c{n}", "messages": [{"role": "user", "content": f"第{n}次"}]} for n in range(2)])


def test_answers_that_were_cut_off_are_counted_and_told(smile: Smile, serve: Serve, tmp_path: Path) -> None:
    server, cases = serve(answers=["我在听，请继续说。"]), two_cases(tmp_path / "cases.jsonl")
    whole = smile("respond", cases, "whole", *at(server), "--json")
    cut = smile("respond", cases, "cut", *at(server), "--max-tokens", "2", "--json")
    assert (whole.told["truncated"], "cut off" in whole.err) == (0, False)
    assert (cut.code, cut.told["truncated"], cut.told["rows"]["accepted"]) == (0, 2, 2)
    assert "cut off    2 of the accepted" in cut.err


def test_what_goes_on_with_answers_is_named_where_dialogues_would_be_resumed(
    smile: Smile, serve: Serve, tmp_path: Path
) -> None:
    where, cases = at(serve()), two_cases(tmp_path / "cases.jsonl")
    smile("respond", cases, "answers", *where, "--max-tokens", "99")
    other = smile("respond", cases, "answers", *where, "--max-tokens", "98")
    assert "max_tokens: was 99, now 98" in other.err
    assert "smile resume" not in other.err
    assert f"`smile respond {cases} answers {' '.join(where)} --max-tokens 99`" in other.err
    stopped = "No reply for 9 s: go on later with `smile resume`."
    assert (
        in_own_words(stopped, "Go on with: smile respond a b")
        == "No reply for 9 s: go on later with `smile respond a b`."
    )
    assert in_own_words(stopped, "") == stopped


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
