"""Flags that depend on a corpus's language: `--language` itself, and `--system` by name."""

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import typer

if TYPE_CHECKING:
    from smile_async.corpora import Corpus
    from smile_async.corpus.language import Language

_LIKE_A_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def language_for(corpus: "Corpus", told: str | None) -> "Language":
    """`--language`, zh or en; where it is not given, the corpus's own. Warns when the text is plainly of another."""
    check_language(told)
    if told is None:
        return corpus.language()
    warn_of(corpus, told)
    return cast("Language", told)


def check_language(told: str | None) -> None:
    if told not in {None, "zh", "en"}:
        raise typer.BadParameter(f"{told!r}: zh or en", param_hint="--language")


def warn_of(corpus: "Corpus", language: str) -> None:
    """To stderr, when the text of `corpus` is plainly not in `language`."""
    if corpus.letters().speak_against(language):
        sys.stderr.write(
            f"warning: {corpus.path} does not look like {language}, by its letters; is --language right?\n"
        )


def system_prompt(told: str | None, language: "Callable[[], Language] | None" = None) -> str | None:
    """`--system`: Figure 12 by its name (`paper`, where `language` can tell which), none, or a text as it is. A single
    word that is no name is probably a misspelt one."""
    from smile_async.corpus.formats import paper_system_prompt

    if told is None or told == "none":
        return None
    if told == "paper" and language is not None:
        return paper_system_prompt(language())
    if told in ("paper-zh", "paper-en"):
        return paper_system_prompt("zh" if told == "paper-zh" else "en")
    if _LIKE_A_NAME.fullmatch(told):
        names = ", ".join([*(["paper"] if language is not None else []), "paper-zh", "paper-en", "none"])
        raise typer.BadParameter(f"{told!r} is no prompt: {names}, or a text of several words", param_hint="--system")
    return told
