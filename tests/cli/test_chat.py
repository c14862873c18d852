"""`smile chat` as a command: what it reads."""

import io
import sys

import pytest

from smile_async.cli import chat


def test_bytes_that_are_no_text_get_a_sign_in_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff hi\n\xe4\xbd\xa0"), encoding="utf-8"))
    read = chat._reader()
    assert [read(), read()] == ["\ufffd hi\n", "你"]
    with pytest.raises(EOFError):
        read()


def test_an_answer_that_the_terminal_cannot_show_does_not_end_the_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    chat._reader()
    sys.stdout.write("ok 你")
    sys.stdout.flush()
    assert shown.getvalue() == b"ok ?"
