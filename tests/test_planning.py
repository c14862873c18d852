"""A plan beside what then happened: 500 rows at the simulated endpoint, on a virtual clock, tokens, cost and time each
within 15 percent."""

import asyncio
import random
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from smile_async import planning
from smile_async.dialogue_task import dialogue_task
from smile_async.engine import account, schema
from smile_async.engine.lane import Served
from smile_async.engine.run import RunReport, run
from smile_async.errors import RunMismatchError, UsageError
from smile_async.options import Options
from smile_async.plan import Plan
from smile_async.planning import measure, plan_corpus
from smile_async.prompt.recipe import load_recipe
from smile_async.rows import opened, rows_identity, seeds
from smile_async.settings import Endpoint, Intake, Limits, Prices, Quota, RetryPolicy
from smile_async.simulate.provider import SimulatedProvider
from smile_async.simulate.settings import SimulatorSettings
from smile_async.testing import run_virtual
from tests.e2e.questions import QA, questions

ROWS, PILOT = 500, 20
WITHIN = 0.15
PRICES = Prices(input=1, output=4)
SMILE = load_recipe("smile")
SLOW = {"base": 1.0, "per_token": 0.01, "jitter": 0.2}


def rows() -> list[QA]:
    """The first are short, the last have up to five times the description."""
    found = questions(ROWS)
    for number, row in enumerate(found):
        row["description"] *= 1 + number // 100
    return found


def provider(**settings: Any) -> SimulatedProvider:
    return SimulatedProvider(SimulatorSettings.model_validate({"latency": SLOW, **settings}))


def options(**limits: Any) -> Options:
    return Options(recipe="smile", limits=Limits.model_validate(limits), prices=PRICES)


def ask(
    folder: Path, asked: SimulatedProvider | list[Served], given: Options, count: int = ROWS
) -> tuple[RunReport, float]:
    """The first `count` rows on a virtual clock, and how many seconds that took, as `generate_corpus` would ask them."""

    async def main() -> tuple[RunReport, float]:
        task = dialogue_task(SMILE, rows=rows_identity(SMILE, given.intake))
        report = await run(
            task,
            islice(seeds(opened(rows(), given.intake), SMILE, given.intake), count),
            folder,
            provider=asked,
            limits=given.limits,
            retry=given.retry,
            prices=given.prices,
            notes={
                "source": None,
                "recipe": SMILE.model_dump(mode="json"),
                "endpoint": None,
                "options": given.as_notes(),
            },
            deterministic=random.Random(0),
        )
        return report, asyncio.get_running_loop().time()

    return run_virtual(main())


def planned(source: Any, out: Path | None, asked: SimulatedProvider, given: Options, **more: Any) -> Plan:
    return asyncio.run(plan_corpus(source, out, provider=asked, options=given, **more))


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "requests a minute": ({"requests_per_minute": 60}, {}),
    "tokens a minute": ({"tokens_per_minute": 100_000}, {"breaches": {"too-few-turns": 0.1}}),
    "requests in flight": ({"concurrency": 8}, {"breaches": {"bad-start": 0.15, "no-separator": 0.1}}),
    "faults": (
        {"concurrency": 16},
        {"faults": {"content-filter": 0.04, "filtered-answer": 0.03, "server-error": 0.05, "broken-json": 0.02}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_after_twenty_rows_the_rest_is_foreseen(case: str, tmp_path: Path) -> None:
    limits, settings = CASES[case]
    given = options(**{"concurrency": 200, **limits})
    before, _ = ask(tmp_path, provider(**settings), given, PILOT)
    found = planned(rows(), tmp_path, provider(**settings), given)
    report, took = ask(tmp_path, provider(**settings), given)

    asked = report.counts.replies - before.counts.replies
    prompt = report.counts.prompt_tokens - before.counts.prompt_tokens
    completion = report.counts.completion_tokens - before.counts.completion_tokens
    assert found.work.rows == ROWS - PILOT
    assert found.work.left_out == {"ended": PILOT}
    assert found.rates.replies == before.counts.replies
    assert found.replies == pytest.approx(asked, rel=WITHIN)
    assert found.prompt_tokens == pytest.approx(prompt, rel=WITHIN)
    assert found.completion_tokens == pytest.approx(completion, rel=WITHIN)
    assert found.cost_usd == pytest.approx(report.counts.spend_usd - before.counts.spend_usd, rel=WITHIN)
    assert found.seconds == pytest.approx(took, rel=WITHIN)
    assert found.binds == ("requests in flight" if case == "faults" else case)


def test_a_limit_that_nobody_named_and_the_pilot_was_told_binds_the_plan(tmp_path: Path) -> None:
    """600 requests a minute, in the server's headers: 480 more take 48 s at least. The user's own, where it is less,
    stays."""
    asked = provider(limits={"requests": 600, "tokens": 10_000_000})
    found = planned(rows(), tmp_path, asked, options(), pilot=PILOT)
    slower = planned(rows(), tmp_path, asked, options(requests_per_minute=300))

    assert found.bounds[0].name == "requests a minute"
    assert found.bounds[0].limit == 600
    assert slower.bounds[0].limit == 300


def test_another_run_says_what_to_expect_of_the_whole(tmp_path: Path) -> None:
    settings = {"breaches": {"too-few-turns": 0.1}}
    given = options(concurrency=50)
    ask(tmp_path / "small", provider(**settings, seed=1), given, 60)
    found = planned(rows(), None, provider(**settings), given, like=tmp_path / "small")
    report, took = ask(tmp_path / "whole", provider(**settings), given)
    assert found.work.rows == ROWS
    assert found.prompt_tokens == pytest.approx(report.counts.prompt_tokens, rel=WITHIN)
    assert found.completion_tokens == pytest.approx(report.counts.completion_tokens, rel=WITHIN)
    assert found.seconds == pytest.approx(took, rel=WITHIN)
    assert found.rates.basis == f"run {tmp_path / 'small'}"


def test_two_endpoints_with_limits_of_their_own_are_foreseen_as_one(tmp_path: Path) -> None:
    """One by requests, the other, which costs half, by tokens a minute."""
    cheap, few = Prices(input=0.5, output=2), Quota(requests_per_minute=60, concurrency=100)
    tokens = Quota(tokens_per_minute=150_000, concurrency=100)
    settings = {"breaches": {"too-few-turns": 0.1}}
    given = options(concurrency=50)
    ask(tmp_path / "small", provider(**settings), given, 60)
    where = [
        Endpoint(name="a", base_url="http://127.0.0.1:1/v1", model="m", quota=few),
        Endpoint(name="b", base_url="http://127.0.0.1:1/v1", model="m", quota=tokens, prices=cheap),
    ]
    found = asyncio.run(plan_corpus(rows(), provider=where, options=given, like=tmp_path / "small"))
    served = [Served(provider(**settings), "a", few), Served(provider(**settings), "b", tokens, cheap)]
    report, took = ask(tmp_path / "whole", served, given)
    with schema.reading(tmp_path / "whole") as reader:
        by_endpoint = account.read_endpoints(reader)
    assert {one.name: one.binds for one in found.shares} == {"a": "requests a minute", "b": "tokens a minute"}
    for one in found.shares:
        assert one.share == pytest.approx(by_endpoint[one.name].attempts / report.counts.attempts, rel=WITHIN)
    assert found.cost_usd == pytest.approx(report.counts.spend_usd, rel=WITHIN)
    assert found.seconds == pytest.approx(took, rel=WITHIN)


def test_nothing_is_asked_without_a_pilot_and_what_is_assumed_is_named(tmp_path: Path) -> None:
    asked = provider()
    found = planned(rows(), tmp_path / "run", asked, options())
    assert asked.endpoint.stats.requests == 0
    assert found.rates.basis == "assumptions"
    assert found.rates.assumptions
    assert not (tmp_path / "run").exists()


def test_a_pilots_rows_are_paid_for_once_and_the_run_goes_on_with_all(tmp_path: Path) -> None:
    from smile_async.notes import read_notes
    from smile_async.pipeline import generate_corpus
    from smile_async.run_folder import read_status

    asked = provider(latency={"base": 0}, breaches={"too-few-turns": 0.2})
    given = options(concurrency=10)
    found = planned(rows(), tmp_path, asked, given, pilot=PILOT)
    after_pilot = asked.endpoint.stats.requests
    status = read_status(tmp_path)
    assert (status.counts.total, status.counts.exact, status.state, status.stopped_by) == (
        PILOT,
        False,
        "stopped",
        "pilot",
    )
    assert found.work.rows == ROWS - PILOT
    assert read_notes(tmp_path)["options"]["intake"]["limit"] is None
    planned(rows(), tmp_path, asked, given, pilot=PILOT)
    assert asked.endpoint.stats.requests == after_pilot, "the replies are there: nobody is asked again"
    report = asyncio.run(generate_corpus(rows(), tmp_path, provider=asked, options=given))
    assert report.counts.total == ROWS
    assert report.counts.replies == asked.endpoint.stats.requests


def test_a_pilot_that_is_stopped_leaves_a_run_about_all_rows(tmp_path: Path) -> None:
    from smile_async.errors import StoppedError
    from smile_async.notes import read_notes

    with pytest.raises(StoppedError):
        planned(rows(), tmp_path, provider(latency={"base": 0}, quota_requests=5), options(concurrency=2), pilot=PILOT)
    assert read_notes(tmp_path)["options"]["intake"]["limit"] is None


def test_a_pilot_of_a_drawn_sample_asks_the_first_of_it(tmp_path: Path) -> None:
    given = Options(recipe="smile", intake=Intake(sample=50, seed=3))
    asked = provider(latency={"base": 0})
    found = planned(rows(), tmp_path, asked, given, pilot=5)
    assert asked.endpoint.stats.requests == 5
    assert (found.work.rows, found.work.left_out) == (45, {"ended": 5})


def test_a_pilot_needs_a_folder_and_a_run_of_another_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run folder"):
        planned(rows(), None, provider(), options(), pilot=5)
    ask(tmp_path, provider(), options(), 3)
    with pytest.raises(RunMismatchError, match="recipe"):
        planned(None, tmp_path, provider(), Options(recipe="standard", intake=Intake(limit=5)))


def test_rows_that_will_not_be_asked_are_left_out_by_reason(tmp_path: Path) -> None:
    given = [*questions(10), *questions(3), {"question": "", "answer": "好。"}]
    intake = Intake(skip_bad_rows=True)
    found = planned(given, None, provider(), Options(intake=intake))
    assert found.work.rows == 10
    assert found.work.left_out == {"duplicate": 3, "bad-row": 1}


def test_many_rows_are_measured_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times fewer prompts give the sum of all within two percent, and the same at each time."""
    task, intake = dialogue_task(SMILE), Intake()
    whole = measure(seeds(opened(rows(), intake), SMILE, intake), task)
    monkeypatch.setattr(planning, "RENDERED", 50)
    some = [measure(seeds(opened(rows(), intake), SMILE, intake), task) for _ in range(2)]
    assert some[0] == some[1]
    assert (some[0].rows, some[0].sampled, whole.sampled) == (ROWS, 50, None)
    assert some[0].size.total == pytest.approx(whole.size.total, rel=0.02)


def test_the_attempts_that_are_allowed_count(tmp_path: Path) -> None:
    ask(tmp_path, provider(breaches={"too-few-turns": 0.5}), options(), 40)
    plans = [
        planned(rows(), None, provider(), Options(recipe="smile", retry=RetryPolicy(max_attempts=most)), like=tmp_path)
        for most in (1, 3, None)
    ]
    assert plans[0].replies == ROWS
    assert ROWS < plans[1].replies < plans[2].replies
    assert plans[0].accepted < plans[1].accepted < plans[2].accepted == pytest.approx(ROWS)
