"""What a dialogue must look like: the roles and labels of a recipe, and one code for each rule (Appendix B).

Verdicts come in the order of `Code`: an answer that breaks several rules is counted under the first.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from smile_async.dialogue import quality
from smile_async.dialogue.model import QAPair
from smile_async.dialogue.steps import SalvageSettings

Line: TypeAlias = tuple[str | None, str]
"""One line of an answer: the role that speaks it (None: no label stands before it) and what is said, stripped."""

Spoken: TypeAlias = tuple[str, str]
"""One utterance: role and content."""


class Code(StrEnum):
    """Why an answer is no dialogue, in the order in which the rules are applied."""

    REFUSED = "refused"  # the model declined: its refusal field, a content filter, or a short apology in prose
    TRUNCATED = "truncated"  # cut off at the token limit (finish_reason: length)
    EMPTY = "empty"  # nothing but white space
    BAD_START = "bad-start"  # Appendix B.1, rule 1
    NO_SEPARATOR = "no-separator"  # rule 2
    BAD_SPEAKER = "bad-speaker"  # rule 3
    ENGLISH_TAIL = "english-tail"  # rule 4
    TOO_FEW_TURNS = "too-few-turns"  # Appendix B.2
    REPETITION = "repetition"  # beyond the paper, from here on: see quality.py
    COPIED_ANSWER = "copied-answer"
    WRONG_LANGUAGE = "wrong-language"


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule. `detail` holds counts and places ("line 7 of 22"), never dialogue text."""

    code: Code
    detail: str = ""


class RuleSwitches(BaseModel):
    """Which rules are applied, by code: in TOML `english-tail = false`. `empty` cannot be switched off."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
        serialize_by_alias=True,
    )

    refused: bool = True
    truncated: bool = True
    bad_start: bool = True
    no_separator: bool = True
    bad_speaker: bool = True
    english_tail: bool = True
    too_few_turns: bool = True
    repetition: bool = False
    copied_answer: bool = False
    wrong_language: bool = False


Label = Annotated[str, StringConstraints(pattern=r"^[^\s:：\\](?:[^\r\n:：\\]*[^\s:：\\])?$")]
"""A speaker's label without its colon: no line break, no backslash, no white space at its ends."""


class DialogueFormat(BaseModel):
    """How a dialogue is written down and what it must satisfy. A turn is one exchange: utterances // 2.

    `roles` maps each role's name in the corpus to the labels it may have in the text, in the recipe's order. A label
    stands at the beginning of a line before a half- or full-width colon.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    roles: dict[str, Annotated[tuple[Label, ...], Field(min_length=1)]] = Field(min_length=2)
    opener: str | None = None
    """The role that must speak first. None: anyone, which is the paper's rule 1, whatever its prompt asks for."""
    min_turns: int = Field(default=5, ge=0)
    language: str = "zh"
    bold_labels: bool = False
    """Also read `**求助者:**` and `**求助者**:`, as models that write Markdown do. The paper's rule 3 does not."""
    rules: RuleSwitches = RuleSwitches()
    salvage: SalvageSettings = SalvageSettings()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "DialogueFormat":
        labels = [label for each in self.roles.values() for label in each]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"label {twice[0]!r} belongs to two speakers: give each label to one role")
        if self.opener is not None and self.opener not in self.roles:
            raise ValueError(f"opener {self.opener!r} is not a role: choose one of {', '.join(self.roles)}")
        if self.rules.wrong_language and quality.script_of(self.language) is None:
            known = ", ".join(quality.known_languages())
            raise ValueError(f"wrong-language cannot judge language {self.language!r}: it knows {known}")
        self._check_salvage(labels)
        return self

    def _check_salvage(self, labels: list[str]) -> None:
        for role, synonyms in self.salvage.synonyms.items():
            if role not in self.roles:
                raise ValueError(f"salvage.synonyms: {role!r} is not a role: choose one of {', '.join(self.roles)}")
            others = [each for other, more in self.salvage.synonyms.items() if other != role for each in more]
            if clash := set(synonyms) & {*labels, *others}:
                raise ValueError(f"salvage.synonyms: {min(clash)!r} is a label already: give it to one role, once")
        if strange := sorted(self.salvage.texts.keys() - set(Code)):
            raise ValueError(f"salvage.texts: {strange[0]!r} is no rule's code: there are {', '.join(Code)}")

    def __copy__(self) -> "DialogueFormat":
        """A copy derives its own values: `model_copy(update=...)` would else go on with those of the original."""
        copy = super().__copy__()
        for derived in ("prefixes", "prefix_lengths", "beginnings", "forbids_english_tail", "looks_beyond_the_paper"):
            copy.__dict__.pop(derived, None)
        return copy

    @cached_property
    def prefixes(self) -> dict[str, str]:
        """Everything that may stand before an utterance, colon included, to the role that then speaks."""
        forms = ["{}:", "{}："]
        if self.bold_labels:
            forms += ["**{}:**", "**{}：**", "**{}**:", "**{}**："]
        return {form.format(label): role for role, each in self.roles.items() for label in each for form in forms}

    @cached_property
    def prefix_lengths(self) -> tuple[int, ...]:
        """Lengths of the prefixes, longest first."""
        return tuple(sorted({len(prefix) for prefix in self.prefixes}, reverse=True))

    @cached_property
    def beginnings(self) -> tuple[str, ...]:
        """What an answer may begin with: rule 1 asks for the label and says nothing of a colon."""
        roles = [self.opener] if self.opener else list(self.roles)
        labels = [label for role in roles for label in self.roles[role]]
        return (*labels, *(f"**{label}" for label in labels)) if self.bold_labels else tuple(labels)

    @cached_property
    def forbids_english_tail(self) -> bool:
        """Rule 4 means something only where the dialogue itself is not written in Latin letters."""
        return self.rules.english_tail and quality.script_of(self.language) not in {None, quality.LATIN}

    @cached_property
    def looks_beyond_the_paper(self) -> bool:
        return self.rules.repetition or self.rules.copied_answer or self.rules.wrong_language


# Three words in a row, parted by white space: "Note: this is a fictional dialogue.", but no URL and no "OK". A run in
# which every word is capitalised is a name ("Google Play Store"), so one word must not be.
_WORD = r"[A-Za-z]+(?:['’-][A-Za-z]+)*"
_LATIN_RUN = re.compile(
    rf"(?<![A-Za-z0-9@/.:_'’-]){_WORD}(?:[\"”’),;:.!?]*[ \t]+[\"“‘(]*{_WORD}){{2,}}(?!://|[A-Za-z0-9@/_-])"
)

_REFUSAL_LENGTH = 400  # characters; a longer answer is a failed dialogue rather than an apology
_REFUSAL = re.compile(
    r"(?:抱歉|对不起|很遗憾|不好意思).{0,40}(?:无法|不能|不便|不可以|没有?办法)"
    r"|(?:无法|不能|不便|拒绝)(?:为您|为你|帮您|帮你|继续|直接)?(?:提供|生成|完成|回答|协助|满足|处理|改写|创作|继续)"
    r"|作为.{0,8}(?:AI|人工智能|语言模型|大模型|助手).{0,60}(?:无法|不能|不便|不会)"
    r"|\bI(?:['’]m| am) (?:\w+ )?sorry\b"
    r"|\b(?:can['’]t|cannot|can not|won['’]t|(?:un|not )able to) (?:\w+ )?"
    r"(?:assist|help|provide|comply|fulfil|generate|create|continue|write|rewrite|engage|discuss)"
    r"|\bas an AI\b",
    re.IGNORECASE | re.DOTALL,
)


def refusal_in(text: str, lines: Sequence[Line]) -> bool:
    """A short text that apologises and in which nobody speaks."""
    return len(text) <= _REFUSAL_LENGTH and all(role is None for role, _ in lines) and _REFUSAL.search(text) is not None


def broken_form(lines: Sequence[Line], form: DialogueFormat, first_line: str) -> Iterator[Violation]:
    """Rules 1 to 3 of Appendix B.1, on the lines as they were written. `lines` is not empty."""
    rules = form.rules
    # Nothing can be kept of a text in which nobody speaks, so there rule 1 cannot be switched off.
    if (rules.bad_start and not first_line.startswith(form.beginnings)) or all(role is None for role, _ in lines):
        yield Violation(Code.BAD_START, f"line 1 of {len(lines)} does not begin with {_speakers(form)}")
    if rules.no_separator and len(lines) < 2:
        yield Violation(Code.NO_SEPARATOR, "the answer is one line")
    if rules.bad_speaker:
        bad = [number for number, (role, said) in enumerate(lines, 1) if role is None or not said]
        if bad:
            lack = "no speaker" if lines[bad[0] - 1][0] is None else "a speaker and no words"
            more = f", and {len(bad) - 1} more lines are wrong" if len(bad) > 1 else ""
            yield Violation(Code.BAD_SPEAKER, f"line {bad[0]} of {len(lines)} has {lack}{more}")


def _speakers(form: DialogueFormat) -> str:
    return form.opener or " or ".join(form.roles)


def broken_content(spoken: Sequence[Spoken], form: DialogueFormat, source: QAPair | None) -> Iterator[Violation]:
    """Rule 4, the turn rule of B.2 and the gates beyond the paper, on the utterances. `spoken` is not empty."""
    if form.forbids_english_tail and (words := english_words(spoken[-1][1])):
        yield Violation(Code.ENGLISH_TAIL, f"{words} Latin words in a row in the last of {len(spoken)} utterances")
    turns = len(spoken) // 2
    if form.rules.too_few_turns and turns < form.min_turns:
        yield Violation(Code.TOO_FEW_TURNS, f"{turns} turns, at least {form.min_turns} are wanted")
    if form.looks_beyond_the_paper:
        yield from _beyond_the_paper([content for _, content in spoken], form, source)


def english_words(said: str) -> int:
    """Length in words of the first English sentence; 0 when there is none."""
    found = english_in(said)
    return 0 if found is None else len(found[0].split())


def english_in(said: str) -> "re.Match[str] | None":
    """The first English sentence."""
    if " " not in said and "\t" not in said:
        return None  # white space must part the words, and Chinese has none
    for run in _LATIN_RUN.finditer(said):
        words = run[0].split()
        if any(word.strip('"“‘(')[:1].islower() for word in words):
            return run
    return None


def _beyond_the_paper(contents: Sequence[str], form: DialogueFormat, source: QAPair | None) -> Iterator[Violation]:
    if form.rules.repetition and (detail := quality.repetition(contents)):
        yield Violation(Code.REPETITION, detail)
    if form.rules.copied_answer and source and (detail := quality.copied_answer(contents, source.answer)):
        yield Violation(Code.COPIED_ANSWER, detail)
    if form.rules.wrong_language and (detail := quality.wrong_language(contents, form.language)):
        yield Violation(Code.WRONG_LANGUAGE, detail)
