"""The loop of a conversation in a terminal: read a line, let the model answer, keep what is to be kept."""

import asyncio
import os
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from smile_async.chatbot.conversation import Conversation, TerminalText, shown
from smile_async.chatbot.crisis import HelpLines, Language, beginning, help_text, lines_text, speaks_of_self_harm
from smile_async.chatbot.speakers import Speaker
from smile_async.errors import SmileError, UsageError

COMMANDS: dict[Language, str] = {
    "en": "/new forgets what was said, /again asks for another answer, /lines shows help lines, /quit or Ctrl-D ends; "
    "Ctrl-C stops an answer",
    "zh": "/new 重新开始，/again 换一个回答，/lines 显示求助热线，/quit 或 Ctrl-D 结束；Ctrl-C 停止回答",
}


@dataclass(slots=True)
class Talk:
    """One conversation. `read` gives a line and raises `EOFError` at the end; answers go to `out`, all else to
    `notify`. `transcript` is written only where it is named (mode 0600), each utterance when it is whole."""

    speaker: Speaker
    conversation: Conversation
    lines: HelpLines
    language: Language
    read: Callable[[], str]
    out: TextIO
    notify: Callable[[str], None]
    transcript: Path | None = None
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    failed: int = 0  # answers that did not come

    def run(self) -> None:
        """Until the reader ends it."""
        self.notify(f"{beginning(self.language)}\n{COMMANDS[self.language]}\n")
        if self.transcript is not None:
            open_transcript(self.transcript)
        while True:
            try:
                line = self.read().strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                self.notify("\n" + COMMANDS[self.language])
                continue
            if line in {"/quit", "/exit"}:
                return
            if line:
                self._line(line)

    def _line(self, line: str) -> None:
        if line.startswith("/"):
            self._command(line)
            return
        if spoken := speaks_of_self_harm(line):
            self.notify(f"\n{help_text(self.lines, spoken)}\n")
        self.conversation = self.conversation.said(line)
        self._keep(line)
        self._answer()

    def _command(self, line: str) -> None:
        if line == "/new":
            self.conversation = self.conversation.emptied()
        elif line == "/again" and self.conversation.turns:
            self.conversation = self.conversation.unanswered()
            self._answer()
        elif line == "/lines":
            self.notify(f"{self.lines.name}\n{lines_text(self.lines)}\n  {self.lines.emergency}".strip("\n"))
        else:
            self.notify(COMMANDS[self.language])

    def _answer(self) -> None:
        got: list[str] = []
        try:
            self.runner.run(self._stream(got))
        except KeyboardInterrupt:
            self.notify(" [stopped]" if self.language == "en" else " [已停止]")
        except SmileError as error:
            self.failed += 1
            self.notify(shown(f"\n{error}"))
        self.conversation = self.conversation.answered("".join(got))
        self.out.write("\n\n")
        self.out.flush()
        if "".join(got).strip():
            self._keep("".join(got).strip())

    async def _stream(self, got: list[str]) -> None:
        """Shows pieces as they come; `got` has them also when it is stopped."""
        text, begun = TerminalText(), False
        pieces = self.speaker.pieces(self.conversation.asked())
        async with aclosing(pieces):
            async for piece in pieces:
                if clean := text.feed(piece) if begun else text.feed(piece).lstrip():
                    begun = True
                    self._show(clean, got)
        self._show(text.end(), got)

    def _show(self, clean: str, got: list[str]) -> None:
        got.append(clean)
        self.out.write(clean)
        self.out.flush()

    def _keep(self, text: str) -> None:
        if self.transcript is not None:
            role = self.conversation.turns[-1][0]
            append_utterance(self.transcript, role, text)


def open_transcript(path: Path) -> None:
    """A new file of its owner's alone, or an own one that is gone on with. Raises `UsageError`."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.") from error


def append_utterance(path: Path, role: str, text: str) -> None:
    """One JSON line: role and content."""
    import orjson

    with path.open("ab") as file:
        file.write(orjson.dumps({"role": role, "content": text}, option=orjson.OPT_APPEND_NEWLINE))
