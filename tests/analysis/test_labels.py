"""What an annotator's answer names: separators, decorations, near misses, prose."""

import pytest

from smile_async.analysis.labels import MOST_LABELS, Labels, NearMiss, read_labels
from smile_async.prompt.topics import load_topics

ZH, EN = load_topics("zh"), load_topics("en")
INDEX = {topic.name: topic.index for topic in (*ZH, *EN)}


def zh(text: str) -> Labels:
    return read_labels(text, ZH)


def indices(*names: str) -> tuple[int, ...]:
    return tuple(INDEX[name] for name in names)


@pytest.mark.parametrize(
    "answer",
    [
        "焦虑, 抑郁, 压力",
        "焦虑，抑郁，压力",
        "焦虑、抑郁、压力。",
        "焦虑；抑郁;压力",
        "焦虑/抑郁／压力",
        "焦虑 | 抑郁 | 压力",
        "焦虑\n抑郁\n压力",
        "焦虑\\n抑郁\\n压力",
        "焦虑 抑郁 压力",
        '"焦虑, 抑郁, 压力"',
        "“焦虑”、“抑郁”、“压力”",
        "「焦虑」「，」「抑郁」，『压力』",
        "《焦虑》，【抑郁】，[压力]",
        "1. 焦虑\n2. 抑郁\n3. 压力",
        "1、焦虑 2、抑郁 3、压力",
        "(1) 焦虑 (2) 抑郁 (3) 压力",
        "①焦虑②抑郁③压力",
        "- 焦虑\n* 抑郁\n• 压力",
        "主题1：焦虑，主题2：抑郁，主题3：压力",
        "**焦虑**、`抑郁`、_压力_",
        "这个对话的对话主题是：焦虑，抑郁，压力",
        "对话主题：\n焦虑，抑郁，压力",
        "焦虑，抑郁，压力，焦虑",
        "焦 虑，抑\u3000郁，压力！",
    ],
)
def test_three_topics_however_they_are_written(answer: str) -> None:
    found = zh(answer)

    assert found.topics == indices("焦虑", "抑郁", "压力")
    assert found.others == ()


def test_english_names_whatever_their_case_and_hyphens() -> None:
    found = read_labels("Topics: self-exploration and growth; Obsessive Compulsive Disorder, FEAR.", EN)

    assert found.topics == indices("Self-Exploration and Growth", "Obsessive-Compulsive Disorder", "Fear")


@pytest.mark.parametrize("topics", [ZH, EN])
def test_every_one_of_the_60_is_known_by_its_name_and_with_its_definition(topics: tuple[object, ...]) -> None:
    for topic in ZH if topics is ZH else EN:
        assert read_labels(topic.name, ZH if topics is ZH else EN).topics == (topic.index,)
        told = read_labels(topic.text, ZH if topics is ZH else EN)
        assert (told.topics, told.others) == ((topic.index,), ()), topic.name


def test_a_near_miss_is_reported_and_not_counted() -> None:
    """婚姻 has 2 of the 4 characters of 婚姻问题: similarity 2 x 2 / 6 = 0.67."""
    found = zh("婚姻，焦虑")

    assert found.topics == indices("焦虑")
    assert found.others == ("婚姻",)
    assert found.near == (NearMiss("婚姻", INDEX["婚姻问题"]),)


def test_a_label_far_from_all_is_kept_as_it_is() -> None:
    found = zh("宠物离世，焦虑")

    assert (found.topics, found.others, found.near) == (indices("焦虑"), ("宠物离世",), ())


def test_prose_is_no_label() -> None:
    found = zh("这段对话里来访者谈到了自己最近因为工作和家庭的种种事情而整夜整夜睡不好觉并且对未来感到十分迷茫无助")

    assert (found.topics, found.others, found.prose) == ((), (), 1)


def test_an_endless_list_ends() -> None:
    found = zh("，".join(f"标签{number}" for number in range(500)))

    assert (len(found.others), found.prose) == (MOST_LABELS, 500 - MOST_LABELS)


@pytest.mark.parametrize("answer", ["", "，、；", '""', "1."])
def test_nothing_is_nothing(answer: str) -> None:
    assert zh(answer) == Labels()


def test_crisis_is_topics_57_to_60() -> None:
    assert [zh(name).crisis for name in ("自伤倾向", "自杀倾向", "伤害他人", "伤害用户", "抑郁")] == [True] * 4 + [
        False
    ]
    near = zh("自杀")
    assert (near.crisis, near.crisis_near) == (False, True)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("不涉及：自伤倾向", ()),
        ("以下主题不适用：自伤倾向、自杀倾向", ()),
        ("焦虑。未涉及的主题：自伤倾向", "焦虑"),
        ("涉及的主题：自伤倾向", "自伤倾向"),
    ],
)
def test_what_an_answer_denies_is_no_topic(text: str, wanted: str | tuple[()]) -> None:
    topics = load_topics("zh")
    names = {topic.index: topic.name for topic in topics}
    found = tuple(names[index] for index in read_labels(text, topics).topics)
    assert found == ((wanted,) if isinstance(wanted, str) and wanted in names.values() else ())
