"""Dialogue files as answers, and the chat dialect: bodies read and speakers found."""

import gzip
import re
from pathlib import Path

import orjson
import pytest

from smile_async.errors import SourceError
from smile_async.simulate import SimulatorSettings
from smile_async.simulate.behaviour import ApiError, Ask, Behaviour
from smile_async.simulate.chat import find_speakers, read_chat
from smile_async.simulate.dialogues import CLIENT, SUPPORTER, FileDialogues, GeneratedDialogues, load_phrases, write_out

ROWS = [
    {
        "id": n,
        "dialogue": [{"role": "client", "content": f"第{n}个问题"}, {"role": "counselor", "content": f"第{n}个回答"}],
    }
    for n in range(5)
]


@pytest.fixture
def dialogues(tmp_path: Path) -> Path:
    path = tmp_path / "dialogues.jsonl"
    path.write_bytes(b"\n".join(orjson.dumps(row) for row in ROWS) + b"\n")
    return path


def test_by_order_the_nth_prompt_gets_the_nth_dialogue_and_starts_again_at_the_end(dialogues: Path) -> None:
    source = FileDialogues(dialogues, by_order=True)
    assert [source.script(99, n)[0][1] for n in (0, 4, 5)] == ["第0个问题", "第4个问题", "第0个问题"]
    assert source.script(0, 1) == [(CLIENT, "第1个问题"), (SUPPORTER, "第1个回答")]


def test_by_hash_the_number_of_the_prompt_does_not_matter(dialogues: Path) -> None:
    behaviour = Behaviour(SimulatorSettings(dialogues=dialogues))
    ask = Ask(b"0" * 16, 10)
    assert behaviour.decide(ask, 0, 1) == behaviour.decide(ask, 0, 4)


def test_a_gzip_file_reads_like_a_plain_one(dialogues: Path) -> None:
    packed = dialogues.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(dialogues.read_bytes()))
    assert len(FileDialogues(packed)) == 5


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (b'{"id": 1}', "row 2, field 'dialogue'"),
        (b'{"dialogue": [{"role": "client"}]}', "row 2, field 'dialogue.0.content'"),
        (b"not json", "row 2"),
    ],
)
def test_a_bad_row_is_named(dialogues: Path, row: bytes, place: str) -> None:
    dialogues.write_bytes(orjson.dumps(ROWS[0]) + b"\n" + row + b"\n")
    with pytest.raises(SourceError, match=place):
        FileDialogues(dialogues)


def test_a_missing_or_empty_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"absent\.jsonl"):
        FileDialogues(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(SourceError, match="no dialogue"):
        FileDialogues(tmp_path / "empty.jsonl")


def test_every_draw_finds_enough_sentences() -> None:
    source = GeneratedDialogues()
    assert all(12 <= len(source.script(draw * 7919, 0)) <= 16 for draw in range(3000))


def test_every_phrase_ends_a_sentence_and_names_no_speaker() -> None:
    phrases = load_phrases()
    groups = [*phrases["client"].values(), *phrases["supporter"].values()]
    groups += [theme[part] for theme in phrases["theme"] for part in ("open", "client", "supporter")]
    lines = [line for group in groups for line in group]
    assert all(line[-1] in "。！？" for line in lines)
    assert not any(":" in line or "：" in line for line in lines)
    assert len(lines) == len(set(lines))


def test_a_script_is_written_with_the_prefix_and_separator_that_the_draw_picks() -> None:
    script = [(CLIENT, "问"), (SUPPORTER, "答")]
    draw = 0b001_11_10  # one prefix for all lines, the fourth; the third separator
    assert write_out(script, ("来访者", "咨询师", "旁白"), draw) == "来访者： 问\\n咨询师： 答"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must be an object"),
        (b'{"model": "m"}', "messages"),
        (b'{"messages": []}', "messages"),
        (b'{"messages": [{"role": "user"}]}', r"messages\[0\]"),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "max_tokens"),
        (b'{"messages": [{"role": "user", "content": "x"}], "model": 3}', "model"),
        (b'{"messages": [{"role": "user", "content": "x"}], "stream": "yes"}', "stream"),
    ],
)
def test_a_body_that_is_no_chat_request_is_a_400_that_says_why(body: bytes, complaint: str) -> None:
    found = read_chat(body)
    assert isinstance(found, ApiError)
    assert found.status == 400
    assert re.search(complaint, found.message)


def test_escapes_and_parts_make_no_other_prompt() -> None:
    plain = read_chat('{"messages": [{"role": "user", "content": "难过"}]}'.encode())
    escaped = read_chat(b'{"messages": [{"content": "\\u96be\\u8fc7", "role": "user"}], "temperature": 1}')
    parts = read_chat('{"messages": [{"role": "user", "content": [{"type": "text", "text": "难过"}]}]}'.encode())
    assert plain == escaped == parts


def test_speakers_are_found_where_the_prompt_quotes_two() -> None:
    prompt = 'Each sentence must start with "客户: " or "律师: ". The dialogue should begin with "客户: ".'
    assert find_speakers(prompt) == ("客户", "律师")
    assert find_speakers('Begin with "客户: ".') is None
