"""Topics by a base model: examples, and a grammar in place of an instruction."""

import random
import re
from pathlib import Path

from smile_async.analysis.topics import read_annotation, topic_task
from smile_async.analysis.topics_few_shot import LONGEST, annotate_few_shot, few_shot_task
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
    assert len(request.messages[-1].content) == LONGEST + len("【对话】\n\n【主题】")
    [(ident, labels)] = read_annotation(tmp_path).rows
    assert (ident, labels.topics, labels.crisis) == ("r0", (34, 58), True)


def test_a_run_of_figure_11_does_not_go_on_with_examples() -> None:
    examples, figure = few_shot_task(), topic_task("zh")
    assert examples.name == figure.name
    assert examples.identity["prompt"] != figure.identity["prompt"]
