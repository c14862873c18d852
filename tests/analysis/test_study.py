"""The whole study: each thing asked once, what is done is not done again, one budget, and nothing mixed up."""

import math
from pathlib import Path

import orjson
import pytest

from smile_async.analysis.study import Asked
from smile_async.engine.job import Failure, FailureKind
from smile_async.engine.switch import StopSwitch
from smile_async.errors import RunInUseError, RunMismatchError, SettingsError, UsageError
from smile_async.study_folder import CORPORA, NOTE, StudyFolder
from tests.analysis.studying import ROWS, Studying

pytest.importorskip("numpy", reason="pip install 'smile-async[analysis]'")

STEPS = [
    "standard", "standardT", "smile", "vectors/psyqa", "vectors/standard", "vectors/standardT", "vectors/smile",
    "topics/standard", "topics/standardT", "topics/smile",
]  # fmt: skip
AUTH = Failure(FailureKind.AUTH, "no such key", status=401)


def test_every_step_is_a_run_and_everything_is_asked_once(tmp_path: Path) -> None:
    """4 dialogues of 3 methods; vectors of 12 dialogues and 4 QAs, these once; topics of 12 dialogues."""
    studying = Studying(tmp_path)

    report = studying.go()

    assert (report.state, report.exit_code) == ("done", 0)
    assert studying.seen == [f"{number}/10 {name}" for number, name in enumerate(STEPS, 1)]
    assert len(studying.chat.asked) == 3 * ROWS
    assert len(studying.topics.asked) == 3 * ROWS
    assert len(studying.texts()) == len(set(studying.texts())) == 4 * ROWS
    assert {name: one.counts.set_aside for name, one in report.steps.items()} == dict.fromkeys(STEPS, 0)
    source = {
        line["questionID"] for line in map(orjson.loads, (studying.out / "psyqa.jsonl").read_bytes().splitlines())
    }
    made = (studying.out / "smile" / "corpus.jsonl").read_bytes().splitlines()
    assert {orjson.loads(line)["questionID"] for line in made} == source


def test_the_same_call_again_asks_nobody(tmp_path: Path) -> None:
    studying = Studying(tmp_path)
    studying.go()
    asked = [len(one.asked) for one in (studying.chat, studying.embed, studying.topics)]

    report = studying.go()

    assert report.state == "done"
    assert studying.seen == []
    assert [len(one.asked) for one in (studying.chat, studying.embed, studying.topics)] == asked


def test_a_study_that_stopped_goes_on_at_its_step_and_repeats_none(tmp_path: Path) -> None:
    """The key fails from the 6th dialogue on: 4 of standard and 1 of standardT are there, 7 are to come."""
    studying = Studying(tmp_path, fatal=AUTH, after=5)

    stopped = studying.go()
    failed = len(studying.chat.asked) - 5
    studying.fatal = None
    report = studying.go()

    assert (stopped.state, stopped.reason, stopped.step, stopped.exit_code) == ("stopped", "auth", "standardT", 4)
    assert report.state == "done"
    assert studying.seen[0] == "2/10 standardT"
    assert len(studying.chat.asked) == 3 * ROWS + failed


def test_a_switch_that_is_pressed_ends_the_study_and_it_goes_on(tmp_path: Path) -> None:
    studying = Studying(tmp_path, stop=StopSwitch())
    assert studying.stop is not None
    studying.stop.drain()

    stopped = studying.go()
    studying.stop = None

    assert (stopped.state, stopped.reason, stopped.exit_code) == ("stopped", "interrupted", 130)
    assert studying.seen == ["1/10 standard"]
    assert studying.go().state == "done"
    assert len(studying.chat.asked) == 3 * ROWS


def test_other_settings_are_refused_by_name_and_nobody_is_asked(tmp_path: Path) -> None:
    studying = Studying(tmp_path)
    studying.go()
    studying.embed.identity = {"model": "another"}

    with pytest.raises(
        RunMismatchError, match=r"(?s)embeddings: was .*vectors.* now .*another.*\n    rows: was 4, now 5"
    ):
        studying.go(rows=5)

    assert studying.seen == []


def test_limits_and_budget_may_change_when_it_goes_on(tmp_path: Path) -> None:
    studying = Studying(tmp_path)
    studying.go(budget_usd=1.0)

    assert studying.go(budget_usd=2.0).state == "done"


def test_one_budget_holds_for_all_steps_together(tmp_path: Path) -> None:
    """A dialogue costs 200 tokens of $1 a million: the 12 are $0.0024. A request is let through as long as the most it
    may cost, some 4,096 tokens of answer, is left: with $0.0055 the first steps' dollars are missing in a later one."""
    studying = Studying(tmp_path)

    stopped = studying.go(budget_usd=0.0055)
    spent = sum(one.counts.spend_usd for one in stopped.steps.values())
    report = studying.go(budget_usd=1.0)

    assert (stopped.state, stopped.reason, stopped.exit_code) == ("stopped", "budget", 4)
    assert stopped.step != "standard"
    assert 0.0008 <= spent <= 0.0055
    assert report.state == "done"
    assert math.isclose(sum(one.counts.spend_usd for name, one in report.steps.items() if "/" not in name), 12 * 200e-6)


def test_a_budget_without_prices_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    studying = Studying(tmp_path)

    with pytest.raises(SettingsError, match="those of the embeddings are not known"):
        studying.go(embed=Asked(studying.embed), budget_usd=1.0)

    assert studying.seen == []


def test_dialogues_that_came_later_get_their_vectors_and_topics_and_the_others_none_again(tmp_path: Path) -> None:
    """One dialogue of smile is refused at first: 4 + 4 + 3. Asked again with `again`, it comes; then smile's vectors are
    of other dialogues than before, and only its topic is missing: 11 + 1."""
    studying = Studying(tmp_path, fatal=Failure(FailureKind.CONTENT_FILTER, "refused"), after=11)
    first = studying.go()
    studying.fatal = None

    report = studying.go(again=True)

    assert (first.state, first.exit_code, first.set_aside) == ("done", 3, 1)
    assert (report.state, report.exit_code) == ("done", 0)
    assert studying.seen == ["3/10 smile", "7/10 vectors/smile", "10/10 topics/smile"]
    assert len(studying.topics.asked) == 3 * ROWS
    assert len((studying.out / "vectors/smile/ids.jsonl").read_bytes().splitlines()) == ROWS


def test_a_study_noted_in_the_old_form_goes_on(tmp_path: Path) -> None:
    """Its note was {study, done}, where `done` had one digest a step: nothing is asked again."""
    studying = Studying(tmp_path)
    studying.go()
    note = orjson.loads((studying.out / NOTE).read_bytes())
    done = {step: told["inputs"]["made_from"] for step, told in note["steps"].items()}
    (studying.out / NOTE).write_bytes(orjson.dumps({"study": note["settings"], "done": done}))

    report = studying.go()

    assert report.state == "done"
    assert studying.seen == []
    with pytest.raises(RunMismatchError, match="rows: was 4, now 5"):
        studying.go(rows=5)


def test_a_recipe_of_another_kind_is_refused(tmp_path: Path) -> None:
    studying = Studying(tmp_path)

    with pytest.raises(UsageError, match="'standard' needs nothing, and smile is a method that needs qa"):
        studying.go(recipes={"smile": "standard"})
    with pytest.raises(UsageError, match="There is no method 'smil'"):
        studying.go(recipes={"smil": "smile"})


def test_two_processes_do_not_work_on_one_study(tmp_path: Path) -> None:
    studying = Studying(tmp_path)

    with StudyFolder(studying.out, CORPORA).alone(), pytest.raises(RunInUseError, match="Another process"):
        studying.go()


def test_a_source_with_too_few_questions_is_told_before_the_first_step(tmp_path: Path) -> None:
    studying = Studying(tmp_path, rows=21)

    with pytest.raises(UsageError, match="20 distinct questions, fewer than 21"):
        studying.go()
    assert studying.seen == []
