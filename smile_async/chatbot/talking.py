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
from smile_async.chatbot.wrapping import Wrapping
from smile_async.errors import SmileError, UsageError
from smile_async.provider.thinking import AnswerStream

COMMANDS: dict[Language, str] = {
    "en": "/new forgets what was said, /again asks for another answer, /lines shows help lines, /quit or Ctrl-D ends; "
    "Ctrl-C stops an answer",
    "zh": "/new 重新开始，/again 换一个回答，/lines 显示求助热线，/quit 或 Ctrl-D 结束；Ctrl-C 停止回答",
}
UNKNOWN: dict[Language, str] = {"en": "There is no {}.", "zh": "没有 {} 这个命令。"}
STOPPED: dict[Language, str] = {"en": " [stopped]", "zh": " [已停止]"}
NO_ANSWER: dict[Language, str] = {
    "en": "[no answer: /again asks for one; what you say next takes its place]",
    "zh": "[没有回答：/again 再问一次；接着说则代替这一句]",
}
THINKS: dict[Language, str] = {"en": "[it thinks]", "zh": "[思考中]"}
THOUGHT: dict[Language, str] = {
    "en": "[so far it was thinking aloud; this is its answer:]",
    "zh": "[以上是它的思考过程，下面是回答：]",
}
ENDLESS: dict[Language, str] = {
    "en": "[its tokens went into thoughts: give it more with --max-tokens]",
    "zh": "[token 都用在思考上了：用 --max-tokens 增加]",
}


@dataclass(slots=True)
class Talk:
    """One conversation. `read` gives a line and raises `EOFError` at the end; answers go to `out`, all else to
    `notify`. `transcript` is written only where it is named (mode 0600), each utterance when it is whole. `columns`
    gives a terminal's width, to which answers are broken; None: they stay as they are, and are given when they are
    whole, for what is read by a program cannot be taken back."""

    speaker: Speaker
    conversation: Conversation
    lines: HelpLines
    language: Language
    read: Callable[[], str]
    out: TextIO
    notify: Callable[[str], None]
    columns: Callable[[], int | None] = lambda: None
    transcript: Path | None = None
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    failed: int = 0  # answers that did not come
    _thinks: bool = False  # without telling when it begins to
    _kept: str = ""  # whose words stand last in the transcript

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
        if spoken := speaks_of_self_harm(line):
            self.notify(f"\n{help_text(self.lines, spoken)}\n")
        if line.startswith("/"):
            self._command(line)
            return
        instead = self.conversation.waits
        self.conversation = self.conversation.said(line)
        self._keep(line, again=instead)
        self._answer()

    def _command(self, line: str) -> None:
        if line == "/new":
            self.conversation = self.conversation.emptied()
        elif line == "/again" and self.conversation.turns:
            self.conversation = self.conversation.unanswered()
            self._answer()
        elif line == "/lines":
            self.notify(f"{self.lines.name}\n{lines_text(self.lines)}\n  {self.lines.emergency}".strip("\n"))
        elif line == "/again":  # nothing was said
            self.notify(COMMANDS[self.language])
        else:
            self.notify(f"{UNKNOWN[self.language].format(shown(line))} {COMMANDS[self.language]}")

    def _answer(self) -> None:
        columns, stopped, broken = self.columns(), False, False
        shown_text = _Shown(self.out, Wrapping(columns) if columns else None)
        stream = AnswerStream(hold=self._thinks or not columns)
        try:
            self.runner.run(self._stream(stream, shown_text))
        except KeyboardInterrupt:
            stopped = True
            shown_text.add("" if self._thinks else stream.end())
            shown_text.end()
            self.notify(STOPPED[self.language])
        except SmileError as error:
            broken = True
            shown_text.add("" if self._thinks else stream.end())
            shown_text.end()
            self.notify(shown(f"\n{error}"))
        answer = shown_text.answer
        self.conversation = self.conversation.answered(answer)
        self.failed += broken or not (answer or stopped)
        if not answer:
            endless = stream.thought and not (stopped or broken)
            self.notify((ENDLESS if endless else NO_ANSWER)[self.language])
        self.out.write("\n\n")
        self.out.flush()
        if answer:
            self._keep(answer, again=self._kept == "assistant")

    async def _stream(self, stream: AnswerStream, shown_text: "_Shown") -> None:
        """Shows pieces as they come; what was shown is there also when it is stopped."""
        text, told = TerminalText(), False
        pieces = self.speaker.pieces(self.conversation.asked())
        async with aclosing(pieces):
            async for piece in pieces:
                found = stream.feed(text.feed(piece))
                if stream.retracted and not self._thinks:
                    self._thinks = True
                    shown_text.end()
                    self.notify(f"\n{THOUGHT[self.language]}")
                    shown_text.begin()
                elif stream.thought and not found and not told and shown_text.wraps:
                    told = True
                    self.notify(THINKS[self.language])
                shown_text.add(found)
        shown_text.add(stream.feed(text.end()))
        shown_text.add(stream.end())
        shown_text.end()

    def _keep(self, text: str, *, again: bool) -> None:
        self._kept = self.conversation.turns[-1][0]
        if self.transcript is not None:
            append_utterance(self.transcript, self._kept, text, again=again)


@dataclass(slots=True)
class _Shown:
    """An answer as far as it is shown."""

    out: TextIO
    wrapping: Wrapping | None
    _got: list[str] = field(default_factory=list)

    @property
    def answer(self) -> str:
        return "".join(self._got).strip()

    @property
    def wraps(self) -> bool:
        return self.wrapping is not None

    def begin(self) -> None:
        """What came before was no answer."""
        self._got.clear()

    def add(self, text: str) -> None:
        text = text if self._got else text.lstrip()
        if text:
            self._got.append(text)
            self._write(text if self.wrapping is None else self.wrapping.feed(text))

    def end(self) -> None:
        if self.wrapping is not None:
            self._write(self.wrapping.end())

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


def open_transcript(path: Path) -> None:
    """A new file of its owner's alone, or an own one that is gone on with. Raises `UsageError`."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", hint="Name another file.") from error


def append_utterance(path: Path, role: str, text: str, *, again: bool = False) -> None:
    """One JSON line: role, content, and `again` where it takes the place of the role's last line and all after it."""
    import orjson

    line = {"role": role, "content": text} | ({"again": True} if again else {})
    with path.open("ab") as file:
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
