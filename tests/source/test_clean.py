from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smile_async.dialogue.model import QAPair
from smile_async.errors import SettingsError
from smile_async.source.clean import SetAside, Word, clean_pair, clean_text, load_words, paper_words, truncate
from tests.source.writing import pair, pairs


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("楼主你好，楼主", "你好，你"),  # not 你你好: 楼主你 goes first
        ("题主你好，题主", "你好，你"),
        ("樓主你好，樓主", "你好，你"),
        ("嗨, 你好", "你好"),
        ("嗨,你好", "你好"),
        ("嗨，你好", "你好"),
        ("嗨， 你好", "你好"),
        ("嗨你好", "嗨你好"),
        ("阿凉觉得，别的答主", "我觉得，别的人"),
        ("嗨，楼主你好，阿凉", "你好，我"),
    ],
)
def test_words_of_figure_8_are_replaced_in_its_order(text: Any, cleaned: Any) -> None:
    assert clean_text(text, paper_words()) == cleaned


def test_replaced_words_are_counted_over_all_texts() -> None:
    dirty = pair(question="楼主问楼主", description="题主", answer="楼主你")
    cleaned, counts = clean_pair(dirty, paper_words())
    assert cleaned == pair(question="你问你", description="你", answer="你")
    assert counts == {"楼主": 2, "题主": 1, "楼主你": 1}


def test_a_row_without_text_after_cleaning_is_set_aside() -> None:
    assert clean_pair(pair(answer="嗨，"), paper_words())[0] == SetAside("emptied", "answer")


def test_own_words_join_the_list_as_the_file_says(tmp_path: Path) -> None:
    own, path = Word(old="亲亲", new=""), tmp_path / "own.toml"
    entry = '[[word]]\nold = "亲亲"\nnew = ""\n'
    for mode, joined in {
        "append": (*paper_words(), own),
        "prepend": (own, *paper_words()),
        "replace": (own,),
    }.items():
        path.write_text(f'mode = "{mode}"\n{entry}', encoding="utf-8")
        assert load_words(path) == joined
    path.write_text(entry, encoding="utf-8")
    assert load_words(path)[-1] == own


@pytest.mark.parametrize("text", ["word = 3", '[[word]]\nold = ""\nnew = ""', "mode = 'first'\nword = []", "[["])
def test_a_word_file_that_cannot_be_used_is_named(tmp_path: Path, text: Any) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"own\.toml"):
        load_words(path)


def test_truncation_takes_the_end_of_the_answer() -> None:
    """10 + 20 + 1,800 characters: 30 too many, all of them the answer's last."""
    long = pair(question="问" * 10, description="述" * 20, answer="答" * 1770 + "尾" * 30)
    cut, lost = truncate(long)
    assert isinstance(cut, QAPair)
    assert (cut.answer, lost) == ("答" * 1770, 30)
    assert (cut.question, cut.description) == (long.question, long.description)


def test_a_qa_at_the_limit_stays_as_it_is() -> None:
    exact = pair(question="问", description="", answer="答" * 1799)
    assert truncate(exact) == (exact, 0)


def test_an_answer_that_would_vanish_sets_the_row_aside() -> None:
    assert truncate(pair(description="述" * 1800, answer="答案"))[0] == SetAside("answer-cut-away", "answer")


@pytest.mark.parametrize("joined", ["e\u0301", "❤\ufe0f", "👍🏽", "👩\u200d👧"])
def test_the_cut_goes_before_a_character_of_several_code_points(joined: Any) -> None:
    start = "好" * 5
    for room in range(1, len(joined)):
        cut, _ = truncate(pair(question="q", description="", answer=start + joined + "x" * 9), 6 + room)
        assert isinstance(cut, QAPair)
        assert cut.answer == start


@given(one=pairs, limit=st.integers(1, 40))
def test_what_is_kept_is_a_beginning_within_the_limit(one: Any, limit: Any) -> None:
    cut, lost = truncate(one, limit)
    if isinstance(cut, QAPair):
        assert one.answer.startswith(cut.answer)
        assert len(cut.answer) == len(one.answer) - lost
        assert len(cut.question + cut.description + cut.answer) <= limit
    else:
        assert cut.code == "answer-cut-away"
