"""Who is refused as a stranger to a run, and who must not be."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from smile_async.engine.job import Reply, Request
from smile_async.engine.run import RunReport
from smile_async.engine.switch import StopSwitch
from smile_async.kinship import OtherSourceError
from smile_async.options import Options
from smile_async.pipeline import generate_corpus, resume_corpus
from smile_async.settings import Intake, RetryPolicy
from tests.e2e.questions import questions, write_jsonl

GIVEN = Options(retry=RetryPolicy(max_attempts=1), intake=Intake(skip_bad_rows=True))


class Refusing:
    """Answers what no recipe takes: what becomes of a row is not what is asked here."""

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"model": "m"}

    async def ask(self, _request: Request) -> Reply:
        await asyncio.sleep(0)
        return Reply("no dialogue")

    async def aclose(self) -> None:
        """There is nothing to close."""


def generate(source: Path, run: Path, *, add: bool = False, stop: StopSwitch | None = None) -> RunReport:
    options = Options(retry=GIVEN.retry, intake=GIVEN.intake, add_source=add)
    return asyncio.run(generate_corpus(source, run, provider=Refusing(), options=options, stop=stop))


def stopped() -> StopSwitch:
    switch = StopSwitch()
    switch.drain()
    return switch


def test_a_file_whose_bad_rows_were_mended_is_still_the_run_s(tmp_path: Path) -> None:
    """Of 100 rows 5 could be read: these are what both have in common, and 5 of 100 are less than a tenth."""
    rows = questions(100)
    bad = [row | {"answer": ""} for row in rows[:95]]
    source = write_jsonl(tmp_path / "source.jsonl", [*bad, *rows[95:]])
    first = generate(source, tmp_path / "run")
    assert first.counts.reasons["bad-row"] == 95

    again = generate(source, tmp_path / "run")
    write_jsonl(source, rows)
    mended = generate(source, tmp_path / "run")

    assert (again.counts.total, mended.counts.total) == (100, 195)


def test_a_run_to_which_a_source_was_added_goes_on_though_it_was_stopped_before_it_was_read(tmp_path: Path) -> None:
    """The run has 20 rows of one file, and notes the other, of which it knows none yet."""
    one = write_jsonl(tmp_path / "one.jsonl", questions(20))
    other = write_jsonl(tmp_path / "other.jsonl", questions(40)[20:])
    generate(one, tmp_path / "run")
    with pytest.raises(OtherSourceError):
        generate(other, tmp_path / "run")
    generate(other, tmp_path / "run", add=True, stop=stopped())

    resumed = asyncio.run(resume_corpus(tmp_path / "run", provider=Refusing()))

    assert resumed.counts.total == 40


def test_rows_that_the_run_read_late_are_its_own_too(tmp_path: Path) -> None:
    """Of 130 rows only the first hundred are looked at to begin with; a file of the last thirty is no stranger, and what
    the run does not know is."""
    whole = write_jsonl(tmp_path / "whole.jsonl", questions(130))
    generate(whole, tmp_path / "run")

    late = generate(write_jsonl(tmp_path / "late.jsonl", questions(130)[100:]), tmp_path / "run")

    assert late.counts.total == 130
    with pytest.raises(OtherSourceError, match="none is among its 130"):
        generate(write_jsonl(tmp_path / "other.jsonl", questions(160)[130:]), tmp_path / "run")


def test_the_loop_turns_while_a_stranger_is_looked_at(tmp_path: Path) -> None:
    """2,000 rows are read until it is refused; whoever else lives in the loop is served meanwhile (100 turns are few:
    there are thousands)."""
    generate(write_jsonl(tmp_path / "source.jsonl", questions(150)), tmp_path / "run")
    other = [row | {"question": f"另一个{row['question']}"} for row in questions(2_000)]
    stranger = write_jsonl(tmp_path / "stranger.jsonl", other)

    async def turns() -> int:
        count = 0
        asking = asyncio.create_task(generate_corpus(stranger, tmp_path / "run", provider=Refusing(), options=GIVEN))
        while not asking.done():
            await asyncio.sleep(0)
            count += 1
        with pytest.raises(OtherSourceError):
            asking.result()
        return count

    assert asyncio.run(turns()) > 100


def test_a_run_that_gets_another_source_says_what_it_reads_no_more(tmp_path: Path) -> None:
    """The first 30 rows of 100, in a file of their own: the run is done, and of the other file nobody asks the rest."""
    whole = write_jsonl(tmp_path / "whole.jsonl", questions(100))
    part = write_jsonl(tmp_path / "part.jsonl", questions(100)[:30])
    told: list[str] = []
    asyncio.run(generate_corpus(part, tmp_path / "run", provider=Refusing(), options=GIVEN, notify=told.append))
    assert told == []

    for source in (whole, whole, part):
        asyncio.run(generate_corpus(source, tmp_path / "run", provider=Refusing(), options=GIVEN, notify=told.append))

    run = tmp_path / "run"
    assert told == [
        f"{run} has read 30 rows of {part}; from now on it reads {whole}, not the rest of that.",
        f"{run} has read 100 rows of {whole}; from now on it reads {part}, not the rest of that.",
    ]
