"""The loop of a conversation, with a counselor that is written."""

import asyncio
import io
import json
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from smile_async.chatbot.conversation import Conversation
from smile_async.chatbot.crisis import help_lines
from smile_async.chatbot.sessions import Turn
from smile_async.chatbot.talking import Talk
from smile_async.errors import SmileError, UsageError


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """As in a terminal: who runs these tests in a shell's background hands on a SIGINT that is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Written:
    """Answers with its texts in turn, a character a piece; remembers what it was asked."""

    name = "written"

    def __init__(self, *answers: str | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[Turn, ...]] = []

    async def pieces(self, turns: Sequence[Turn]) -> AsyncGenerator[str, None]:
        self.asked.append(tuple(turns))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        for character in answer:
            if character == "#":
                raise SmileError("The server broke off.")
            if character == "!":  # Ctrl-C, and then nothing comes for ever
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.Event().wait()
            yield character


def lines_of(*typed: str | type[BaseException]) -> Callable[[], str]:
    waiting = list(typed)

    def read() -> str:
        if not waiting:
            raise EOFError
        line = waiting.pop(0)
        if isinstance(line, str):
            return line
        raise line

    return read


def talk(
    speaker: Written,
    *typed: str | type[BaseException],
    transcript: Path | None = None,
    columns: int | None = 80,
) -> tuple[str, str, Conversation]:
    """What stdout and the notices hold in the end, and the conversation."""
    out = io.StringIO()
    notes: list[str] = []
    with asyncio.Runner() as runner:
        held = Talk(
            speaker=speaker,
            conversation=Conversation("S"),
            lines=help_lines("CN"),
            language="en",
            read=lines_of(*typed),
            out=out,
            notify=notes.append,
            columns=lambda: columns,
            transcript=transcript,
            runner=runner,
        )
        held.run()
    return out.getvalue(), "\n".join(notes), held.conversation


def test_it_begins_with_what_it_is_not_and_ends_with_the_input() -> None:
    out, notes, _ = talk(Written())
    assert out == ""
    assert notes.startswith("This is a language model for research. It is no counselor and no substitute for prof")


def test_the_model_hears_all_that_was_said() -> None:
    speaker = Written("a0", "a1")
    out, _, _ = talk(speaker, " q0 ", "", "q1")
    assert speaker.asked[1] == (("system", "S"), ("user", "q0"), ("assistant", "a0"), ("user", "q1"))
    assert out == "a0\n\na1\n\n"


def test_help_lines_come_before_the_answer_to_a_message_of_self_harm_in_its_language() -> None:
    out, notes, _ = talk(Written("我在听。"), "我不想活了")
    assert "12356" in notes
    assert "你不必独自承受" in notes
    assert out == "我在听。\n\n"
    assert "12356" not in talk(Written("ok"), "我有点累")[1]


def test_ctrl_c_stops_an_answer_and_keeps_what_was_said() -> None:
    speaker = Written("I hear!never", "a1")
    out, notes, held = talk(speaker, "q0", KeyboardInterrupt, "q1")
    assert out == "I hear\n\na1\n\n"
    assert "[stopped]" in notes
    assert held.turns[:2] == (("user", "q0"), ("assistant", "I hear"))


def test_an_error_is_told_and_the_conversation_goes_on_without_the_question() -> None:
    speaker = Written(SmileError("No\x1b[31m answer."), "a1")
    out, notes, held = talk(speaker, "q0", "q1")
    assert "No answer." in notes
    assert "/again asks" in notes
    assert held.turns == (("user", "q1"), ("assistant", "a1"))
    assert out.endswith("a1\n\n")


@pytest.mark.parametrize("failed", [SmileError("No answer."), " ", "!"], ids=["error", "empty", "stopped"])
def test_again_asks_once_more_for_an_answer_that_did_not_come(failed: str | Exception) -> None:
    speaker = Written("a0", failed, failed, "a1")
    out, notes, held = talk(speaker, "q0", "q1", "/again", "/again")
    assert [asked[-1] for asked in speaker.asked[1:]] == [("user", "q1")] * 3
    assert held.turns == (("user", "q0"), ("assistant", "a0"), ("user", "q1"), ("assistant", "a1"))
    assert notes.count("[no answer") == 2
    assert out == "a0\n\n\n\n\n\na1\n\n"


def test_thoughts_are_not_shown_and_are_no_part_of_the_history() -> None:
    for columns in (80, None):
        out, notes, held = talk(Written("<think>\nhm\n</think>\n\na0", "a1"), "q0", "q1", columns=columns)
        assert out == "a0\n\na1\n\n"
        assert held.turns[1] == ("assistant", "a0")
        assert ("[it thinks]" in notes) is (columns is not None)


def test_thoughts_without_their_opening_tag_are_taken_back_and_then_waited_for() -> None:
    """The first ones were shown before their end told what they were; of the second answer nothing is shown early."""
    speaker = Written("hm</think>\n\na0", "hm hm</think>a1", "a2 without thoughts")
    out, notes, held = talk(speaker, "q0", "q1", "q2")
    assert out == "hma0\n\na1\n\na2 without thoughts\n\n"
    assert notes.count("it was thinking aloud") == 1
    assert [text for role, text in held.turns if role == "assistant"] == ["a0", "a1", "a2 without thoughts"]
    assert talk(Written("hm</think>\n\na0"), "q0", columns=None)[0] == "a0\n\n"


def test_who_thinks_to_the_end_gives_no_answer() -> None:
    _, notes, held = talk(Written("<think>hm hm", "a0"), "q0", "/again")
    assert "--max-tokens" in notes
    assert held.turns == (("user", "q0"), ("assistant", "a0"))


def test_answers_are_broken_to_the_terminals_width_but_kept_as_they_were_said(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    out, _, held = talk(Written("one two three"), "q0", columns=10, transcript=path)  # 8 columns, 2 for signs that hang
    assert out == "one two\nthree\n\n"
    assert held.turns[-1] == ("assistant", "one two three")
    assert "one two three" in path.read_text("utf-8")
    assert talk(Written("one two three"), "q0", columns=None)[0] == "one two three\n\n"


def test_words_that_look_like_a_command_are_heard_too() -> None:
    assert "12356" in talk(Written(), "/我不想活了")[1]


def test_commands_forget_ask_again_show_lines_and_end() -> None:
    speaker = Written("a0", "a0 other", "a1")
    _, notes, held = talk(speaker, "/again", "q0", "/again", "/lines", "/what", "/new", "q1", "/quit", "never")
    assert [asked[-1] for asked in speaker.asked] == [("user", "q0"), ("user", "q0"), ("user", "q1")]
    assert held.turns == (("user", "q1"), ("assistant", "a1"))
    assert "12356" in notes
    assert notes.count("/new forgets") == 3  # at the beginning, /again with nothing said, /what


def test_escape_sequences_of_the_model_reach_neither_terminal_nor_history() -> None:
    out, _, held = talk(Written("\n\x1b]0;x\x07a\x1b[2Jb"), "q")
    assert out == "ab\n\n"
    assert held.turns[-1] == ("assistant", "ab")


def test_nothing_is_written_down_unless_a_transcript_is_named(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    talk(Written("a0"), "q0")
    assert not path.exists()
    talk(Written("a0"), "q0", transcript=path)
    talk(Written("a1"), "q1", transcript=path)  # goes on with it
    assert path.stat().st_mode & 0o777 == 0o600
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(row["role"], row["content"]) for row in rows] == [
        ("user", "q0"), ("assistant", "a0"), ("user", "q1"), ("assistant", "a1"),
    ]  # fmt: skip


def test_a_transcript_says_what_takes_the_place_of_what(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    broken = SmileError("no")
    speaker = Written("a0", "a1", broken, "a2", broken, "a3")
    talk(speaker, "q0", "/again", "/again", "/again", "q1", "q2", transcript=path)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(line["content"], line.get("again", False)) for line in lines] == [
        ("q0", False), ("a0", False), ("a1", True), ("a2", True), ("q1", False), ("q2", True), ("a3", False),
    ]  # fmt: skip


def test_an_unknown_command_is_named(tmp_path: Path) -> None:
    _, notes, held = talk(Written(), "/foo bar", "/again")
    assert "There is no /foo bar. /new forgets" in notes
    assert notes.count("There is no") == 1
    assert held.turns == ()


def test_a_transcript_that_cannot_be_written_stops_before_anything_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        talk(Written("a0"), "q0", transcript=tmp_path / "no/such/folder.jsonl")


@pytest.mark.parametrize("columns", [80, None])
def test_an_answer_that_broke_off_is_kept_and_counted(columns: int | None) -> None:
    """A script must not take a part for the whole: `smile chat` ends with 4 then."""
    speaker, out, notes = Written("I hear#", "<think>hm#"), io.StringIO(), list[str]()
    with asyncio.Runner() as runner:
        held = Talk(
            speaker=speaker,
            conversation=Conversation(),
            lines=help_lines("CN"),
            language="en",
            read=lines_of("q0", "q1"),
            out=out,
            notify=notes.append,
            columns=lambda: columns,
            runner=runner,
        )
        held.run()
    assert held.failed == 2
    assert out.getvalue().startswith("I hear")
    assert held.conversation.turns[:2] == (("user", "q0"), ("assistant", "I hear"))
    assert "--max-tokens" not in "".join(notes)  # it is the server that failed
