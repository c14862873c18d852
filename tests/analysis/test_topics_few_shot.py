"""Topics by a base model: examples, and a grammar in place of an instruction."""

import asyncio
import random
import re
from pathlib import Path

import pytest

from smile_async.analysis.topic_entropy import topic_table
from smile_async.analysis.topics import read_annotation, reread_topics, topic_task
from smile_async.analysis.topics_few_shot import LONGEST, annotate_few_shot, both_ends, few_shot_task
from smile_async.corpus.formats import Record
from smile_async.dialogue.model import Dialogue
from smile_async.prompt.annotation_few_shot import few_shot, labels_grammar
from smile_async.prompt.topics import load_topics
from smile_async.tasks import Following
from smile_async.testing import ScriptedProvider, replying, run_virtual

NAMES = [topic.name for topic in load_topics("zh")]


def record(said: str) -> Record:
    spoken = [{"role": "client", "content": said}, {"role": "counselor", "content": "我在听。"}]
    return Record("r0", "", None, Dialogue.model_validate({"utterances": spoken}))


def test_the_grammar_allows_one_to_three_of_the_60_names_and_nothing_else() -> None:
    root, topic = labels_grammar().splitlines()
    assert root == 'root ::= topic ("，" topic){0,2}'
    assert re.findall(r'"([^"]+)"', topic) == NAMES
    assert topic.count(" | ") == 59


def test_the_examples_name_only_topics_of_the_60_and_all_60_are_listed() -> None:
    shown = few_shot().before
    assert all(name in shown[0][1] for name in NAMES)
    given = [label for role, text in shown if role == "assistant" for label in text.split("，")]
    assert given
    assert set(given) <= set(NAMES)


def test_a_dialogue_is_put_in_as_it_is() -> None:
    hostile = "{single dialogue} {tiny topic} \\1"
    assert few_shot().messages(hostile)[-1] == ("user", f"【对话】\n{hostile}\n【主题】")


def test_it_asks_with_the_grammar_and_reads_the_labels_as_any_annotation(tmp_path: Path) -> None:
    provider = ScriptedProvider(lambda _request, _number: replying("焦虑，焦虑，自杀倾向"))
    records = [record("很" * 3_000)]

    run_virtual(
        annotate_few_shot(records, tmp_path, provider=provider, following=Following(deterministic=random.Random(1)))
    )

    request = provider.asked[0][1]
    assert request.extra["grammar"] == labels_grammar()
    assert request.max_tokens == 64
    assert len(request.messages[-1].content) <= LONGEST + len("【对话】\n\n【主题】")
    assert request.messages[-1].content.endswith("很\n支持者：我在听。\n【主题】")  # the end is read, too
    for _ in range(2):  # as it was written, and as `smile revalidate` writes it again
        annotation = read_annotation(tmp_path)
        [(ident, labels)] = annotation.rows
        assert (ident, labels.topics, labels.crisis, labels.in_part) == ("r0", (34, 58), True, True)
        asyncio.run(reread_topics(tmp_path))
    told = topic_table(annotation.labels, annotation.topics)
    assert told.note.startswith("Of 1 of the 1 dialogues the annotator was shown beginning and end alone")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("短", "短"),
        ("一一\n二二二二二\n三三三三三三\n四四", "一一\n……\n四四"),  # halves of (13 - 4) // 2 = 4: 一一|二 and 三|四四
        ("字" * 20, "字字字字\n……\n字字字字"),
    ],
)
def test_of_a_long_dialogue_whole_lines_of_beginning_and_end_are_shown(text: str, shown: str) -> None:
    assert both_ends(text, 13) == shown


def test_a_run_of_figure_11_does_not_go_on_with_examples() -> None:
    examples, figure = few_shot_task(), topic_task("zh")
    assert examples.name == figure.name
    assert examples.identity["prompt"] != figure.identity["prompt"]
