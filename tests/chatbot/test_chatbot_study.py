"""Section 6 in one command: what is held apart, what is done again and what is not, and a kill in the middle."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smile_async.chatbot import study, study_tables
from smile_async.chatbot.ballots import read_ballots
from smile_async.chatbot.study_cases import KeptRecords, digest_of, draw_cases, held_questions
from smile_async.chatbot.study_corpus import made_up_corpus
from smile_async.chatbot.study_settings import StudyWishes, study_settings
from smile_async.chatbot.votes import Vote, VoteStore
from smile_async.corpora import Corpus, open_corpus
from smile_async.corpus.formats import PAPER_ROLES
from smile_async.corpus.splits import question_of
from smile_async.errors import UsageError
from smile_async.study_folder import CHATBOT, StudyFolder
from tests.chatbot import tiny
from tests.cli.conftest import Serve, Smile
from tests.cli.conftest import serve as serve  # noqa: PLC0414 - the fixtures
from tests.cli.conftest import smile as smile  # noqa: PLC0414


@pytest.fixture
def corpus() -> Corpus:
    """The made-up one: 20 dialogues, 76 answers, each with a history."""
    return open_corpus(made_up_corpus())


ANSWER = "愿意多说一些吗？"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_made_up_corpus_has_twenty_questions_that_end_on_an_answer_or_a_reply(corpus: Corpus) -> None:
    records = list(corpus)
    assert len({question_of(record) for record in records}) == 20
    assert sum(one.role == "counselor" for record in records for one in record.dialogue.utterances) == 76
    assert all(record.dialogue.utterances[0].role == "client" for record in records)


def test_cases_and_training_share_no_dialogue(corpus: Corpus, tmp_path: Path) -> None:
    held = held_questions(corpus, 0.2, seed=1234)
    told = draw_cases(corpus, held, tmp_path / "cases.jsonl", roles=PAPER_ROLES, count=5, seed=1234)
    assert len(held) == 4  # a fifth of 20
    assert (told["cases"], len(lines(tmp_path / "cases.jsonl"))) == (5, 5)
    learnt = {record.row_id for record in KeptRecords(corpus, held)}
    assert len(learnt) == 16
    assert not learnt & {case["dialogue"] for case in lines(tmp_path / "cases.jsonl")}


def test_the_seed_draws_the_cases(corpus: Corpus, tmp_path: Path) -> None:
    held = held_questions(corpus, 0.2, seed=1)

    def drawn(seed: int) -> list[str]:
        draw_cases(corpus, held, tmp_path / "cases.jsonl", roles=PAPER_ROLES, count=5, seed=seed)
        return [case["id"] for case in lines(tmp_path / "cases.jsonl")]

    assert drawn(7) == drawn(7) != drawn(8)


def test_a_corpus_of_one_question_can_keep_none_apart(corpus: Corpus) -> None:
    with pytest.raises(UsageError, match="no two questions"):
        held_questions(list(corpus)[:1], 0.2, seed=0)


def test_another_word_is_another_corpus(corpus: Corpus) -> None:
    records = list(corpus)
    assert digest_of(corpus) == digest_of(records)
    assert digest_of(records[1:]) != digest_of(records)


def test_the_papers_preset_has_table_4_and_wants_a_base() -> None:
    with pytest.raises(UsageError, match="--base"):
        study_settings("paper")
    chosen = study_settings("paper", base="x")
    told = chosen.training()
    assert (told.epochs, told.learning_rate, told.batch, told.rank, told.alpha, told.dropout, told.seed) == (
        2, 1e-4, 1, 16, 64, 0.1, 1234,
    )  # fmt: skip
    assert (chosen.cases, chosen.ballots, chosen.sessions) == (1539, 100, None)
    assert study_settings("small", epochs=3).epochs == 3


@pytest.mark.parametrize("name", ["cases", "sessions", "ballots"])
def test_a_study_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        study_settings("small", **{name: 0})


def test_new_answers_leave_ballots_with_votes_as_they_are(corpus: Corpus, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, CHATBOT)
    (tmp_path / "cases.jsonl").write_text(
        "".join(
            json.dumps({"id": f"c{n}", "messages": [{"role": "user", "content": "q"}], "reference": f"r{n}"}) + "\n"
            for n in range(3)
        )
    )

    def answered(word: str) -> dict[str, Any]:
        for name in ("baseline", "fine-tuned"):
            file = tmp_path / "answers" / name / "responses.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps({"id": f"c{n}", "response": f"{word} {name}"}) + "\n" for n in range(3)))
        settings = study_settings("small", base="tiny")
        work = study._Study(folder, corpus, None, settings, StudyWishes(), study.StudyWatch(notify=told.append))
        return work._ballots().work()

    told: list[str] = []
    assert answered("first")["cases"] == 3
    assert answered("second")["cases"] == 3  # nobody had voted
    kept = {name: (tmp_path / name).read_bytes() for name in ("ballots.json", "ballots.key.json")}
    drawn = read_ballots(tmp_path / "ballots.json")
    with VoteStore.open(tmp_path / "ballots.votes.sqlite3", drawn) as store:
        store.enrol(["ann"])
        store.cast(Vote("ann", "c0", "AB", "A"))
    (tmp_path / "ballots.key.json").unlink()
    assert answered("second")["cases"] == 3  # the same draw: what is missing comes back
    third = answered("third")
    assert (third["cases"], third["why"]) == (None, "people voted on ballots of earlier answers")
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    assert "1 votes" in told[0]
    report = {"steps": {"ballots": third}, "settings": {"base": "tiny"}}
    assert ("ballots", "none new") in study_tables.made_of(report)
    assert study_tables.notes(report) == ("No ballots were drawn: people voted on ballots of earlier answers.",)


def figure(mean: float, low: float, high: float) -> dict[str, float]:
    return {"mean": mean, "low": low, "high": high, "counted": 8}


def test_table_5_says_which_differences_are_beside_nothing() -> None:
    systems = [
        {"name": "baseline", "corpus_bleu_4": 0.01, "mean_characters": 80.0, "meteor": figure(0.1, 0.05, 0.15),
         "rouge-l": figure(0.2, 0.1, 0.3), "differences": {}},
        {"name": "fine-tuned", "corpus_bleu_4": 0.02, "mean_characters": 60.0, "meteor": figure(0.3, 0.2, 0.4),
         "rouge-l": figure(0.21, 0.1, 0.3),
         "differences": {"meteor": figure(0.2, 0.1, 0.3), "rouge-l": figure(0.01, -0.1, 0.1)}},
    ]  # fmt: skip
    columns, rows = study_tables.table_5({"systems": systems, "formulas": {"meteor": "", "rouge-l": ""}})
    assert columns == ("percent", "baseline", "fine-tuned")
    assert rows[:2] == (
        ("METEOR", "10.00 (5.00-15.00)", "30.00 (20.00-40.00) +"),
        ("ROUGE-L", "20.00 (10.00-30.00)", "21.00 (10.00-30.00)"),
    )
    assert rows[2] == ("corpus BLEU-4", "1.00", "2.00")


def test_sessions_that_were_too_long_are_told_under_the_table() -> None:
    trained = {"steps": 99, "too_long": 3}
    [note] = study_tables.notes({"steps": {"training": trained}, "settings": {"max_length": 64}})
    assert note.startswith("3 sessions were left out of training and validation: longer than 64 tokens")


def test_answers_that_were_cut_off_or_read_the_same_are_told_under_the_table() -> None:
    steps = {
        "baseline": {"truncated": 7},
        "fine-tuned": {"truncated": 0},
        "ballots": {"cases": 8, "identical_pairs": 2},
    }
    assert study_tables.notes({"steps": steps, "settings": {"max_tokens": 96}}) == (
        "On the ballots 2 pairs of responses read the same: raters can but guess there.",
        "Answers that were cut off after 96 tokens (--max-tokens): 7 of the baseline.",
    )


SMALL = ("--count", "3", "--sessions", "8", "--max-tokens", "8", "--precision", "fp32")
"""8 sessions in updates of 4, twice: 4 updates, a checkpoint after the second."""


def test_a_served_model_answers_the_cases_and_a_second_call_asks_nobody(smile: Smile, serve: Serve) -> None:
    tiny.require("torch", "transformers", "peft", extra="train")
    server = serve()
    at = ("--base", "tiny", "--baseline-url", server.base_url, "--until", "baseline", "--json")
    first = smile("reproduce-chatbot", "study", *at, *SMALL)
    assert first.code == 0, first.err
    assert first.told["steps"]["baseline"]["answered"] == 3
    assert first.told["skipped"] == []
    assert "step 3 of 7: the base model's answers" in first.err
    told = [line["id"] for line in lines(Path("study/answers/baseline/responses.jsonl"))]
    assert told == [case["id"] for case in lines(Path("study/cases.jsonl"))]
    sessions = Path("study/sessions/train.jsonl").read_bytes()
    again = smile("reproduce-chatbot", "study", *at, *SMALL)
    assert again.told["skipped"] == ["cases", "sessions", "baseline"]
    Path("study/sessions/train.jsonl").write_text("{}\n")  # somebody's hand: made anew
    mended = smile("reproduce-chatbot", "study", *at, *SMALL)
    assert mended.told["skipped"] == ["cases", "baseline"]
    assert Path("study/sessions/train.jsonl").read_bytes() == sessions
    elsewhere = smile("reproduce-chatbot", "study", "--base", "tiny", "--until", "baseline", *SMALL)
    assert elsewhere.code == 2  # one system's answers come from one place
    assert "model" in elsewhere.err
    other = smile("reproduce-chatbot", "study", *at, *SMALL, "--seed", "9")
    assert other.code == 2
    assert "seed: was 1234, now 9" in other.err


def test_cases_of_a_file_leave_the_whole_corpus_for_training(smile: Smile) -> None:
    case = {"id": "c1", "messages": [{"role": "user", "content": "睡不好"}], "reference": "好，先只试今晚。"}
    Path("cases.jsonl").write_text(json.dumps(case, ensure_ascii=False) + "\n", "utf-8")
    flags = ("--base", "tiny", "--cases", "cases.jsonl", "--until", "sessions", "--json")
    ended = smile("reproduce-chatbot", "study", *flags)
    assert ended.told["steps"]["sessions"]["dialogues"] == 20
    assert ended.told["steps"]["sessions"]["references_learnt"] == 0  # the made-up answer goes on after that sentence
    Path("cases.jsonl").write_text(json.dumps({**case, "reference": None}) + "\n", "utf-8")
    assert "no reference" in smile("reproduce-chatbot", "other", *flags).err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--until", "nothing"), "no step"),
        (("--preset", "huge"), "small, paper"),
        (("--preset", "paper"), "--base"),
        (("--precision", "int3"), "bf16"),
        (("--lr", "0"), "learning_rate is 0"),
        (("--test", "1.5"), "leave nothing"),
        (("--corpus", "nowhere"), "no such file"),
    ],
)
def test_what_cannot_be_is_refused(smile: Smile, flags: tuple[str, ...], told: str) -> None:
    ended = smile("reproduce-chatbot", "study", *flags)
    assert ended.code == 2
    assert told in ended.err


@pytest.mark.e2e
@pytest.mark.filterwarnings("default")
def test_a_length_too_short_for_any_session_is_told_before_the_base_model_answers(smile: Smile) -> None:
    tiny.require("torch", "transformers", "peft", "trl", extra="train")
    base = tiny.save_model(Path("tiny"))
    flags = ("--base", str(base), "--until", "training", "--count", "1", "--sessions", "4", "--max-tokens", "2")
    short = smile("reproduce-chatbot", "study", *flags, "--max-length", "20")
    assert short.code == 2
    assert "step 2 of 7" in short.err
    assert "step 3 of 7" not in short.err
    found = re.search(r"--max-length (\d+) is enough for the shortest, (\d+) for all", short.err)
    assert found is not None, short.err
    less = smile("reproduce-chatbot", "study", *flags, "--max-length", str(int(found[1]) - 1))
    assert f"--max-length {found[1]} is enough" in less.err
    ended = smile("reproduce-chatbot", "study", *flags, "--max-length", found[2], "--json")
    assert ended.code == 0, ended.err
    assert ended.told["skipped"] == ["cases", "sessions"]  # and it goes on in the same folder
    assert (ended.told["steps"]["training"]["sessions"], ended.told["steps"]["training"]["too_long"]) == (4, 0)
    other = smile("reproduce-chatbot", "study", *flags, "--max-length", "4000")
    assert "max_length: was" in other.err


@pytest.mark.e2e
@pytest.mark.filterwarnings("default")
def test_a_study_that_was_killed_goes_on_to_the_same_tables(smile: Smile, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.require("torch", "transformers", "peft", "trl", extra="train")
    tiny.require("nltk", "sacrebleu", "rapidfuzz", extra="metrics")
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)  # as the process that is killed: another number rounds otherwise
    base = tiny.save_model(Path("tiny"))
    said = [("client", "睡不好"), ("counselor", ANSWER), ("client", "嗯"), ("counselor", ANSWER)]
    with Path("corpus.jsonl").open("w", encoding="utf-8") as file:
        for n in range(12):
            dialogue = [{"role": role, "content": f"{text}{n}"} for role, text in said]
            file.write(json.dumps({"id": f"d{n}", "questionID": f"q{n}", "dialogue": dialogue}) + "\n")
    flags = (
        "--corpus",
        "corpus.jsonl",
        "--base",
        str(base),
        *SMALL,
        "--system",
        "none",
        "--epochs",
        "2",
        "--lr",
        "1e-2",
    )
    killed = subprocess.Popen(
        [sys.executable, "-m", "smile_async.cli", "reproduce-chatbot", "killed", *flags],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert killed.stderr is not None
    seen: list[str] = []
    for line in killed.stderr:
        seen.append(line)
        if "update 3 of 4" in line:
            killed.send_signal(signal.SIGKILL)
            break
    killed.stderr.close()
    assert killed.wait(60) == -signal.SIGKILL, "".join(seen)
    went_on = smile("reproduce-chatbot", "killed", *flags, "--json")
    assert went_on.code == 0, went_on.err
    assert went_on.told["skipped"] == ["cases", "sessions", "baseline"]
    steps = [point["step"] for point in lines(Path("killed/training/progress.jsonl")) if point.get("loss") is not None]
    assert steps == [1, 2, 3, 4]
    undisturbed = smile("reproduce-chatbot", "whole", *flags, "--json")
    for name in ("training/adapter/adapter_model.safetensors", "answers/fine-tuned/responses.jsonl", "metrics.json"):
        assert Path("killed", name).read_bytes() == Path("whole", name).read_bytes(), name
    told = undisturbed.told["steps"]
    assert [one["name"] for one in told["metrics"]["systems"]] == ["baseline", "fine-tuned"]
    assert told["training"]["validation_loss"] < told["training"]["validation_loss_before"]
    golden = [{"id": case["id"], "response": case["reference"]} for case in lines(Path("whole/cases.jsonl"))]
    Path("golden.jsonl").write_text("".join(json.dumps(one) + "\n" for one in golden), "utf-8")
    shown = Path("whole/ballots.json").read_bytes()
    Path("whole/ballots.json").unlink()  # made anew, the same; and one more system needs no more than other metrics
    more = smile("reproduce-chatbot", "whole", *flags, "--also", "golden=golden.jsonl", "--json")
    assert more.told["skipped"] == ["cases", "sessions", "baseline", "training", "fine-tuned"]
    assert more.told["steps"]["metrics"]["systems"][2]["meteor"]["mean"] == 1.0
    assert Path("whole/ballots.json").read_bytes() == shown
    page = Path("whole/tables.md").read_text("utf-8")
    assert "| METEOR |" in page
    assert "3 cases show that the way runs" in page
    assert "4 updates are next to no training" in page
    assert Path("whole").stat().st_mode & 0o777 == 0o700
    assert {ballot["letter"] for one in ballots("whole") for ballot in one["responses"]} == {"A", "B", "C"}


def ballots(study: str) -> list[dict[str, Any]]:
    return list(json.loads(Path(study, "ballots.json").read_text("utf-8"))["ballots"])
