"""Gates beyond the paper: a model in a loop, the source answer handed back, another language than asked for.

Each gate takes what was said, in order, and returns None or one line for a person: counts and places, never dialogue
text. They are off where the paper's numbers are reproduced. Thresholds stand far from what good dialogues do; the
distances beside them were measured on the released corpus (55,165 dialogues).
"""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

SAID_AGAIN_SHARE = 0.2
"""Share of utterances that repeat an earlier one word for word."""
SAID_AGAIN_LENGTH = 4  # characters; a second "谢谢。" is good manners
SAID_AGAIN_COUNT = 2  # utterances

PIECE = 8  # characters of an n-gram
UTTERANCE_STRIDE = 2  # every second n-gram: a loop of p characters has at most p different ones at any stride
DIALOGUE_STRIDE = 8  # counted from each utterance's beginning, so that repeated utterances fall together
LOOP_PIECES = 24
"""n-grams below which an utterance (56 characters) or a dialogue is too short to be called a loop."""
LOOP_UTTERANCE = 0.4
LOOP_DIALOGUE = 0.6
"""Share of different n-grams under which an utterance, or the dialogue as a whole, runs in circles. The released
corpus's lowest dialogue of a sample of 2,000 has 0.77 at stride 1."""

COPY_LENGTH = 60  # characters; a shorter answer may well be said in one breath
COPY_STRIDE = 4
COPY_SHARE = 0.6
"""Share of the answer's n-grams that one utterance holds when it is a copy "nearly verbatim". Of 97 released dialogues
whose source is public, two hold 0.97 and none of the others more than 0.40."""

FOREIGN_LETTERS = 25  # letters; below that a greeting, a name or an abbreviation
OWN_SHARE = 0.5
"""Share of an utterance's letters that belong to the language's script."""

_HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
LATIN = "A-Za-z\u00c0-\u024f\u1e00-\u1eff"
_IN_LATIN = re.findall(r"\w+", "en de fr es pt it nl pl cs sk sv da no nb nn fi tr vi id ms ro hu ca")
_SCRIPTS = {
    "zh": _HAN,
    "ja": _HAN + "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f",
    "ko": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "ru": "\u0400-\u052f",
    "uk": "\u0400-\u052f",
    "bg": "\u0400-\u052f",
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "he": "\u0590-\u05ff",
    "ar": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff",
    "fa": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff",
    "th": "\u0e00-\u0e7f",
    "hi": "\u0900-\u097f",
} | dict.fromkeys(_IN_LATIN, LATIN)


def script_of(language: str) -> str | None:
    """The letters of a language as the inside of a character class; None for a language this module does not know.

    `language` is a BCP 47 tag, of which the first part counts: zh, zh-Hant, en-GB.
    """
    return _SCRIPTS.get(language.partition("-")[0].lower())


def known_languages() -> tuple[str, ...]:
    return tuple(sorted(_SCRIPTS))


def repetition(contents: Sequence[str]) -> str | None:
    """A model in a loop: the same utterances again, or the same few words over and over.

    On the released corpus it fires 9 times in 55,165, each time on a dialogue that does repeat itself.
    """
    return _said_again(contents) or _in_circles(contents)


def _said_again(contents: Sequence[str]) -> str | None:
    if len(set(contents)) == len(contents):
        return None
    counts = Counter(content for content in contents if len(content) >= SAID_AGAIN_LENGTH)
    again = sum(counts.values()) - len(counts)
    if again < SAID_AGAIN_COUNT or again < SAID_AGAIN_SHARE * len(contents):
        return None
    return f"{again} of {len(contents)} utterances repeat an earlier one"


def _in_circles(contents: Sequence[str]) -> str | None:
    for number, content in enumerate(contents, 1):
        if not _comes_back(content):
            continue
        pieces = _pieces(content, UTTERANCE_STRIDE)
        if (share := _different(pieces)) < LOOP_UTTERANCE:
            return f"utterance {number} of {len(contents)}: only {share:.0%} of its n-grams differ"
    pieces = [piece for content in contents for piece in _pieces(content, DIALOGUE_STRIDE)]
    if (share := _different(pieces)) < LOOP_DIALOGUE:
        return f"only {share:.0%} of the dialogue's n-grams differ"
    return None


def _comes_back(content: str) -> bool:
    """A glance before the count: a loop that fills most of an utterance covers its middle, and comes there again."""
    return any(
        content.count(content[at : at + PIECE]) > 1
        for at in (len(content) // 3, len(content) // 2, len(content) * 2 // 3)
    )


def _pieces(content: str, stride: int) -> list[str]:
    return [content[at : at + PIECE] for at in range(0, len(content) - PIECE + 1, stride)]


def _different(pieces: Sequence[str]) -> float:
    return len(set(pieces)) / len(pieces) if len(pieces) >= LOOP_PIECES else 1.0


def copied_answer(contents: Sequence[str], answer: str) -> str | None:
    """One utterance hands the source's answer back nearly verbatim, so that nothing was turned into a conversation.

    Measured over the answer's n-grams, so that an added greeting or a changed word does not hide the copy, while an
    answer spread over several utterances, which is what the method asks for, is none. Silent for answers under
    `COPY_LENGTH` characters.
    """
    if len(answer) < COPY_LENGTH:
        return None
    for number, content in enumerate(contents, 1):
        if len(content) < COPY_SHARE * len(answer):
            continue  # too short to hold it: the usual case, and why this gate costs next to nothing
        pieces = _pieces(answer, COPY_STRIDE)
        share = sum(piece in content for piece in pieces) / len(pieces)
        if share >= COPY_SHARE:
            return f"utterance {number} of {len(contents)} holds {share:.0%} of the source's answer"
    return None


def wrong_language(contents: Sequence[str], language: str) -> str | None:
    """An utterance of `FOREIGN_LETTERS` letters or more of which less than half are the language's own.

    The script is looked at, not the words: English in a Chinese dialogue is found, German in an English one is not.
    None for a language without an entry in the table (`known_languages`).
    """
    foreign = _foreign(language)
    if foreign is None:
        return None
    for number, content in enumerate(contents, 1):
        others = sum(map(len, foreign.findall(content)))
        if others * 2 <= FOREIGN_LETTERS:
            continue  # even if there were nothing else, too little to judge
        letters = sum(map(str.isalpha, content))
        if letters >= FOREIGN_LETTERS and letters - others < OWN_SHARE * letters:
            return (
                f"utterance {number} of {len(contents)}: {others} of {letters} letters are not of language {language!r}"
            )
    return None


@cache
def _foreign(language: str) -> re.Pattern[str] | None:
    own = script_of(language)
    return re.compile(rf"[^\W\d_{own}]+") if own else None
