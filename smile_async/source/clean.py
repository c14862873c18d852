"""Appendix A: forum words become spoken ones, and long QAs are cut to fit the model's context."""

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smile_async.dialogue.model import QAPair
from smile_async.errors import SettingsError

MAX_CHARACTERS = 1800  # question + description + answer (section 3.1, Length Truncation)


class Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    old: str = Field(min_length=1)
    new: str


class WordFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["append", "prepend", "replace"] = "append"
    word: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that is not used, and why: `emptied` (cleaning left no text) or `answer-cut-away` (question and
    description alone reach the limit). `field` is the text that is gone."""

    code: str
    field: str


@cache
def paper_words() -> tuple[Word, ...]:
    """Figure 8, in its order."""
    text = files("smile_async.source").joinpath("data/cleaning.toml").read_text(encoding="utf-8")
    return WordFile.model_validate(tomllib.loads(text)).word


def load_words(path: str | Path | None = None) -> tuple[Word, ...]:
    """The paper's words joined by a user's own TOML file, whose form stands in `source/data/cleaning.toml`."""
    if path is None:
        return paper_words()
    try:
        own = WordFile.model_validate(tomllib.loads(Path(path).read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", hint="Name a TOML file of words.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML in UTF-8: {error}.", hint=_WORDS_HINT) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {place}: {first['msg']}.", hint=_WORDS_HINT) from None
    joined = {"append": paper_words() + own.word, "prepend": own.word + paper_words(), "replace": own.word}
    return joined[own.mode]


_WORDS_HINT = 'Each word is a table: [[word]], then old = "..." and new = "..."; mode is append, prepend or replace.'


def finder(words: tuple[Word, ...]) -> Callable[[str], bool]:
    """A glance for the hot path: does any of the words occur in a text? Half of the rows hold none."""
    if not words:
        return lambda _text: False
    occurs = re.compile("|".join(re.escape(word.old) for word in words)).search
    characters = _characters_of_all([word.old for word in words])

    def find(text: str) -> bool:
        for character in characters:  # three for the paper's words: looking for one of them costs a tenth of `occurs`
            if character in text:
                return occurs(text) is not None
        return False

    return find


def _characters_of_all(words: list[str]) -> list[str]:
    """Few characters of which each word holds one."""
    found: list[str] = []
    while words:
        counts = Counter(character for word in words for character in set(word))
        best = max(sorted(counts), key=counts.__getitem__)
        found.append(best)
        words = [word for word in words if best not in word]
    return found


def clean_text(text: str, words: tuple[Word, ...]) -> str:
    """Replace word after word, each in the result of the one before."""
    for word in words:
        text = text.replace(word.old, word.new)
    return text


def clean_pair(pair: QAPair, words: tuple[Word, ...]) -> tuple[QAPair | SetAside, Counter[str]]:
    """The pair in spoken words, and how often each old word was replaced.

    `SetAside("emptied")` when nothing is left of the question or the answer. A description may become empty.
    """
    counts: Counter[str] = Counter()
    whole = f"{pair.question}\n{pair.description}\n{pair.answer}"
    if not any(word.old in whole for word in words):  # half of the rows; a replacement could bring a word about
        return pair, counts
    return with_texts(pair, {field: _counted(getattr(pair, field), words, counts) for field in TEXTS}), counts


TEXTS = ("question", "description", "answer")


def _counted(text: str, words: tuple[Word, ...], counts: Counter[str]) -> str:
    for word in words:
        times = text.count(word.old)
        if times:
            counts[word.old] += times
            text = text.replace(word.old, word.new)
    return text


def with_texts(pair: QAPair, texts: dict[str, str]) -> QAPair | SetAside:
    """`pair` with other texts, unless the question or the answer came out blank."""
    for field in ("question", "answer"):
        if not texts.get(field, "x").strip():
            return SetAside("emptied", field)
    if all(getattr(pair, field) == text for field, text in texts.items()):
        return pair
    return pair.model_copy(update=texts)


def truncate(pair: QAPair, max_characters: int = MAX_CHARACTERS) -> tuple[QAPair | SetAside, int]:
    """Cut question + description + answer to `max_characters` (code points), from the end; and how many went.

    The end is the answer's. When no character of the answer would be left there is no QA any more, so the row is set
    aside as `answer-cut-away` instead of cutting into the client's own words. The cut never parts a character from its
    combining marks, variation selector, skin tone or joined emoji: it goes before the whole of it.
    """
    room = max_characters - len(pair.question) - len(pair.description)
    excess = len(pair.answer) - room
    if excess <= 0:
        return pair, 0
    kept = pair.answer[: _whole_characters(pair.answer, max(0, room))]
    if not kept.strip():
        return SetAside("answer-cut-away", "answer"), len(pair.answer)
    return pair.model_copy(update={"answer": kept}), len(pair.answer) - len(kept)


_JOINER = "\u200d"


def _whole_characters(text: str, end: int) -> int:
    """The last place at or before `end` where no character is parted."""
    while 0 < end < len(text) and (_continues(text[end]) or text[end - 1] == _JOINER):
        end -= 1
    return end


def _continues(character: str) -> bool:
    return (
        character == _JOINER
        or "\ufe00" <= character <= "\ufe0f"  # variation selectors
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or unicodedata.category(character) in {"Mn", "Me", "Mc"}
    )
