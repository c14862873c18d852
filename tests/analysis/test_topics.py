"""From dialogues to labels, and from labels to Table 2."""

import asyncio
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from smile_async.analysis.digests import text_digest
from smile_async.analysis.labels import Labels, NearMiss
from smile_async.analysis.topic_entropy import (
    evenness,
    normalised_entropy,
    occurrence_entropy,
    shares,
    topic_table,
)
from smile_async.analysis.topics import (
    Annotation,
    annotate_topics,
    is_label,
    read_annotation,
    reread_topics,
    said_digest,
    spoken_text,
    with_topics,
)
from smile_async.corpus.formats import PAPER_ROLES, Record, RoleMap
from smile_async.dialogue.model import Dialogue, Utterance
from smile_async.engine.job import Reply, Request
from smile_async.engine.run import RunReport
from smile_async.errors import RunNotFoundError
from smile_async.kinship import OtherSourceError
from smile_async.options import Options
from smile_async.prompt.annotation import Language, annotation_prompt
from smile_async.prompt.topics import load_topics
from smile_async.settings import RetryPolicy
from smile_async.tasks import Following
from smile_async.testing import ScriptedProvider, replying, run_virtual

ZH = load_topics("zh")


def record(number: int, words: str = "我很焦虑") -> Record:
    spoken = [{"role": "client", "content": words}, {"role": "counselor", "content": "我在听。"}]
    return Record(f"r{number}", "", None, Dialogue.model_validate({"utterances": spoken}))


def annotate(
    out: Path,
    answers: dict[str, Reply],
    *,
    count: int = 0,
    language: Any = "zh",
    records: Sequence[Record] = (),
    add: bool = False,
) -> tuple[RunReport, ScriptedProvider]:
    """Each dialogue says its own number, by which its answer is found."""

    def script(request: Request, _number: int) -> Reply:
        text = request.messages[0].content
        return next(reply for mark, reply in answers.items() if mark in text)

    provider = ScriptedProvider(script)
    records = records or [record(number, f"第{number}号") for number in range(count)]
    options, seen = (
        Options(retry=RetryPolicy(max_attempts=1), add_source=add),
        Following(deterministic=random.Random(1)),
    )
    asking = annotate_topics(records, out, provider=provider, language=language, options=options, following=seen)
    return run_virtual(asking), provider


def test_figure_11_names_all_60_twice_and_holds_the_dialogue_as_it_is() -> None:
    hostile = "求助者：{tiny topic} {single dialogue} \\1"

    prompt = annotation_prompt(hostile, "zh")

    assert prompt.startswith("对话主题及其具体的定义为：\n\n择偶：不知道如何进入亲密关系")
    assert "\n\n择偶, 恋爱问题, " in prompt
    assert prompt.endswith(f"给定对话：\n\n{hostile}\n\n这个对话的对话主题是：")
    assert all(prompt.count(topic.name) >= 2 for topic in ZH)
    english = annotation_prompt("x", "en")
    assert english.startswith("The topics and their specific definitions are:\n\nMate Selection: ")
    assert english.endswith("The topics for this dialogue are:")


def test_labels_near_misses_and_the_crisis_column_stand_beside_each_dialogue(tmp_path: Path) -> None:
    answers = {"第0号": replying("焦虑，自杀倾向"), "第1号": replying("婚姻、宠物离世"), "第2号": replying("自杀")}

    report, provider = annotate(tmp_path, answers, count=3)

    assert report.exit_code == 0
    lines = [orjson.loads(line) for line in (tmp_path / "topics.jsonl").read_bytes().splitlines()]
    digests = [line.pop("digest") for line in lines]
    assert digests == [text_digest(f"第{number}号\n我在听。") for number in range(3)]
    assert lines == [
        {"id": "r0", "topics": ["焦虑", "自杀倾向"], "indices": [34, 58], "near_misses": [], "others": [], "crisis": True},
        {
            "id": "r1", "topics": [], "indices": [], "near_misses": [{"label": "婚姻", "near": "婚姻问题"}],
            "others": ["婚姻", "宠物离世"], "crisis": False,
        },
        {
            "id": "r2", "topics": [], "indices": [], "near_misses": [{"label": "自杀", "near": "自杀倾向"}],
            "others": ["自杀"], "crisis": False, "crisis_near": True,
        },
    ]  # fmt: skip
    assert "求助者：第0号\n支持者：我在听。" in provider.asked[0][1].messages[0].content
    assert (tmp_path / "topics.jsonl").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (replying(""), "empty"),
        (replying("这段对话里来访者谈到了自己最近因为工作和家庭的种种事情而整夜整夜睡不好觉并且对未来感到十分迷茫"), "no-topics"),
        (Reply("焦虑", "length"), "truncated"),
        (Reply("", "content_filter"), "content-filter"),
        (Reply("", "stop", refusal="不行"), "refused"),
    ],
)  # fmt: skip
def test_what_names_no_topic_is_set_aside_with_its_reason(tmp_path: Path, reply: Reply, code: str) -> None:
    report, _ = annotate(tmp_path, {"第0号": reply}, count=1)

    assert report.counts.reasons == {code: 1}


def test_an_annotation_is_read_back_and_put_onto_the_records(tmp_path: Path) -> None:
    annotate(tmp_path, {"第0号": replying("Anxiety, Harming Others, Marital")}, count=1, language="en")

    annotation = read_annotation(tmp_path)
    first, second = with_topics([record(0, "第0号"), record(9)], annotation)

    assert (first.topics, first.crisis) == (("Anxiety", "Harming Others"), True)
    assert (second.topics, second.crisis) == ((), None)
    assert dict(annotation.rows)["r0"].near == (NearMiss("Marital", 4),)
    with pytest.raises(RunNotFoundError, match="smile topics annotate CORPUS"):
        read_annotation(tmp_path / "none")


def test_shares_are_of_dialogues_and_need_not_sum_to_1() -> None:
    """a in 2 of 4 dialogues (twice in one counts once), b in 3: 0.5 and 0.75."""
    assert shares([["a", "a", "b"], ["b"], ["a", "b"], []]) == {"b": 0.75, "a": 0.5}


def test_occurrence_entropy_by_hand() -> None:
    """-0.5 log2 0.5 = 0.5; -0.25 log2 0.25 = 0.5; -1 log2 1 = 0: in all 1.0."""
    assert occurrence_entropy({"a": 0.5, "b": 0.25, "c": 1.0}) == pytest.approx(1.0)


def test_occurrence_entropy_can_pass_a_distributions_most() -> None:
    """60 topics, each in a share 1/e of the dialogues: 60 x (1/e) x log2 e = 31.8 bits, above log2 60 = 5.9."""
    all_at_1_over_e = dict.fromkeys(range(60), 1 / math.e)

    assert occurrence_entropy(all_at_1_over_e) == pytest.approx(60 / math.e * math.log2(math.e))
    assert normalised_entropy(all_at_1_over_e) == pytest.approx(math.log2(60))
    assert evenness(all_at_1_over_e, 60) == pytest.approx(1.0)


def test_normalised_entropy_by_hand() -> None:
    """Shares 0.5 and 0.5 and 1.0 are a quarter, a quarter and a half of 2.0: 0.25 x 2 + 0.25 x 2 + 0.5 x 1 = 1.5."""
    assert normalised_entropy({"a": 0.5, "b": 0.5, "c": 1.0}) == pytest.approx(1.5)
    assert normalised_entropy({}) == 0.0


def test_a_table_counts_limited_and_unlimited_apart() -> None:
    """Four dialogues: topic 33 in 2 (p = 0.5), 58 in 1 (0.25): 0.5 + 0.5 = 1 bit. With label x in 1: 0.5 more."""
    given = [Labels((33,)), Labels((33, 58)), Labels((), (), ("x",)), Labels()]

    table = topic_table(given, ZH)

    assert (table.limited, table.unlimited, table.average) == (1.0, 1.5, 1.25)
    assert (table.topics_each, table.other_labels, table.crisis) == (0.75, 1, 1)
    assert [(row.index, row.dialogues, row.share) for row in table.rows[:3]] == [
        (33, 2, 0.5),
        (58, 1, 0.25),
        (1, 0, 0.0),
    ]
    assert len(table.rows) == 60
    assert topic_table([], ZH).limited == 0.0


def test_an_annotation_holds_nothing_else() -> None:
    assert list(with_topics([], Annotation((), ZH))) == []


@pytest.mark.parametrize(
    ("told", "language", "wanted"),
    [
        ("职场霸凌", "zh", True),
        ("求助者：我睡不着", "zh", False),
        ("我和男朋友因为小事吵了一架", "zh", False),  # 13 characters
        ("Workplace bullying by a superior", "en", True),
    ],
)
def test_a_piece_of_a_dialogue_is_no_topic_of_the_annotators_own(told: str, language: Language, wanted: bool) -> None:
    assert is_label(told, language) is wanted


def test_no_crisis_is_overlooked_where_two_rows_have_one_id() -> None:
    topics = load_topics("zh")
    grave = next(topic.index for topic in topics if topic.index >= 57)
    record = Record("7", "", None, Dialogue(utterances=()))
    annotation = Annotation((("7", Labels((grave,))), ("7", Labels((1,)))), topics)
    assert [one.crisis for one in with_topics([record, record], annotation)] == [True, True]


ANSWERS = {"第": replying("焦虑"), "改": replying("自杀倾向")}


def lines_of(out: Path) -> list[tuple[str, list[str]]]:
    lines = map(orjson.loads, (out / "topics.jsonl").read_bytes().splitlines())
    return [(line["id"], line["topics"]) for line in lines]


def test_a_dialogue_that_has_changed_has_one_line_and_of_one_that_changed_back_it_is_the_first(tmp_path: Path) -> None:
    first, changed = [record(0, "第0号"), record(1, "第1号")], [record(0, "改了"), record(1, "第1号")]
    annotate(tmp_path, ANSWERS, records=first)

    _, provider = annotate(tmp_path, ANSWERS, records=changed)
    after = lines_of(tmp_path)
    reread = asyncio.run(reread_topics(tmp_path))
    _, nobody = annotate(tmp_path, ANSWERS, records=first)

    assert len(provider.asked) == 1
    assert after == [("r0", ["自杀倾向"]), ("r1", ["焦虑"])]
    assert reread[1].accepted == 3  # replies; the file has the lines that it had
    assert nobody.asked == []
    assert lines_of(tmp_path) == [("r0", ["焦虑"]), ("r1", ["焦虑"])]
    asyncio.run(reread_topics(tmp_path))
    assert lines_of(tmp_path) == [("r0", ["焦虑"]), ("r1", ["焦虑"])]


def test_two_records_of_one_id_have_a_line_each_and_get_their_own_labels(tmp_path: Path) -> None:
    both = [record(0, "第0号"), record(0, "改了")]
    annotate(tmp_path, ANSWERS, records=both)

    assert lines_of(tmp_path) == [("r0", ["焦虑"]), ("r0", ["自杀倾向"])]
    assert [one.crisis for one in with_topics(both, read_annotation(tmp_path))] == [False, True]


def test_the_labels_of_another_text_are_not_put_onto_a_record(tmp_path: Path) -> None:
    annotate(tmp_path, ANSWERS, count=2)
    changed, same = record(0, "别的"), record(1, "第1号")

    annotation = read_annotation(tmp_path)

    assert [one.crisis for one in with_topics([changed, same], annotation)] == [None, False]
    assert annotation.fates([changed, same, record(9)], PAPER_ROLES) == {"changed": 1, "same": 1, "missing": 1}


def test_a_file_of_before_there_were_digests_is_matched_by_id(tmp_path: Path) -> None:
    old = {"id": "r0", "topics": ["焦虑"], "indices": [34], "near_misses": [], "others": [], "crisis": False}
    (tmp_path / "topics.jsonl").write_bytes(orjson.dumps(old) + b"\n")

    annotation = read_annotation(tmp_path)

    assert annotation.fates([record(0)], PAPER_ROLES) == {"unchecked": 1}
    assert next(with_topics([record(0)], annotation)).topics == ("焦虑",)


def test_the_digest_is_of_what_was_said_in_either_language_and_with_utterances_joined() -> None:
    spoken = [Utterance(role="client", content="一"), Utterance(role="client", content="二")]
    dialogue, joined = Dialogue(utterances=tuple(spoken)), Dialogue(utterances=(Utterance(role="c", content="一\n二"),))
    told = {said_digest(spoken_text(dialogue, PAPER_ROLES, language)) for language in ("zh", "en")}
    assert told == {text_digest("一\n二")}
    assert said_digest(spoken_text(joined, RoleMap("c", "s"), "zh")) in told


def test_the_labels_of_another_corpus_are_not_mixed_in_unless_that_is_meant(tmp_path: Path) -> None:
    annotate(tmp_path, ANSWERS, count=3)
    strangers = [record(number, f"改{number}") for number in range(3)]

    with pytest.raises(OtherSourceError, match="of 3 dialogues none is among its 3") as refused:
        annotate(tmp_path, ANSWERS, records=strangers)
    report, provider = annotate(tmp_path, ANSWERS, records=strangers, add=True)

    assert "smile topics annotate CORPUS" in refused.value.hint
    assert "--add" in refused.value.hint
    assert (len(provider.asked), report.counts.accepted) == (3, 6)
    assert lines_of(tmp_path) == [(f"r{number}", ["自杀倾向"]) for number in range(3)]


def test_labels_find_their_dialogue_whatever_the_two_who_speak_are_called(tmp_path: Path) -> None:
    """An export as messages calls them user and assistant; whoever calls from Python may name no roles."""
    annotate(tmp_path, ANSWERS, count=1)
    said = Dialogue(
        utterances=(Utterance(role="user", content="第0号"), Utterance(role="assistant", content="我在听。"))
    )
    exported = Record("r0", "", None, said)

    annotation = read_annotation(tmp_path)

    assert annotation.fates([exported], RoleMap("user", "assistant")) == {"same": 1}
    assert annotation.fates([exported], PAPER_ROLES) == {"same": 1}
