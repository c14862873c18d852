"""An annotator's answer to the topics it names. Nothing is guessed: a label that is not one of the 60 stays what it is,
and what it may have meant is only reported."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from smile_async.prompt.topics import Topic

LONGEST_LABEL = 40  # characters; the longest of the 60 names has 39 (in English), what is longer is prose
MOST_LABELS = 60  # others kept of one answer: beyond that it is no list of labels
MOST_NEAR = 20  # labels of one answer that are compared with all names
NEAR = 0.6  # similarity (2 x what is in common / lengths together) from which a label is near a topic
CRISIS = range(57, 61)
"""Topics of Figures 15 and 17 that speak of danger: self-harm, suicide, harming others, harming the user."""

_SEPARATORS = re.compile(r"[、，,;；/／|｜\n]|\\n")
_LINES = re.compile(r"\n|\\n")
_NUMBERS = re.compile(r"(?:主题|topic)?\s*(?<!\d)\d{1,2}\s*[、.．)）:：]|[①-⑳]", re.IGNORECASE)
_AROUND = "\"'“”‘’「」『』《》〈〉【】[]()（）<>*`_#-•·● \t\r\u3000"
_ENDS = ".。!！?？…~"
_COLON = "："
_SENTENCES = re.compile(r"[。！？!?]")
_NEGATION = re.compile(r"不|无|未|没|非|排除|\b(?:not?|none|never|except|without|excluded?)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A label that is none of the topics, and the topic (by its index) whose name is nearest."""

    label: str
    index: int


@dataclass(frozen=True, slots=True)
class Labels:
    """`topics` are indices (1 to 60), in the order of the answer, each once. `others` are all labels that are none of
    the 60, as they were written, `near` those of them that nearly are. `prose`: parts that are no labels: too long,
    leads that end in a colon, or too many. `in_part`: the annotator was shown beginning and end of the dialogue alone.
    """

    topics: tuple[int, ...] = ()
    near: tuple[NearMiss, ...] = ()
    others: tuple[str, ...] = ()
    prose: int = 0
    in_part: bool = False

    @property
    def crisis(self) -> bool:
        return any(index in CRISIS for index in self.topics)

    @property
    def crisis_near(self) -> bool:
        """A label that nearly is a crisis topic: worth a person's look."""
        return any(miss.index in CRISIS for miss in self.near)


def read_labels(text: str, topics: Sequence[Topic]) -> Labels:
    """Parted at commas, enumeration commas, semicolons, slashes, bars, numbers and line breaks, full- and half-width;
    without bullets, quotes and brackets, case, width and blanks aside, a label has to be a topic's name."""
    names = {key(topic.name): topic for topic in topics}
    found: dict[int, None] = {}
    others: dict[str, str] = {}
    prose = 0
    for part in _parts(text, names):
        named = _named(part, names)
        found.update(dict.fromkeys(named))
        if named or not key(part):
            continue
        if len(part) > LONGEST_LABEL or part.endswith(_COLON) or len(others) == MOST_LABELS:
            prose += 1
        else:
            others.setdefault(key(part), part)
    near = [(label, _nearest(told, names)) for told, label in list(others.items())[:MOST_NEAR]]
    misses = tuple(NearMiss(label, topic.index) for label, topic in near if topic is not None)
    return Labels(tuple(found), misses, tuple(others.values()), prose)


def _parts(text: str, names: Mapping[str, Topic]) -> list[str]:
    """The answer's parts, bare; of a line `name: definition` only the name."""
    lines = _LINES.split(_NUMBERS.sub("\n", text).replace(":", _COLON))
    said = [piece for line in lines for piece in _SENTENCES.split(_without_definition(line, names))]
    return [_bare(part) for piece in said for part in _SEPARATORS.split(_without_negated(piece))]


def _without_negated(piece: str) -> str:
    """Where a lead denies what follows (`Not mentioned: suicide`), nothing is named: the lead is kept, as prose."""
    lead, colon, _ = piece.partition(_COLON)
    return lead + _COLON if colon and _NEGATION.search(lead) else piece


def _without_definition(line: str, names: Mapping[str, Topic]) -> str:
    name, colon, rest = line.partition(_COLON)
    topic = names.get(key(name)) if colon else None
    defined = topic is not None and key(rest)[:6] == key(topic.definition)[:6]
    return name if defined else line


def _named(part: str, names: Mapping[str, Topic]) -> list[int]:
    """The topics that a part names: itself, what stands after its colon (`The topics are: Fear`), or each of its words
    (`焦虑 抑郁`)."""
    for told in (part, part.rpartition(_COLON)[2]):
        if topic := names.get(key(told)):
            return [topic.index]
    words = [names.get(key(word)) for word in part.split()]
    return [topic.index for topic in words if topic is not None] if words and None not in words else []


def _bare(part: str) -> str:
    """Without what stands around a label."""
    return part.strip(_AROUND + _ENDS)


@lru_cache(maxsize=4_096)
def key(label: str) -> str:
    """What labels are compared by: width, case, blanks and signs aside."""
    folded = unicodedata.normalize("NFKC", label).casefold()
    return "".join(character for character in folded if character.isalnum())


def _nearest(told: str, names: Mapping[str, Topic]) -> Topic | None:
    found = get_close_matches(told, names, n=1, cutoff=NEAR)
    return names[found[0]] if found else None
