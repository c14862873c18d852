"""Any task in a run folder: results in order, resume, refusals, and what other commands say to such a run."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from smile_async.engine.events import RunStarted
from smile_async.engine.job import FailureKind, Message, Reply, Request
from smile_async.engine.run import RunReport
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Accepted, Rejected, Task
from smile_async.errors import RunMismatchError, SettingsError
from smile_async.options import Options
from smile_async.pipeline import resume_corpus
from smile_async.run_folder import export_corpus, read_status, records
from smile_async.settings import Endpoint, Limits, RetryPolicy
from smile_async.task_note import NotDialoguesError
from smile_async.tasks import Following, Keeping, rejudge_task, results, run_task, set_aside
from smile_async.testing import Script, ScriptedProvider, replying, run_virtual
from tests.engine.asking import fail

ONE_TRY = Options(retry=RetryPolicy(max_attempts=1))


def shouting(*, longest: int = 5, version: int = 1) -> Task[str, str]:
    """Asks for a word in capitals; a word of more than `longest` letters is refused."""

    def accept(_word: str, reply: Reply) -> Accepted[str] | Rejected:
        return Rejected("too-long") if len(reply.text) > longest else Accepted(reply.text)

    return Task(
        name="shouting",
        render=lambda word: Request((Message("user", word),)),
        accept=accept,
        dump_item=lambda word: orjson.dumps({"word": word}),
        load_item=lambda data: str(orjson.loads(data)["word"]),
        dump_value=orjson.dumps,
        identity={"version": version},
        source_id=lambda word: f"of-{word}",
    )


def upper(request: Request, _number: int) -> Reply:
    return replying(request.messages[0].content.upper())


def ask(
    folder: Path,
    words: list[str],
    *,
    script: Script = upper,
    task: Task[str, str] | None = None,
    stop: StopSwitch | None = None,
    again: bool = False,
    **keeping: Any,
) -> tuple[RunReport, ScriptedProvider]:
    provider = ScriptedProvider(script, latency=1.0)
    seen = Following(stop=stop, retry_reasons=() if again else None, deterministic=random.Random(1))
    asking = run_task(
        task or shouting(), words, folder, provider=provider, options=ONE_TRY, keeping=Keeping(**keeping),
        following=seen,
    )  # fmt: skip
    return run_virtual(asking), provider


def test_results_come_in_the_items_order_and_the_rest_with_reasons(tmp_path: Path) -> None:
    report, _ = ask(tmp_path, ["one", "seventeen", "two"])

    assert (report.state, report.exit_code) == ("done", 3)
    assert list(results(tmp_path, shouting())) == [("one", "ONE"), ("two", "TWO")]
    [aside] = set_aside(tmp_path, shouting())
    assert (aside.item, aside.reason, aside.text) == ("seventeen", "too-long", "SEVENTEEN")
    [line] = (tmp_path / "set-aside.jsonl").read_text().splitlines()
    assert orjson.loads(line)["questionID"] == "of-seventeen"


def test_the_same_call_goes_on_and_pays_for_nothing_twice(tmp_path: Path) -> None:
    """Of five words one is asked before the stop (until it is answered nothing else leaves), four after it."""
    stop = StopSwitch()

    def only_one(request: Request, number: int) -> Reply:
        stop.drain()
        return upper(request, number)

    words = ["a", "b", "c", "d", "e"]
    first, before = ask(tmp_path, words, script=only_one, stop=stop)
    second, after = ask(tmp_path, words)

    assert (first.state, second.state) == ("stopped", "done")
    assert (len(before.asked), len(after.asked)) == (1, 4)
    assert [value for _, value in results(tmp_path, shouting())] == ["A", "B", "C", "D", "E"]


def test_what_was_set_aside_gets_another_chance_when_asked(tmp_path: Path) -> None:
    ask(tmp_path, ["one", "two"], script=lambda _request, _number: replying("much too long"))
    report, _ = ask(tmp_path, ["one", "two"], again=True)

    assert report.exit_code == 0
    assert len(list(results(tmp_path, shouting()))) == 2


def test_another_identity_or_another_task_is_refused(tmp_path: Path) -> None:
    ask(tmp_path, ["one"])

    with pytest.raises(RunMismatchError, match="version: was 1, now 2"):
        ask(tmp_path, ["one"], task=shouting(version=2))
    with pytest.raises(RunMismatchError, match='task: was "shouting", now "whispering"'):
        ask(tmp_path, ["one"], task=replace(shouting(), name="whispering"))
    with pytest.raises(RunMismatchError, match="holds shouting, not whispering"):
        list(results(tmp_path, replace(shouting(), name="whispering")))


def test_replies_are_judged_again_without_asking(tmp_path: Path) -> None:
    ask(tmp_path, ["one", "seventeen"])

    revision, counts = asyncio.run(rejudge_task(tmp_path, shouting(longest=9)))

    assert (revision.newly_accepted, counts.set_aside) == (1, 0)
    assert [value for _, value in results(tmp_path, shouting())] == ["ONE", "SEVENTEEN"]
    assert (tmp_path / "set-aside.jsonl").read_text() == ""


def test_a_stopped_run_has_its_results_so_far_and_says_how_to_go_on(tmp_path: Path) -> None:
    """The second word's answer is that the key is wrong: the run stops with one result."""

    def key_expires(request: Request, number: int) -> Any:
        return upper(request, number) if number == 0 else fail(FailureKind.AUTH)

    def lines(reader: Any) -> Any:
        yield from (value for (value,) in reader.execute("SELECT value FROM results").fetchall())

    report, _ = ask(
        tmp_path, ["one", "two"], script=key_expires, command="smile shout w r", files={"loud.jsonl": lines}
    )

    assert report.reason == "auth"
    assert (tmp_path / "loud.jsonl").read_bytes() == b'"ONE"'
    status = read_status(tmp_path)
    assert (status.task, status.go_on) == ("shouting", "Go on with: smile shout w r")
    assert status.files == ("loud.jsonl", "set-aside.jsonl")
    assert status.as_json()["task"] == "shouting"


def test_a_call_that_is_refused_before_the_folder_is_looked_at_leaves_another_runs_folder_alone(tmp_path: Path) -> None:
    """A budget without prices is refused before the ledger is opened: nobody knows yet whose folder it is."""
    ask(tmp_path, ["one", "seventeen"])
    (tmp_path / "set-aside.jsonl").unlink()
    before = sorted(tmp_path.iterdir())
    asking = run_task(
        replace(shouting(), name="whispering"), ["one"], tmp_path,
        provider=ScriptedProvider(upper), options=Options(limits=Limits(budget_usd=1.0)),
        keeping=Keeping(files={"vectors.jsonl": lambda _reader: iter([b"{}"])}),
        following=Following(deterministic=random.Random(1)),
    )  # fmt: skip

    with pytest.raises(SettingsError, match="A budget needs prices"):
        run_virtual(asking)
    assert sorted(tmp_path.iterdir()) == before


def test_a_run_that_began_and_was_broken_off_has_its_results_written(tmp_path: Path) -> None:
    """The third item cannot be had, which is a `SettingsError` as well, but this run had begun: its results are there
    anew. The listener hears what it would hear without us."""
    ask(tmp_path, ["one", "two"])
    heard: list[Any] = []

    def words() -> Iterator[str]:
        yield from ("one", "two")
        raise SettingsError("no third")

    def lines(reader: Any) -> Any:
        yield from (value + b"\n" for (value,) in reader.execute("SELECT value FROM results").fetchall())

    asking = run_task(
        shouting(), words(), tmp_path,
        provider=ScriptedProvider(upper), options=ONE_TRY, keeping=Keeping(files={"loud.jsonl": lines}),
        following=Following(listener=heard.append, deterministic=random.Random(1)),
    )  # fmt: skip

    with pytest.raises(SettingsError, match="no third"):
        run_virtual(asking)
    assert sorted((tmp_path / "loud.jsonl").read_bytes().split()) == [b'"ONE"', b'"TWO"']
    assert isinstance(heard[0], RunStarted)


def test_what_is_for_dialogues_says_which_command_is_this_runs(tmp_path: Path) -> None:
    ask(tmp_path, ["one"], command="smile shout w r")

    for use in (
        lambda: run_virtual(resume_corpus(tmp_path, provider=Endpoint(model="m"))),
        lambda: list(records(tmp_path)),
        lambda: export_corpus(tmp_path, tmp_path / "out.jsonl", "jsonl"),
    ):
        with pytest.raises(NotDialoguesError, match="holds shouting, no dialogues") as told:
            use()
        assert "smile shout w r" in str(told.value)
