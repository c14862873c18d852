"""Tokens as numbers: what each tokenizer keeps, and what it says when its file is not there."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from smile_async.analysis.tokenization import Characters, Tokenizer, Words, blocks, load_tokenizer
from smile_async.errors import UsageError

TEXTS = ("睡不好，怎么办？", "", "OK，\n先 睡　觉。")


def _split(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    tokens = tokenizer.encode(texts)
    assert tokens.lengths.sum() == tokens.ids.size
    ids = iter(tokens.ids.tolist())
    return [[next(ids) for _ in range(length)] for length in tokens.lengths]


def test_characters_are_code_points_without_white_space() -> None:
    told = [[chr(one) for one in text] for text in _split(Characters(), TEXTS)]
    assert told == [list("睡不好，怎么办？"), [], list("OK，先睡觉。")]  # line break, space and U+3000 are gone


@given(st.lists(st.text(), max_size=6))
def test_characters_are_what_python_calls_no_space(texts: list[str]) -> None:
    wanted = [[ord(one) for one in text if not one.isspace()] for text in texts]
    assert _split(Characters(), texts) == wanted


def test_every_white_space_of_unicode_is_left_out() -> None:
    spaces = "".join(chr(point) for point in range(0x110000) if chr(point).isspace())
    assert len(spaces) > 20
    assert _split(Characters(), [spaces]) == [[]]


def test_the_same_word_has_the_same_number_in_every_call() -> None:
    words = Words()
    first, again = _split(words, ["我最近总是睡不好", "我 最近"])
    assert len(first) == 5  # 我 最近 总是 睡 不好
    assert again == first[:2]
    assert _split(words, ["不好，最近"]) == [[first[4], 5, first[1]]]  # the comma is the sixth word that it met


@pytest.fixture
def word_file(tmp_path: Path) -> Path:
    """A tokenizer.json that would truncate, pad and add a begin token."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<s>": 0, "a": 1, "b": 2, "?": 3}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    made.enable_truncation(2)
    made.enable_padding(length=9)
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    return path


def test_a_tokenizer_json_neither_adds_nor_truncates(word_file: Path) -> None:
    for name in (str(word_file), str(word_file.parent)):
        tokenizer = load_tokenizer(name)
        assert tokenizer.name == name
        assert _split(tokenizer, ["a b a", "", "b x"]) == [[1, 2, 1], [], [2, 3]]


def test_a_sentencepiece_model_is_read(tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["睡不好怎么办", "怎么办睡不好", "好好睡觉"] * 9),
        model_writer=model,
        vocab_size=16,
        model_type="char",
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    first, again = _split(load_tokenizer(str(tmp_path)), ["睡不好", "好睡"])
    begin, sleep, _, good = first  # SentencePiece puts a space before a text
    assert again == [begin, good, sleep]


@pytest.fixture
def bytes_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An encoding of tiktoken's own plug-in kind, whose files are there: single bytes, and 'ab' as one."""
    import tiktoken.registry

    ranks = "{bytes([one]): one for one in range(256)} | {b'ab': 256}"
    source = f"def made():\n    return {{'name': 'bytes_256', 'pat_str': r'(?s:.+)', 'mergeable_ranks': {ranks}, 'special_tokens': {{}}}}\n"
    folder = tmp_path / "tiktoken_ext"
    folder.mkdir()
    (folder / "bytes_256.py").write_text(source + "ENCODING_CONSTRUCTORS = {'bytes_256': made}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(tiktoken.registry, "ENCODING_CONSTRUCTORS", None)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    tiktoken.registry._available_plugin_modules.cache_clear()
    return "bytes_256"


def test_tiktoken_counts_when_its_files_are_there(bytes_encoding: str) -> None:
    assert _split(load_tokenizer(f"tiktoken:{bytes_encoding}"), ["abc", "<"]) == [[256, 99], [60]]


def test_tiktoken_says_where_its_files_belong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(UsageError, match="TIKTOKEN_CACHE_DIR"):
        load_tokenizer("tiktoken:cl100k_base")


def test_tiktoken_names_the_encodings_it_knows() -> None:
    with pytest.raises(UsageError, match="cl100k_base"):
        load_tokenizer("tiktoken:no-such")


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("tokenizer.json", "{}", "no tokenizer of Hugging Face's"),
        ("tokenizer.model", "junk", "no SentencePiece model"),
        ("tokenizer.txt", "a", "neither"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, name: str, text: str, wanted: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=wanted) as caught:
        load_tokenizer(str(tmp_path / name))
    assert name in str(caught.value)


def test_a_folder_without_tokenizer_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tokenizer\.model"):
        load_tokenizer(str(tmp_path))


def test_an_unknown_name_is_told_the_ways() -> None:
    with pytest.raises(UsageError, match="characters, jieba"):
        load_tokenizer("letters")


def test_a_missing_package_is_named_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(UsageError, match=r"smile-async\[analysis\]"):
        load_tokenizer("jieba")


def test_blocks_hold_every_text_once_and_in_order() -> None:
    assert list(blocks(["ab", "c", "defg", "h"], characters=3)) == [["ab", "c"], ["defg"], ["h"]]
