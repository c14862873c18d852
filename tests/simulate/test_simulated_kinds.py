"""What is asked decides what kind of answer there is; and every fault is told where a user looks for it."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest

from smile_async.analysis.labels import read_labels
from smile_async.cli.servers import simulate
from smile_async.engine.job import Message
from smile_async.prompt.annotation import annotation_prompt
from smile_async.prompt.topics import load_topics
from smile_async.simulate import Breach, Fault, SimulatorSettings
from smile_async.simulate.behaviour import Behaviour
from smile_async.simulate.chat import ask_of
from smile_async.simulate.settings import BREACHES, FAULTS

DOCS = Path(__file__).parents[2] / "docs" / "simulation.md"


@pytest.mark.parametrize("name", [*FAULTS, *BREACHES])
def test_every_fault_and_breach_is_in_the_help_and_explained_in_the_docs(name: str) -> None:
    told = {str(key): words for key, words in (*FAULTS.items(), *BREACHES.items())}[name]
    assert f"| `{name}` | {told} |" in DOCS.read_text("utf-8")
    assert re.search(rf"[ \n]{name}[,.]", simulate.__doc__ or "")


def test_no_fault_or_breach_is_without_its_words() -> None:
    assert (set(FAULTS), set(BREACHES)) == (set(Fault), set(Breach))


def asked(*messages: tuple[str, str], **settings: Any) -> str:
    """What is answered to these messages."""
    ask = ask_of(tuple([Message(role, text) for role, text in messages]))
    found = Behaviour(SimulatorSettings.model_validate(settings)).decide(ask, 0).completion
    assert found is not None
    return found.text or ""


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_prompt_for_topics_is_answered_with_some_of_the_60(language: Literal["zh", "en"]) -> None:
    for number in range(50):
        labels = read_labels(
            asked(("user", annotation_prompt(f"求助者: 第{number}句", language))), load_topics(language)
        )
        assert 1 <= len(labels.topics) <= 4
        assert (labels.others, labels.prose) == ((), 0)


def test_a_breach_of_topics_is_a_label_that_is_none() -> None:
    text = asked(("user", annotation_prompt("求助者: 你好", "zh")), breaches={"bad-start": 1})
    assert read_labels(text, load_topics("zh")).others == ("天气变化",)


def test_a_conversation_is_answered_with_its_next_turn_always_the_same() -> None:
    case = ("system", "你是一名心理咨询师。"), ("user", "我最近很累。")
    text = asked(*case)
    assert text == asked(*case)
    assert 10 < len(text) < 300
    assert "\n" not in text
    assert "支持者" not in text
    assert text != asked(*case, ("assistant", text), ("user", "是工作上的事。"))


@pytest.mark.parametrize(
    "messages",
    [
        [("user", "我最近很累。")],
        [
            ("system", "把一问一答改写成多轮对话。"),
            ("user", "求助者：累。"),
            ("assistant", "求助者：你好"),
            ("user", "求助者：烦。"),
        ],
        [
            ("user", 'Begin each line with "Client: " or "Lawyer: ".'),
            ("assistant", "Client: x"),
            ("user", "no-separator"),
        ],
    ],
)
def test_whatever_else_is_asked_is_answered_with_a_dialogue(messages: list[tuple[str, str]]) -> None:
    """A lone prompt, a recipe with examples, and a re-ask that names a rule."""
    assert asked(*messages).count("支持者") >= 5
