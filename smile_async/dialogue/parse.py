"""An answer's text -> a dialogue, or the rule it breaks (Appendix B.1).

What counts, exactly:

- Lines are parted by real line breaks (LF, CRLF, CR), by the two characters `\\n` that the prompts ask for, or by any
  mixture of them; several in a row, and lines of white space, are one separator. In this format the two characters
  are always a separator, so a literal `\\n` inside an utterance parts it and the rest is a line without a speaker,
  which is seen (`bad-speaker`) and never silently lost. More backslashes before the n (an escape escaped) are the same.
- A speaker is a label at the beginning of a line and a half- or full-width colon. White space after the colon, none
  or any, is harmless; white space or anything else between label and colon is a violation.
- Harmless too: white space around the answer and around each line, a byte-order mark, and what a reasoning model
  thought aloud before `</think>`.
- A speaker who says nothing (`支持者:` and then the next line) breaks rule 3: an utterance cannot be empty. The
  released corpus let 2 of 628,284 through.
- A label inside a line parts nothing. Two utterances glued to one line are kept as one and flagged.
"""

import re
from collections.abc import Iterator, Sequence
from operator import eq
from typing import Literal

from smile_async.dialogue.model import Dialogue, QAPair
from smile_async.dialogue.rules import (
    Code,
    DialogueFormat,
    Line,
    Spoken,
    Violation,
    broken_content,
    broken_form,
    english_words,
    refusal_in,
)
from smile_async.values import light

Flag = Literal["non-alternating", "speaker-inside"]
"""Remarks that do not reject: somebody speaks twice in a row; an utterance holds a speaker's label and colon."""

_WRITTEN_BREAK = re.compile(r"\\+n")


@light(frozen=True, slots=True)
class Valid:
    """A dialogue that breaks no rule, as what was said in order: a model of it costs more than to judge it."""

    spoken: tuple[Spoken, ...]
    flags: tuple[Flag, ...] = ()

    @property
    def dialogue(self) -> Dialogue:
        """Made anew at each call."""
        # One validation of the whole costs half of what building fourteen utterances one by one does.
        utterances = [{"role": role, "content": content} for role, content in self.spoken]
        return Dialogue.model_validate({"utterances": utterances})


@light(frozen=True, slots=True)
class _Answer:
    """`lines` as they were written; `spoken` is what would be kept of them (empty when nobody speaks)."""

    text: str
    lines: Sequence[Line]
    spoken: Sequence[Spoken]


def judge(
    text: str,
    *,
    form: DialogueFormat,
    finish_reason: str | None = None,
    refusal: str | None = None,
    source: QAPair | None = None,
) -> Valid | Violation:
    """The dialogue in an answer, or the first rule it breaks, in the order of `Code`. Never raises.

    `finish_reason` and `refusal` as the server said them. `source` is what the dialogue was made from; without it
    `copied-answer` is not looked for.
    """
    answer = _read(text, form)
    if not (finish_reason in _ENDED and not refusal and _plainly_good(answer, form)):
        for violation in _broken(answer, form, finish_reason, refusal, source):
            return violation
    return Valid(tuple(answer.spoken), _flags(answer, form))


def violations(
    text: str,
    *,
    form: DialogueFormat,
    finish_reason: str | None = None,
    refusal: str | None = None,
    source: QAPair | None = None,
) -> tuple[Violation, ...]:
    """Every rule that an answer breaks, in the order of `Code`; empty exactly when `judge` finds it valid."""
    return tuple(_broken(_read(text, form), form, finish_reason, refusal, source))


def render(dialogue: Dialogue, form: DialogueFormat, *, colon: str = ": ", separator: str = "\n") -> str:
    """The dialogue as an answer's text, each role under its first label: the reverse of `judge`."""
    return separator.join(f"{form.roles[said.role][0]}{colon}{said.content}" for said in dialogue.utterances)


_ENDED = ("stop", None)  # finish reasons that no rule asks about


def _plainly_good(answer: _Answer, form: DialogueFormat) -> bool:
    """True only where `_broken` would find nothing; most answers are seen through here, at a fourth of its cost."""
    spoken = answer.spoken
    return (
        len(spoken) == len(answer.lines)  # nobody is silent and no line without a speaker
        and len(spoken) // 2 >= max(form.min_turns, 1)
        and not form.looks_beyond_the_paper
        and answer.text.startswith(form.beginnings)
        and not (form.forbids_english_tail and english_words(spoken[-1][1]))
    )


def _broken(
    answer: _Answer, form: DialogueFormat, finish_reason: str | None, refusal: str | None, source: QAPair | None
) -> Iterator[Violation]:
    rules = form.rules
    if rules.refused and (detail := _refused(answer, finish_reason, refusal)):
        yield Violation(Code.REFUSED, detail)
    if rules.truncated and finish_reason == "length":
        yield Violation(Code.TRUNCATED, f"cut off at the token limit after {len(answer.lines)} lines")
    if not answer.lines:
        yield Violation(Code.EMPTY, "no text")
        return
    if not answer.spoken and not rules.bad_speaker and any(role is not None for role, _ in answer.lines):
        yield Violation(Code.EMPTY, "speakers and no words")  # else nothing would be a dialogue
    yield from broken_form(answer.lines, form, answer.text)
    if answer.spoken:
        yield from broken_content(answer.spoken, form, source)


def _refused(answer: _Answer, finish_reason: str | None, refusal: str | None) -> str | None:
    if refusal:
        return "the server's refusal field is set"
    if finish_reason == "content_filter":
        return "finish_reason content_filter"
    if answer.lines and answer.lines[0][0] is None and refusal_in(answer.text, answer.lines):
        return f"an apology of {len(answer.text)} characters, no dialogue"
    return None


def without_escapes(text: str) -> str:
    """The answer without thoughts, and with a real line break for every kind of one."""
    if "<" in text:
        text = _without_thoughts(text)
    text = text.lstrip("\ufeff \t\r\n")
    if "\\" in text:
        text = _WRITTEN_BREAK.sub("\n", text) if "\\\\n" in text else text.replace("\\n", "\n")
    return text.replace("\r", "\n") if "\r" in text else text


def _read(text: str, form: DialogueFormat) -> _Answer:
    text = without_escapes(text).strip()
    if spoken := _all_spoken(text, form):
        return _Answer(text, spoken, spoken)
    lines = _lines(text, form)
    return _Answer(text, lines, _spoken(lines))


def _without_thoughts(text: str) -> str:
    """Thinking may come without its opening tag, and, when it was cut off, without its closing one."""
    if "</think>" in text:
        return text.rpartition("</think>")[2]
    return "" if text.lstrip().startswith("<think>") else text


def _all_spoken(text: str, form: DialogueFormat) -> Sequence[Spoken] | None:
    """What is said where each line begins with a label and says something, as nearly all answers are; else None.

    The hot loop of the package: once a line, some fourteen times a row.
    """
    if len(form.prefix_lengths) != 1:
        return None
    length = form.prefix_lengths[0]
    role_of = form.prefixes.get
    raw = [line for line in text.split("\n") if line]
    roles = [role_of(line[:length]) for line in raw]
    if None in roles:
        return None
    contents = [line[length:].strip() for line in raw]
    return None if "" in contents else list(zip(roles, contents, strict=True))  # type: ignore[arg-type]


def _lines(text: str, form: DialogueFormat) -> list[Line]:
    role_of, lengths = form.prefixes.get, form.prefix_lengths
    lines: list[Line] = []
    for raw in text.split("\n"):
        line = raw.strip()
        if not line:
            continue
        for length in lengths:
            role = role_of(line[:length])
            if role is not None:
                lines.append((role, line[length:].lstrip()))
                break
        else:
            lines.append((None, line))
    return lines


def _spoken(lines: Sequence[Line]) -> Sequence[Spoken]:
    """What is kept when rule 3 is switched off: a line without a speaker goes on with what was said before it, what
    stands before the first speaker is left out, and so is a speaker without words."""
    spoken = [(role, said) for role, said in lines if role is not None and said]
    if len(spoken) == len(lines):
        return spoken
    said_by: list[tuple[str, list[str]]] = []
    for role, said in lines:
        if role is not None:
            said_by.append((role, [said] if said else []))
        elif said_by:
            said_by[-1][1].append(said)
    return [(role, "\n".join(parts)) for role, parts in said_by if parts]


def _flags(answer: _Answer, form: DialogueFormat) -> tuple[Flag, ...]:
    flags: list[Flag] = []
    roles = [role for role, _ in answer.spoken]
    if any(map(eq, roles, roles[1:])):
        flags.append("non-alternating")
    # A prefix holds one colon; where each line has a prefix and there are no more colons than lines, none is inside.
    lines = len(answer.lines)
    if len(answer.spoken) < lines or answer.text.count(":") + answer.text.count("：") > lines:
        said = "\n".join([said for _, said in answer.spoken])
        if any(prefix in said for prefix in form.prefixes):
            flags.append("speaker-inside")
    return tuple(flags)
