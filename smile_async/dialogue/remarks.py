"""Lines of an answer that nobody speaks: headings, what announces the dialogue, what is remarked after it.

The words are Chinese and English, the two languages in which models comment on their work whatever they were asked
to write. A line that is not known for a remark is none: it may be an utterance that lost its label.
"""

import re
from functools import cache

from smile_async.dialogue import quality
from smile_async.dialogue.rules import english_in

LONGEST_HEADING = 40  # characters
LONGEST_PREFACE = 120  # characters, of a line that ends with a colon
LONGEST_ANNOUNCEMENT = 40  # characters, of one that does not

_SIGNS = re.compile(r"[\s#=*_~.。·—–─-]+$")
_HEADING = re.compile(
    r"#{1,6}[ \t]"
    r"|\*\*[^*:：]+[:：]?\*\*[:：]?$"
    r"|[【《\[][^】》\]]+[】》\]]$"
    r"|第[0-9一二三四五六七八九十]{1,3}(?:轮|回合|段|次|个?来回)[^，。！？]*$"
    r"|(?:round|turn|exchange|part)[ \t]*[0-9]{1,3}\b",
    re.IGNORECASE,
)
_PREFACE = re.compile(
    r"(?:以下|下面)(?:是|为|就是|将)|如下|(?:改写|重写|生成)后?的?(?:多轮)?对话|多轮对话|对话(?:开始|内容|记录)"
    r"|\b(?:here(?:['’]s| is| are)|below is|(?:rewritten|multi-turn|following) (?:multi-turn )?dialog)",
    re.IGNORECASE,
)
_ASSENT = re.compile(
    r"(?:好的|当然(?:可以)?|没问题|明白了|可以|sure|certainly|of course|okay|ok)[，,。.！!：: ]*$", re.IGNORECASE
)
_REMARK = re.compile(
    r"[（(【\[*_>\s]*"
    r"(?:注意?[:：]|备注|说明[:：]|提示[:：]|以上|(?:本|这段|该)对话|希望(?:这|以上|对你|对您)|对话(?:到此)?(?:结束|完)"
    r"|(?:全文)?(?:结束|完)[。）)】\]*_]*$"
    r"|(?:please )?note\b|disclaimer\b|this (?:dialogue|conversation|is a)\b|i hope\b|end of\b|the end\b)",
    re.IGNORECASE,
)
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")
_OPEN_ENDED = "，、,：:；;—-–(（【[“「『《<"
"""Punctuation after which a sentence goes on."""
FEWEST_WORDS = 3  # as in rule 4


def is_heading(line: str) -> bool:
    """`### 第一轮`, `**结尾**`, `---`."""
    return bool(_SIGNS.match(line)) or (len(line) <= LONGEST_HEADING and bool(_HEADING.match(line)))


def announces(line: str) -> bool:
    """What models say before they begin: `好的，以下是改写后的对话：`."""
    if is_heading(line) or _ASSENT.match(line):
        return True
    if line.endswith((":", "：")):
        return len(line) <= LONGEST_PREFACE
    return len(line) <= LONGEST_ANNOUNCEMENT and bool(_PREFACE.search(line))


def remarks(line: str, language: str) -> bool:
    """What models say when they are done: a note, a hope, English in a dialogue of another script."""
    return is_heading(line) or bool(_REMARK.match(line)) or _is_foreign_latin(line, language)


def _is_foreign_latin(line: str, language: str) -> bool:
    own = _own_letters(language)
    return own is not None and not own.search(line) and len(_LATIN_WORD.findall(line)) >= FEWEST_WORDS


def latin_end(said: str, language: str) -> str | None:
    """An utterance without the English sentences that were glued to its end; None where there are none.

    Only what follows a whole sentence of the language goes, and nothing of the language may follow: a name or a
    quotation inside what is said stays.
    """
    own = _own_letters(language)
    english = english_in(said)
    if own is None or english is None or own.search(said, english.start()):
        return None
    kept = said[: english.start()].rstrip(" \t\"“‘'([（【*_-—")
    last = max((found.end() for found in own.finditer(kept)), default=0)
    return kept if last and ends_sentence(kept) and not _LATIN_WORD.search(kept, last) else None


def ends_sentence(said: str) -> bool:
    """Ends as sentences do: with a full stop or another sign that closes, or with an emoji."""
    return bool(said) and not said[-1].isalnum() and said[-1] not in _OPEN_ENDED


@cache
def _own_letters(language: str) -> "re.Pattern[str] | None":
    """Letters of a script that is not Latin; None for Latin and for languages that are not known."""
    script = quality.script_of(language)
    return None if script in {None, quality.LATIN} else re.compile(f"[{script}]")
