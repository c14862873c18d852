"""Appendix G as data, and the draw from it."""

from collections import Counter
from pathlib import Path

import pytest

from smile_async.errors import RecipeError
from smile_async.prompt.topics import Topic, draw_topic, load_topics, read_topics

ZH, EN = load_topics("zh"), load_topics("en")


@pytest.mark.parametrize("topics", [ZH, EN])
def test_sixty_topics_in_order_each_with_its_own_name_and_definition(topics: tuple[Topic, ...]) -> None:
    assert [topic.index for topic in topics] == list(range(1, 61))
    assert len({topic.name for topic in topics}) == 60
    assert len({topic.definition for topic in topics}) == 60
    assert all(topic.definition for topic in topics)
    assert all(topic.text == topic.text.strip() for topic in topics)


def test_first_and_last_are_those_of_the_figures() -> None:
    assert ZH[0].text == (
        "择偶：不知道如何进入亲密关系，对亲密关系有恐惧或抵触心理，不愿意谈恋爱；或者在选择配偶方面遇到一些困扰。"
    )
    assert ZH[59].text == "伤害用户：他人伤害用户的意图或行为。"
    assert EN[0].text == (
        "Mate Selection: Unsure how to establish intimate relationships, fearful or resistant to intimacy, unwilling to "
        "engage in romantic relationships, or encountering difficulties in choosing a spouse."
    )
    assert EN[59].text == "Harming the User: Intentions or behaviors of others harming the user."


@pytest.mark.parametrize(
    ("index", "chinese", "english"),
    [(15, "丧失", "Loss"), (30, "人生意义类探索", "Exploration of Life Meaning"), (31, "时间管理", "Time Management")],
)
def test_the_two_languages_are_aligned_by_index(index: int, chinese: str, english: str) -> None:
    assert (ZH[index - 1].name, EN[index - 1].name) == (chinese, english)


def test_punctuation_is_that_of_the_figures() -> None:
    assert ZH[32].definition == "以“情绪低落、思维缓慢、语言动作减少和迟缓”为特点的情绪。"
    assert EN[32].definition == "Emotions characterized by 'low mood, slow thinking, reduced speech and movement.'"
    assert all(topic.definition.endswith("。") for topic in ZH)
    assert not any(sign in topic.text for topic in ZH for sign in ",:;?")
    assert all(topic.text.isascii() for topic in EN)


def test_a_draw_depends_on_seed_and_row_and_on_nothing_else() -> None:
    forwards = [draw_topic(7, row, ZH).index for row in range(6)]
    backwards = [draw_topic(7, row, ZH).index for row in reversed(range(6))]
    assert forwards == backwards[::-1]
    assert forwards == [draw_topic(7, row, EN).index for row in range(6)]
    assert [draw_topic(8, row, ZH).index for row in range(6)] != forwards


def test_draws_are_pinned_because_a_resumed_run_must_ask_the_same() -> None:
    assert [draw_topic(0, row, ZH).index for row in range(5)] == [23, 25, 21, 17, 21]


def test_draws_are_uniform() -> None:
    counts = Counter(draw_topic(1, row, ZH).index for row in range(6000))
    # 100 expected each; chi-squared with 59 degrees of freedom stays below 98.3 in 999 of 1,000 seeds
    assert sum((counts[index] - 100) ** 2 / 100 for index in range(1, 61)) < 98.3


def test_topics_of_ones_own_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "topics.toml"
    file.write_text('[[topics]]\nname = "租房"\n\n[[topics]]\nname = "Wills"\ndefinition = "Who inherits."\n', "utf-8")
    topics = read_topics(file)
    assert [topic.text for topic in topics] == ["租房", "Wills: Who inherits."]
    assert [topic.index for topic in topics] == [1, 2]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no topics"),
        ("topics = 3", "holds no topics"),
        ('[[topics]]\nname = "a"\n\n[[topics]]\nnome = "b"\n', r"line 4, key 'topics\.1\.name': Field required"),
        ("topics = [3]", r"line 1, key 'topics\.0'"),
        ("[[topics]\n", "is not TOML: .*line 1"),
    ],
)
def test_a_wrong_topics_file_is_named_with_line_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "topics.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(RecipeError, match=complaint) as caught:
        read_topics(file)
    assert str(file) in str(caught.value)


def test_there_are_two_languages() -> None:
    with pytest.raises(RecipeError, match="no built-in topics in 'fr'"):
        load_topics("fr")
