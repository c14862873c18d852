"""The simulator's answers against the rules themselves: each breach is found under its own code, and nothing else is."""

import pytest

from smile_async.dialogue.parse import Valid, judge
from smile_async.dialogue.rules import DialogueFormat, RuleSwitches
from smile_async.simulate import Breach, Fault, SimulatorSettings
from smile_async.simulate.behaviour import Ask, Behaviour

FORM = DialogueFormat(
    roles={"client": ("求助者",), "counselor": ("支持者",)},
    opener="client",
    rules=RuleSwitches(repetition=True, wrong_language=True),
)


def codes(count: int = 200, **settings: object) -> set[str]:
    """What the rules make of answers to `count` prompts: codes of violations, `valid` for dialogues."""
    behaviour = Behaviour(SimulatorSettings.model_validate(settings))
    found = set()
    for n in range(count):
        completion = behaviour.decide(Ask(b"%16d" % n, 10), 0).completion
        assert completion is not None
        verdict = judge(
            completion.text or "", form=FORM, finish_reason=completion.finish_reason, refusal=completion.refusal
        )
        found.add("valid" if isinstance(verdict, Valid) else verdict.code.value)
    return found


def test_an_ordinary_answer_breaks_no_rule_even_with_the_gates_beyond_the_paper() -> None:
    assert codes(1000) == {"valid"}


@pytest.mark.parametrize("breach", list(Breach))
def test_a_breach_is_found_under_its_own_code(breach: Breach) -> None:
    assert codes(breaches={breach: 1}) == {breach.value}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.REFUSAL, "refused"),
        (Fault.REFUSAL_TEXT, "refused"),
        (Fault.FILTERED_ANSWER, "refused"),
        (Fault.TRUNCATED, "truncated"),
        (Fault.EMPTY_CONTENT, "empty"),
    ],
)
def test_an_answer_that_is_no_dialogue_is_set_aside_for_what_it_is(fault: Fault, code: str) -> None:
    assert codes(faults={fault: 1}) == {code}
