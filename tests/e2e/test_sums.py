"""2,000 rows through a server with limits, every fault and broken rules: the run's sums are the server's own.

What every ask of a prompt meets is fixed by the server's seed (`Behaviour.decide`), so that the end of each row can be
told beforehand: by walking its asks with the run's budgets.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from smile_async.dialogue.model import QAPair
from smile_async.engine.job import Message
from smile_async.prompt.recipe import load_recipe
from smile_async.simulate.behaviour import Ask, Behaviour, Plan
from smile_async.simulate.chat import ask_of
from smile_async.simulate.settings import Breach, Fault, SimulatorSettings
from tests.e2e.processes import MODEL, in_ledger, read_jsonl, simulator, smile
from tests.e2e.questions import QA, questions, write_psyqa

pytestmark = pytest.mark.e2e

ROWS, IN_FLIGHT = 2_000, 64
RECIPE = "smile-checked"  # all rules on, those beyond the paper too
ATTEMPTS, FAILURES = 3, 3  # replies, and failures, that a row may cost
SHARE = 0.015  # of each fault and each broken rule: 24 of them, so that 36 in 100 asks go wrong

SETTINGS: dict[str, Any] = {
    "seed": 2,
    "latency": {"base": 0.02, "jitter": 0.5},
    "limits": {"requests": 500, "tokens": 600_000, "window": 1.0},
    "faults": {fault.value: SHARE for fault in Fault},
    "breaches": {breach.value: SHARE for breach in Breach},
    "fault_retry_after": 0.05,
}
# A hanging request is given up after `read` seconds; a slow one (ten times 30 ms) is not.
CONFIG = f"""
salvage = "none"  # a reply that breaks a rule is rejected, as the plan says
[retry]
max_attempts = {ATTEMPTS}
max_failures = {FAILURES}
first_wait = 0.02
max_wait = 0.2
[timeouts]
read = 3.0
"""

UNANSWERED: dict[str, str] = {
    Fault.RATE_LIMITED: "rate-limited",
    Fault.RATE_LIMITED_BARE: "rate-limited",
    Fault.SERVER_ERROR: "server-error",
    Fault.BAD_GATEWAY: "gateway-error",
    Fault.UNAVAILABLE: "overloaded",
    Fault.CONTENT_FILTER: "content-filter",
    Fault.RESET: "disconnected",
    Fault.CUT_BODY: "broken-body",
    Fault.HANG: "timeout",
    Fault.BROKEN_JSON: "broken-body",
}
"""What a request comes to that brings no reply."""

REJECTED: dict[str, str] = {
    Fault.FILTERED_ANSWER: "content-filter",
    Fault.EMPTY_CHOICES: "empty",
    Fault.EMPTY_CONTENT: "empty",
    Fault.TRUNCATED: "truncated",
    Fault.REFUSAL: "refused",
    Fault.REFUSAL_TEXT: "refused",
    **{breach: breach.value for breach in Breach},
}
"""Which rule a reply breaks that was paid for. Any other plan is a good dialogue."""

FINAL = "content-filter"


@dataclass
class Expected:
    """What the whole run must come to."""

    ends: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def walk(self, plans: Iterator[Plan]) -> str:
        """Ask until the row ends; returns how."""
        replies = failures = 0
        for plan in plans:
            if plan.fault in UNANSWERED:
                code = UNANSWERED[plan.fault]
                failures += code != "rate-limited"  # says nothing about the row
                over = failures == FAILURES
            else:
                code = REJECTED.get(plan.fault, "accepted")
                replies += 1
                self._pay(plan)
                over = replies == ATTEMPTS
            self.verdicts[code] += 1
            if over or code in {"accepted", FINAL}:
                self.ends[code] += 1
                return code
        raise AssertionError("plans never end")

    def _pay(self, plan: Plan) -> None:
        assert plan.completion is not None
        self.replies += 1
        self.prompt_tokens += plan.completion.usage.prompt_tokens
        self.completion_tokens += plan.completion.usage.completion_tokens


def _plans(behaviour: Behaviour, ask: Ask) -> Iterator[Plan]:
    return map(partial(behaviour.decide, ask), range(1_000))


def _ask(row: QA) -> Ask:
    pair = QAPair.model_validate({name: row[name] for name in ("question", "description", "answer")})
    messages = tuple(Message(role, content) for role, content in load_recipe(RECIPE).render(pair))
    return ask_of(messages, model=MODEL)


def test_every_row_ends_as_the_servers_plan_implies_and_the_sums_are_the_servers(tmp_path: Path) -> None:
    rows = questions(ROWS)
    behaviour = Behaviour(SimulatorSettings.model_validate(SETTINGS))
    expected, asks = Expected(), [_ask(row) for row in rows]
    ends = [expected.walk(_plans(behaviour, ask)) for ask in asks]
    # The first row is asked alone; were it to fail, it would not be charged, since nothing shows yet that the server
    # answers. The seed is one where it does not.
    assert next(_plans(behaviour, asks[0])).fault == ""

    settings, config, run = tmp_path / "simulator.json", tmp_path / "smile.toml", tmp_path / "run"
    settings.write_text(json.dumps(SETTINGS))
    config.write_text(CONFIG)
    source = write_psyqa(tmp_path / "psyqa.json", rows)
    with simulator(settings=settings) as server:
        command = ("generate", str(source), str(run), *server.where, "--recipe", RECIPE, "--config", str(config))
        ended = smile(*command, "--concurrency", str(IN_FLIGHT), "--json")
        stats = server.settled()

    assert ended.code == 3, ended.err
    told, aside = ended.told, Counter(expected.ends)
    accepted = aside.pop("accepted")
    assert len(aside) >= 8, "a plan in which rows end for few reasons proves little"
    # Every row ended, and with the code that the server's plan implies.
    assert told["rows"]["accepted"] == accepted
    assert told["rows"]["set_aside"] == ROWS - accepted
    assert told["rows"]["pending"] == 0
    assert told["reasons"] == dict(aside)
    found = {line["questionID"]: line["reason"] for line in read_jsonl(run / "set-aside.jsonl")}
    found |= {line["questionID"]: "accepted" for line in read_jsonl(run / "corpus.jsonl")}
    assert found == {row["questionID"]: end for row, end in zip(rows, ends, strict=True)}

    # Each request that the server saw is an attempt in the ledger, under the name of what it met.
    verdicts = Counter(dict(in_ledger(run, "SELECT verdict, count(*) FROM attempts GROUP BY verdict")))
    # By the limits, which are not in the plan; headers tell them, so it is few.
    refused = sum(stats["refused"].values())
    assert refused < ROWS / 100
    assert verdicts == expected.verdicts + Counter({"rate-limited": refused})
    assert told["attempts"] == stats["requests"] == expected.verdicts.total() + refused
    assert stats["distinct_prompts"] == ROWS

    # Each completion that was served is a reply in the ledger, and costs what the server says. Answers with tokens
    # but no choices are replies too, which the server does not call served.
    hollow = stats["by_fault"]["empty-choices"]
    assert told["replies"] == stats["served"]["completions"] + hollow == expected.replies
    assert told["tokens"] == {"prompt": expected.prompt_tokens, "completion": expected.completion_tokens}
    assert _tokens(run, "NOT (verdict = 'empty' AND p.text = '' AND p.finish_reason IS NULL)") == (
        stats["served"]["prompt_tokens"],
        stats["served"]["completion_tokens"],
    )
    # Who was billed without a reply: cut, broken and never sent answers; the reset ones, and those that a gateway had
    # no answer to, perhaps were.
    by_fault = stats["by_fault"]
    unsure = ("cut-body", "broken-json", "hang", "reset", "bad-gateway")
    assert told["perhaps_billed"] == sum(by_fault[name] for name in unsure)
    assert (
        stats["billed"]["completions"]
        == told["replies"] + told["perhaps_billed"] - by_fault["reset"] - by_fault["bad-gateway"]
    )


def _tokens(run: Path, which: str) -> tuple[int, int]:
    [(prompt, completion)] = in_ledger(
        run,
        "SELECT sum(a.prompt_tokens), sum(a.completion_tokens) FROM attempts a JOIN replies p USING (attempt)"
        f" WHERE a.paid AND {which}",
    )
    return int(prompt), int(completion)
