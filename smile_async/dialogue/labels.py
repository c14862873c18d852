"""Speakers' labels as models write them though they were told otherwise: `**label**:`, `1. label:`, `【label】`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from smile_async.dialogue.rules import DialogueFormat
from smile_async.dialogue.steps import Step

# Every repetition is bounded: a line of ten thousand asterisks costs no more than one of twenty.
_BEFORE = (
    r"(?P<markup>[-*+•·>#_~` \t]{0,12})"
    r"(?P<number>(?:第?[0-9一二三四五六七八九十]{1,3}(?:轮|回合|句)?[.、．)）:：]{0,2}"
    r"|[(（][0-9]{1,3}[)）]|[①-⑳])[ \t]{0,4})?"
    r"(?P<bold>[*_]{0,3})(?P<open>[【\[「『（(《<〔]?)(?P<bold2>[*_]{0,3})"
)
_AFTER = (
    r"(?P<index>[ \t]?[0-9]{1,3}(?=[】\]」』）)》>〕*_ \t]{0,6}[:：]))?(?P<bold3>[*_]{0,3})"
    r"(?P<close>[】\]」』）)》>〕]?)(?P<bold4>[*_]{0,3})"
    r"(?P<aside>[（(][^（()）:：]{1,16}[)）](?=[*_ \t]{0,4}[:：]))?(?P<bold5>[*_]{0,3})"
    r"(?P<gap>[ \t\u3000]{0,8})(?P<colon>[:：﹕∶ː;；]?)(?P<bold6>[*_]{0,3})(?P<said>.*)$"
)
_PAIRS = frozenset({"【】", "[]", "「」", "『』", "（）", "()", "《》", "<>", "〔〕", ""})
_OPENING, _CLOSING = ("markup", "bold", "bold2"), ("bold3", "bold4", "bold5", "bold6")
NOTHING: frozenset[Step] = frozenset()


@dataclass(frozen=True, slots=True)
class Speakers:
    """Reads labels. `plain` are those that no step is needed for, `names` every word for a role, `synonyms` those that
    only the step of this name allows."""

    plain: dict[str, str]
    names: dict[str, str]
    synonyms: frozenset[str]
    allowed: frozenset[Step]
    pattern: re.Pattern[str]
    glued: re.Pattern[str]

    def read(self, line: str) -> tuple[str | None, str, frozenset[Step]]:
        """The role, what is said, and the steps that it took to see it; no role where no label stands."""
        for length in range(min(len(line), max(map(len, self.plain))), 0, -1):
            if (role := self.plain.get(line[:length])) is not None:
                return role, line[length:].lstrip(), NOTHING
        found = self.pattern.match(line)
        used = None if found is None else self._taken(found)
        if found is None or used is None or not used <= self.allowed:
            return None, line, NOTHING
        return self.names[found["label"]], _words(found), used

    def parted(self, line: str) -> Sequence[str]:
        """The line, parted before each label of the recipe that has its colon, bold or not."""
        places = [found.start() for found in self.glued.finditer(line)]
        return [
            line[start:end].strip()
            for start, end in zip([0, *places], [*places, len(line)], strict=True)
            if line[start:end].strip()
        ]

    def _taken(self, found: re.Match[str]) -> frozenset[Step] | None:
        """The steps; None where it is no label after all."""
        steps = set[Step]()
        if any(found[name] for name in _OPENING):
            steps.add(Step.MARKUP)
        if found["number"] or found["index"]:
            steps.add(Step.NUMBERING)
        if found["open"] + found["close"] not in _PAIRS:
            return None
        if found["open"] or found["aside"]:
            steps.add(Step.BRACKETS)
        if found["label"] in self.synonyms:
            steps.add(Step.SYNONYMS)
        if not found["colon"]:
            return _without_colon(found, steps)
        if found["gap"] or found["colon"] not in ":：":
            steps.add(Step.COLON)
        return frozenset(steps)


def _without_colon(found: re.Match[str], steps: set[Step]) -> frozenset[Step] | None:
    """A word that begins a sentence is no label: without a colon it must stand apart."""
    if not found["said"].strip("*_ "):
        return frozenset(steps | {Step.OWN_LINE})
    framed = bool(found["open"]) or (_is_bold(found) and bool(found["bold3"] or found["bold4"]))
    apart = bool(found["gap"]) and not found["label"].isascii()
    return frozenset(steps | {Step.COLON}) if framed or apart else None


def _is_bold(found: re.Match[str]) -> bool:
    return any(sign in found[name] for name in _OPENING for sign in "*_")


def _words(found: re.Match[str]) -> str:
    """What is said: with the asterisks that are its own, and without those that close what was opened before the label,
    at once (`**label**: words`) or at the end (`**label: words**`)."""
    said = found["said"].strip()
    closing = [name for name in _CLOSING if found[name]]
    if not _is_bold(found):
        return (
            found.string[found.start(closing[0]) :].strip()
            if closing and not found["colon"]
            else (found["bold6"] + said)
        )
    if closing and closing != ["bold6"]:
        return found["bold6"] + said
    if not closing:
        for sign in ("***", "**", "__", "*", "_"):
            if said.endswith(sign) and said.count(sign) % 2:
                return said.removesuffix(sign).rstrip()
    return said


def speakers_of(form: DialogueFormat, allowed: frozenset[Step]) -> Speakers:
    labels = tuple((role, label) for role, each in form.roles.items() for label in each)
    others = tuple((role, label) for role, each in form.salvage.synonyms.items() for label in each)
    return _speakers(labels, others, tuple(form.prefixes.items()), allowed)


@lru_cache(maxsize=64)
def _speakers(
    labels: tuple[tuple[str, str], ...],
    others: tuple[tuple[str, str], ...],
    prefixes: tuple[tuple[str, str], ...],
    allowed: frozenset[Step],
) -> Speakers:
    names = {label: role for role, label in (*others, *labels)}
    longest_first = sorted(names, key=len, reverse=True)
    label = f"(?P<label>{'|'.join(map(re.escape, longest_first))})"
    plain = dict(prefixes)
    return Speakers(
        plain,
        names,
        frozenset(label for _, label in others),
        allowed,
        re.compile(_BEFORE + label + _AFTER),
        re.compile(rf"[*_]{{0,3}}(?:{'|'.join(re.escape(label) for _, label in labels)})[*_]{{0,3}}[:：]"),
    )
