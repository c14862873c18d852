"""`smile chat`: a conversation in the terminal."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import typer

from smile_async.cli.commands import CHATBOT
from smile_async.cli.flags import AskFlags, grouped, option
from smile_async.cli.languages import check_language, system_prompt
from smile_async.cli.settings import endpoints_from, settings_from
from smile_async.cli.watch import to_stderr
from smile_async.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from smile_async.chatbot.speakers import Speaker
    from smile_async.settings import FileSettings, Sampling

MODEL, TALK = "A model of your own", "The conversation"
TEMPERATURE, TOP_P = 0.8, 0.8  # section 6.2


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CHATBOT)(chat)


@dataclass(frozen=True, slots=True)
class ModelFlags:
    base: Annotated[
        str | None, option(MODEL, "a Hugging Face model by name or folder, loaded here; default the adapter's base")
    ] = None
    adapter: Annotated[
        Path | None,
        option(MODEL, "what smile train wrote; with --provider local a GGUF of it (smile merge)", metavar="PATH"),
    ] = None
    trust_remote_code: Annotated[
        bool, option(MODEL, "run code that comes with the model: read it first", "--trust-remote-code")
    ] = False
    seed: Annotated[int | None, option(MODEL, "of the answers' chance, with a model loaded here")] = None


@dataclass(frozen=True, slots=True)
class TalkFlags:
    system: Annotated[
        str, option(TALK, "system prompt: paper-zh (default) or paper-en (Figure 12), none, or a text of your own")
    ] = "paper-zh"
    turns: Annotated[int, option(TALK, "your last utterances that the model sees; default 20", metavar="N")] = 20
    transcript: Annotated[
        Path | None,
        option(TALK, "append the conversation to this file (mode 0600); else nothing is kept", metavar="FILE"),
    ] = None
    country: Annotated[
        str | None, option(TALK, "two letters: whose help lines are shown; default the locale's", metavar="CC")
    ] = None
    helplines: Annotated[
        Path | None, option(TALK, "help lines of your own, over the built-in ones (docs/chat.md)", metavar="TOML")
    ] = None
    language: Annotated[str | None, option(TALK, "of notices: zh or en; default the locale's")] = None
    config: Annotated[Path | None, option(TALK, "settings file; flags win over it", metavar="TOML")] = None


@grouped
def chat(asked: AskFlags, model: ModelFlags, talk: TalkFlags) -> None:
    """Talk to a counselor model in the terminal: an endpoint's, a local one, or one that you trained.

    smile chat --base-url http://127.0.0.1:8000/v1 --model mechat

    smile chat --adapter tuned

    smile chat --provider local --adapter adapter.gguf

    Temperature and top_p are 0.8, as in section 6.2. It is no substitute for professional help.
    """
    from smile_async.chatbot.conversation import Conversation
    from smile_async.chatbot.crisis import help_lines, language_of
    from smile_async.chatbot.talking import Talk

    if talk.turns < 1:
        raise UsageError(f"--turns {talk.turns} lets the model see nothing.", hint="Give 1 or more.")
    check_language(talk.language)
    system = system_prompt(talk.system) or ""
    settings = settings_from(talk.config)
    lines = help_lines(talk.country, talk.helplines)
    whom = _whom(settings, asked, model, _sampling(settings, asked))
    with asyncio.Runner() as runner:
        speaker = runner.run(whom.__aenter__())
        try:
            talking = Talk(
                speaker=speaker,
                conversation=Conversation(system, most=talk.turns),
                lines=lines,
                language="zh" if (talk.language or language_of(os.environ)) == "zh" else "en",
                read=_reader(),
                out=sys.stdout,
                notify=_tell,
                columns=lambda: get_terminal_size().columns if sys.stdout.isatty() else None,
                transcript=talk.transcript,
                runner=runner,
            )
            talking.run()
        finally:
            runner.run(whom.__aexit__(None, None, None))
    if talking.failed and not sys.stdin.isatty():  # a script must hear of answers that did not come
        raise typer.Exit(4)


def _tell(text: str) -> None:
    """A notice; in a terminal in lines of its width."""
    from smile_async.chatbot.wrapping import wrapped

    to_stderr(wrapped(text, get_terminal_size().columns) if sys.stderr.isatty() else text)


def _whom(
    settings: "FileSettings", asked: AskFlags, model: ModelFlags, sampling: "Sampling"
) -> "AbstractAsyncContextManager[Speaker]":
    """Who answers: what the flags name, in the order model loaded here, llama.cpp, endpoint."""
    from smile_async.chatbot import speakers

    if asked.provider == "local" and model.base:
        raise SettingsError("--base loads a model here, --provider local one in llama.cpp.", hint="Give one of them.")
    if model.base or (model.adapter and asked.provider != "local"):
        return speakers.hugging_face_speaker(
            model.base,
            model.adapter,
            sampling,
            seed=model.seed,
            trust_remote_code=model.trust_remote_code,
            notify=to_stderr,
        )
    [endpoint, *others] = endpoints_from(settings, asked)
    if others:
        raise SettingsError("A conversation has one endpoint, and smile.toml names several.", hint="--config FILE")
    if endpoint.provider == "local":
        file = Path(endpoint.model) if endpoint.model else None
        return speakers.local_speaker(file, model.adapter, sampling, notify=to_stderr)
    return speakers.endpoint_speaker(endpoint, sampling, timeouts=settings.timeouts)


def _sampling(settings: "FileSettings", asked: AskFlags) -> "Sampling":
    from smile_async.chatbot.speakers import MAX_TOKENS
    from smile_async.settings import Sampling, override

    told = override(settings.sampling, temperature=asked.temperature, top_p=asked.top_p, max_tokens=asked.max_tokens)
    if asked.fixed_sampling:
        return told
    return told.over(Sampling(temperature=TEMPERATURE, top_p=TOP_P, max_tokens=MAX_TOKENS))


def _reader() -> Callable[[], str]:
    """Lines of the terminal, with its editing keys and history of this session; of a pipe, without a prompt. Bytes that
    are no text, and answers that a terminal of another encoding cannot show, get a sign in their place."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    if not sys.stdin.isatty():
        return _piped
    with suppress(ImportError):  # Windows has none
        import readline  # noqa: F401 - input() uses it once it is imported

    return lambda: input("> ")


def _piped() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line
