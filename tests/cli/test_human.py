"""Ballot, tally and the way through Label Studio as commands; `vote` is in tests/e2e."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from smile_async.chatbot.ballots import read_ballots, read_key
from smile_async.chatbot.votes import Vote, VoteStore
from tests.cli.conftest import Smile

CASES = 6
DRAW = ("ballot", "cases.jsonl", "baseline=base.jsonl", "tuned=tuned.jsonl", "--reference", "golden", "-o", "study.json")  # fmt: skip


@pytest.fixture(autouse=True)
def _files(smile: Smile) -> None:
    """Cases and two systems' responses, in the folder that `smile` runs in."""
    ids = [f"case-{number}" for number in range(CASES)]
    history = [{"role": "user", "content": "我睡不好。"}]
    _write("cases.jsonl", [{"id": one, "messages": history, "reference": f"嗯，{one}"} for one in ids])
    _write("base.jsonl", [{"id": one, "response": f"多运动，{one}"} for one in ids])
    _write("tuned.jsonl", [{"id": one, "response": f"我听到了，{one}"} for one in ids if one != "case-5"])


def _write(name: str, rows: list[dict[str, object]]) -> None:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def _all_vote(order: tuple[str, ...], *raters: str) -> None:
    """Every rater prefers the systems in this order."""
    ballots, key = read_ballots(Path("study.json")), read_key(Path("study.key.json"))
    votes = []
    for case, places in key.places.items():
        rank = {letter: order.index(system) for letter, system in places.items()}
        votes += [
            Vote(rater, case, pair, min(pair, key=lambda letter: rank[letter]))
            for rater in raters
            for pair in ballots.pairs
        ]
    with VoteStore.open(Path("study.votes.sqlite3"), ballots) as store:
        store.bring(votes)


def test_ballots_that_people_voted_on_are_not_replaced(smile: Smile) -> None:
    """Their key would be gone, and with it the work of the raters."""
    smile(*DRAW)
    _all_vote(("tuned", "golden", "baseline"), "ann")
    kept = {name: Path(name).read_bytes() for name in ("study.json", "study.key.json")}
    again = smile(*DRAW, "--seed", "4", "--overwrite")
    assert again.code == 2
    assert "holds 15 votes" in again.err  # 5 cases of 3 pairs
    Path("study.json").unlink()
    assert smile(*DRAW, "--seed", "4", "--overwrite").code == 2
    assert smile(*DRAW, "--overwrite").code == 0  # the same draw gives the same ballots
    assert {name: Path(name).read_bytes() for name in kept} == kept
    assert smile("tally", "study.votes.sqlite3", "--json").told["cases"] == 5
    assert smile(*DRAW, "--seed", "4", "-o", "other.json").code == 0


def test_ballots_on_which_no_page_was_opened_may_be_drawn_anew(smile: Smile) -> None:
    smile(*DRAW)
    assert smile(*DRAW, "--seed", "4", "--overwrite").code == 0
    VoteStore.open(Path("study.votes.sqlite3"), read_ballots(Path("study.json"))).close()
    refused = smile(*DRAW, "--seed", "5", "--overwrite")  # the page may be open yet
    assert refused.code == 2
    assert "a voting page was opened" in refused.err
    _all_vote(("tuned", "golden", "baseline"), "ann")  # on the ballots that are there, with their key
    assert smile("tally", "study.votes.sqlite3", "--json").told["cases"] == 5


def test_from_responses_to_figure_6(smile: Smile) -> None:
    drawn = smile(*DRAW, "--json").told
    assert (drawn["cases"], drawn["systems"]) == (5, ["golden", "baseline", "tuned"])
    assert drawn["missing"] == {"golden": 0, "baseline": 0, "tuned": 1}
    _all_vote(("tuned", "golden", "baseline"), "ann", "bo", "cy")
    told = smile("tally", "study.votes.sqlite3", "--figure", "figure6", "--json").told
    rates = {(pair["first"], pair["second"]): (pair["win_rate"], pair["loss_rate"]) for pair in told["pairs"]}
    assert rates == {("golden", "baseline"): (1, 0), ("golden", "tuned"): (0, 1), ("baseline", "tuned"): (0, 1)}
    assert {pair["agreement"]["kappa"] for pair in told["pairs"]} == {1.0}
    assert smile("tally", "study.json", "--json").told["pairs"] == told["pairs"]
    rows = list(csv.DictReader(smile("tally", "study.votes.sqlite3", "--csv").out.splitlines()))
    assert [(row["first"], row["second"], row["wins"], row["losses"], row["kappa"]) for row in rows] == [
        ("golden", "baseline", "5", "0", "1.0"),
        ("golden", "tuned", "0", "5", "1.0"),
        ("baseline", "tuned", "0", "5", "1.0"),
    ]
    assert Path("figure6.png").stat().st_size > 5_000
    assert Path("figure6.svg").is_file()


def test_the_text_says_what_a_person_asks(smile: Smile) -> None:
    said = smile(*DRAW).out
    assert "5 cases, golden against baseline against tuned (100 were wanted)" in said
    assert "tuned did not answer 1 cases: not drawn" in said
    assert "keep it from raters" in said
    _all_vote(("tuned", "golden", "baseline"), "ann", "bo")
    told = smile("tally", "study.votes.sqlite3")
    assert told.code == 0
    assert "5 cases, 5 finished by all raters (ann, bo)" in told.out
    assert "golden vs. baseline" in told.out
    assert "1.000" in told.out
    assert "divides 0 by 0" in told.out
    assert "the earlier of two wins" in told.out
    alone = smile("tally", "study.votes.sqlite3", "--rater", "ann").out
    assert "agreement takes at least two raters" in alone


def test_ballots_are_not_replaced_unasked(smile: Smile) -> None:
    assert smile(*DRAW).code == 0
    before = Path("study.key.json").read_bytes()
    again = smile(*DRAW, "--seed", "4")
    assert again.code == 2
    assert "--overwrite" in again.err
    assert Path("study.key.json").read_bytes() == before
    assert smile(*DRAW, "--seed", "4", "--overwrite", "--ties", "-n", "2").code == 0
    assert (read_ballots(Path("study.json")).ties, len(read_key(Path("study.key.json")).places)) == (True, 2)


def test_a_draw_that_cannot_be_gives_the_true_reason(smile: Smile) -> None:
    none = smile("ballot", "cases.jsonl", "a=base.jsonl", "b=tuned.jsonl", "-n", "0", "-o", "x.json")
    assert "0 cases are to be drawn" in none.err
    _write("other.jsonl", [{"id": f"other-{n}", "response": "嗯"} for n in range(2)])
    other = smile("ballot", "cases.jsonl", "a=base.jsonl", "b=other.jsonl", "-o", "x.json")
    assert f"b has answers to 2 cases that are not among the {CASES} given, the first 'other-0'" in other.err
    _write("one.jsonl", [{"id": "case-5", "response": "嗯"}])
    apart = smile("ballot", "cases.jsonl", "a=one.jsonl", "b=tuned.jsonl", "-o", "x.json")
    assert f"None of the {CASES} cases is answered by every system (answers: a 1, b {CASES - 1})" in apart.err
    assert {none.code, other.code, apart.code} == {2}


def test_shares_of_few_cases_come_with_a_warning(smile: Smile) -> None:
    """Three raters prefer one system in all of 5 cases: 100.0% [100.0%, 100.0%]."""
    smile("ballot", "cases.jsonl", "base=base.jsonl", "tuned=tuned.jsonl", "-o", "study.json")
    _all_vote(("tuned", "base"), "ann", "bo", "cy")
    told = smile("tally", "study.votes.sqlite3")
    assert "100.0% [100.0%, 100.0%]" in told.out
    assert f"{CASES - 1} cases were judged by all: too few" in told.out
    assert "too few" in smile("tally", "study.votes.sqlite3", "--csv").err
    assert "too few" in smile("tally", "study.votes.sqlite3", "--json").told["warning"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ballot", "cases.jsonl", "base.jsonl", "-o", "x.json"), "write NAME=FILE"),
        (("ballot", "cases.jsonl", "a=base.jsonl", "a=tuned.jsonl", "-o", "x.json"), "two systems are called 'a'"),
        (("ballot", "cases.jsonl", "a=none.jsonl", "b=base.jsonl", "-o", "x.json"), "none.jsonl: cannot be read"),
        (("tally", "none.votes.sqlite3"), "none.votes.sqlite3: there is no such file"),
        (("label-studio", "export", "study.json", "project", "--lang", "fr"), "one of en, zh"),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_is_wrong(smile: Smile, arguments: tuple[str, ...], told: str) -> None:
    ended = smile(*arguments)
    assert ended.code == 2
    assert told in ended.err


def test_label_studio_there_and_back(smile: Smile) -> None:
    smile(*DRAW)
    assert smile("label-studio", "export", "study.json", "project", "--lang", "zh").code == 0
    tasks = json.loads(Path("project/tasks.json").read_text("utf-8"))
    for number, task in enumerate(tasks):
        results = [
            {"from_name": pair, "to_name": "history", "type": "choices", "value": {"choices": [pair[0]]}}
            for pair in ("AB", "AC", "BC")
        ]
        task["annotations"] = [{"completed_by": number % 2, "was_cancelled": False, "result": results}]
    Path("export.json").write_text(json.dumps(tasks), "utf-8")
    brought = smile("label-studio", "import", "export.json", "study.json")
    assert "15 votes added, of 2 raters" in brought.out  # 5 cases of 3 pairs
    assert "0 votes added" in smile("label-studio", "import", "export.json", "study.json").out
    told = smile("tally", "study.votes.sqlite3", "--json").told
    assert (told["bias"]["earlier"], told["bias"]["later"]) == (15, 0)
    assert told["finished"] == 0  # each case has one of the two raters


def test_without_the_extra_the_way_to_it_is_said(smile: Smile, monkeypatch: pytest.MonkeyPatch) -> None:
    smile(*DRAW)
    _all_vote(("tuned", "golden", "baseline"), "ann", "bo")
    monkeypatch.setitem(sys.modules, "statsmodels.stats", None)
    ended = smile("tally", "study.votes.sqlite3")
    assert ended.code == 2
    assert "smile-async[metrics]" in ended.err


def test_a_place_that_cannot_be_written_is_a_message_and_no_traceback(tmp_path: Path) -> None:
    """A file where a folder would have to be: not even root may."""
    (tmp_path / "file").write_text("")
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(
        '{"messages":[{"role":"user","content":"你好"},{"role":"assistant","content":"你好。"}]}\n', "utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "smile_async.cli", "sft", str(corpus), str(tmp_path / "file" / "x")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Not a directory" in done.stderr
    assert "Check the path" in done.stderr
