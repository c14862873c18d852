"""`--system` and `--language`: what is chosen for a corpus, what is misspelt, what is plainly wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from smile_async.corpus.formats import paper_system_prompt
from smile_async.corpus.language import letters_of
from tests.cli.conftest import Serve, Smile, at

SAID = {
    "zh": ["最近总是睡不好。", "愿意多说一些吗？", "工作压力大，OK。", "听起来很累。"],
    "en": ["I cannot sleep.", "Would you say more?", "Work is hard.", "That sounds tiring."],
}


@pytest.fixture(params=["zh", "en"])
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def corpus(language: str) -> Path:
    path = Path(f"{language}.jsonl")
    roles = ("client", "counselor") * 2
    dialogue = [{"role": role, "content": text} for role, text in zip(roles, SAID[language], strict=True)]
    rows = [{"id": f"d{n}", "questionID": f"q{n}", "dialogue": dialogue} for n in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def first(path: str) -> dict[str, Any]:
    return dict(json.loads(Path(path).read_text("utf-8").splitlines()[0]))


def test_a_corpus_gets_figure_12_in_its_own_language_unless_told(smile: Smile, language: str) -> None:
    ended = smile("sft", corpus(language), "sessions", "--json")
    assert ended.told["system"] == f"paper-{language}"
    assert first("sessions/train.jsonl")["messages"][0]["content"] == paper_system_prompt(language)  # type: ignore[arg-type]
    assert "system prompt     paper-zh" in smile("sft", corpus(language), "told", "--system", "paper-zh").out


def test_a_study_does_too(smile: Smile, language: str) -> None:
    flags = ("--corpus", corpus(language), "--base", "tiny", "--test", "0.25", "--until", "sessions", "--json")
    told = smile("reproduce-chatbot", "study", *flags).told
    assert told["settings"]["system"] == paper_system_prompt(language)  # type: ignore[arg-type]


def test_cases_and_exports_take_it_by_name(smile: Smile, language: str) -> None:
    smile("export", corpus(language), "out.jsonl", "--format", "messages", "--system", "paper")
    smile("psytest", corpus(language), "cases.jsonl", "--system", "paper")
    for path in ("out.jsonl", "cases.jsonl"):
        assert first(path)["messages"][0]["content"] == paper_system_prompt(language)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "command",
    [
        ("sft", "zh.jsonl", "out"),
        ("psytest", "zh.jsonl", "out"),
        ("export", "zh.jsonl", "out", "--format", "messages"),
        ("respond", "cases.jsonl", "out", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"),
        ("chat", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"),
        ("reproduce-chatbot", "out", "--base", "tiny", "--until", "sessions"),
    ],
)
def test_a_misspelt_prompt_is_none_of_one_word(smile: Smile, command: tuple[str, ...]) -> None:
    corpus("zh")
    Path("cases.jsonl").write_text(json.dumps({"id": "c", "messages": [{"role": "user", "content": "?"}]}))
    ended = smile(*command, "--system", "paper_en")
    assert ended.code == 2
    assert "'paper_en' is no prompt" in ended.err
    assert "paper-zh, paper-en, none" in ended.err
    assert not Path("out").exists()


def test_a_text_without_spaces_in_chinese_is_a_prompt(smile: Smile) -> None:
    assert smile("sft", corpus("zh"), "sessions", "--system", "你是心理咨询师。").code == 0
    assert first("sessions/train.jsonl")["messages"][0]["content"] == "你是心理咨询师。"


def test_topics_are_asked_for_in_the_corpus_s_language_and_another_is_warned_of(
    smile: Smile, serve: Serve, language: str
) -> None:
    server, other = serve(answers=["1"]), "en" if language == "zh" else "zh"
    chosen = smile("topics", "annotate", corpus(language), "topics", *at(server))
    assert "warning" not in chosen.err
    told = smile("topics", "annotate", corpus(language), "topics", *at(server), "--language", other)
    assert f"warning: {language}.jsonl does not look like {other}" in told.err
    assert f'language: was "{language}", now "{other}"' in told.err


def test_the_other_commands_warn_too(smile: Smile, language: str) -> None:
    other, path = "en" if language == "zh" else "zh", corpus(language)
    for command in (
        ("psytest", path, "cases.jsonl"),
        ("check", path, "--write", "clean.jsonl", "--mask"),
        ("export", path, "folder", "--format", "hf"),
    ):
        assert f"does not look like {other}" in smile(*command, "--language", other).err
        assert "does not look like" not in smile(*command, "--language", language, "--overwrite").err


@pytest.mark.parametrize(
    ("text", "language", "against"),
    [
        ("我很累", "zh", ["en"]),
        ("I am tired", "en", ["zh"]),
        ("我觉得 depressed and tired", "en", ["zh"]),  # 3 of 23 characters
        ("我觉得很 depressed", "zh", []),  # 4 of 14 characters, and of 13 letters
        ("……", "en", []),
    ],
)
def test_what_speaks_against_a_language(text: str, language: str, against: list[str]) -> None:
    letters = letters_of([text])
    assert letters.language == language
    assert [one for one in ("zh", "en", "fr") if letters.speak_against(one)] == against
