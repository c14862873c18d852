"""Self-harm words in Chinese and English, and whom to call."""

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from smile_async.chatbot.crisis import beginning, help_lines, help_text, language_of, speaks_of_self_harm
from smile_async.errors import SettingsError

SPEAKS_ZH = (
    "我不想活了", "我真的活不下去了", "有时候想死", "我不止一次想过自杀", "他說他想自殺", "活着没有意义",
    "活着真的没意思", "活著沒意思", "我割腕过两次", "想从楼上跳楼", "我写好了遗书", "死了算了", "如果我死了就好了",
    "想结束自己的生命", "想了结这一切", "我想离开这个世界", "有过自残的行为", "我会伤害自己", "想一了百了", "我 想 死",
    "自·杀", "要不去死吧", "没勇气继续活", "真不想醒来", "动过轻生的念头", "我想自\u200b杀", "站在桥上想跳河",
)  # fmt: skip
SPEAKS_EN = (
    "I want to die", "i wanna die.", "I don’t want to live anymore", "I have thought about suicide", "I feel suicidal",
    "I'm going to kill myself", "thinking of killing myself", "I want to end it all", "ending my life",
    "everyone would be better off without me", "there is no reason to live", "life is not worth living",
    "I have been self-harming", "self harm again", "I keep hurting myself", "I cut myself last night",
    "I wish I was dead", "I overdosed on pills", "I want to take my own life", "I do not want to be alive",
    "I don't want to wake up",
)  # fmt: skip
SPEAKS_NOT = (
    "笑死我了", "我累死了", "热死了，怎么办", "我想死你了", "想死他了，好久没见", "忙得要死", "跳楼价甩卖", "和数学死磕到底",
    "我决定去死磕这道题", "我们这里自杀率很低是新闻说的", "我想活得更好", "我的生活没有方向", "年轻生活真好", "我想换个活法",
    "他想离开这个城市", "我结束了这段感情", "夏天去跳河游泳", "自伤自尊的话不要说", "要死不活的样子", "我回去死记单词",
    "我很难过，睡不着", "",
    "this deadline is killing me", "I am dying to see you", "I cut myself some slack", "I cut myself while shaving",
    "I cut myself shaving", "we watched Suicide Squad", "the battery died", "I nearly died laughing",
    "I don't want to live with my parents", "I don't want to live in this city", "I want to dye my hair",
    "I was bored to death", "I want to die laughing", "he kills me with his jokes", "the story has a sad end",
)  # fmt: skip


@pytest.mark.parametrize("text", SPEAKS_ZH)
def test_chinese_words_for_it_are_met(text: str) -> None:
    assert speaks_of_self_harm(text) == "zh"


@pytest.mark.parametrize("text", SPEAKS_EN)
def test_english_words_for_it_are_met(text: str) -> None:
    assert speaks_of_self_harm(text) == "en"


@pytest.mark.parametrize("text", SPEAKS_NOT)
def test_other_uses_of_the_same_words_are_left_alone(text: str) -> None:
    assert speaks_of_self_harm(text) is None


def test_lines_go_by_country_and_then_by_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LC_MESSAGES", raising=False)
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    assert any("988" in line for line in help_lines().lines)
    assert any("12356" in line for line in help_lines("cn").lines)
    assert any("116 123" in line for line in help_lines("GB").lines)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert help_lines().country == "*"


def test_a_country_that_is_not_listed_is_not_answered_with_another() -> None:
    with pytest.raises(SettingsError, match="--helplines"):
        help_lines("ZZ")


def test_a_file_of_ones_own_goes_over_the_built_in_lines(tmp_path: Path) -> None:
    own = tmp_path / "lines.toml"
    own.write_text('[zz]\nname = "Zed"\nemergency = "1"\nlines = ["Campus: 2"]\n')
    found = help_lines("ZZ", own)
    assert "Campus: 2" in help_text(found, "en")
    assert "Zed" in help_text(found, "zh")
    assert help_lines("US", own).name == "United States"
    own.write_text("[ZZ]\nlines = 3\n")
    with pytest.raises(SettingsError, match="ZZ has no lines"):
        help_lines("ZZ", own)


def test_the_beginning_says_what_it_is_not_in_the_readers_language() -> None:
    assert "no substitute for professional help" in beginning(language_of({"LANG": "en_GB.UTF-8"}))
    assert "不能代替专业帮助" in beginning(language_of({"LC_ALL": "zh_CN.UTF-8", "LANG": "en_GB.UTF-8"}))


def test_every_built_in_line_names_a_page_on_which_it_was_found() -> None:
    table = tomllib.loads((files("smile_async.chatbot") / "data/helplines.toml").read_text("utf-8"))
    assert {"CN", "US", "*"} <= table.keys()
    assert [country for country, entry in table.items() if "https://" not in entry.get("source", "")] == []
