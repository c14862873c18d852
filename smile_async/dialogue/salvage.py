"""A broken answer mended from its own words, so that it need not be paid for again.

Only what breaks a rule is looked at, and only what passes every rule afterwards is a result. Nothing is invented: each
utterance of the result stands in the reply word for word, in the same order. Which steps are taken is the recipe's
(`[format.salvage]`); those on labels and lines come first, and the tail is cut only if a rule is still broken then.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from smile_async.dialogue.labels import Speakers, speakers_of
from smile_async.dialogue.model import QAPair
from smile_async.dialogue.parse import Valid, judge, without_escapes
from smile_async.dialogue.remarks import announces, ends_sentence, is_heading, latin_end, remarks
from smile_async.dialogue.rules import DialogueFormat, Line
from smile_async.dialogue.steps import Step

CUT_OFF = "length"  # finish_reason
FEWEST_GLUED = 3  # labels inside one line from which on it is a dialogue without separators

_FENCE = re.compile(r"[`~]{3,10} ?[A-Za-z]{0,20}$")


@dataclass(frozen=True, slots=True)
class Salvaged:
    """`text` is the answer as it should have been written, `valid` what `judge` makes of it, `steps` what changed
    something, in their order; none for an answer in which there was nothing to mend."""

    text: str
    valid: Valid
    steps: tuple[Step, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(f"salvaged:{step}" for step in self.steps)


@dataclass(frozen=True, slots=True)
class _Draft:
    """The lines so far. `ended`: something stood after the last of them, so that it was not cut off."""

    lines: Sequence[Line]
    ended: bool
    steps: frozenset[Step] = frozenset()

    def after(self, step: Step, lines: Sequence[Line], *, ended: bool = False) -> "_Draft":
        if lines == self.lines:
            return self
        return _Draft(lines, self.ended or ended, self.steps | {step})


def salvage(
    text: str,
    *,
    form: DialogueFormat,
    finish_reason: str | None = None,
    refusal: str | None = None,
    source: QAPair | None = None,
) -> Salvaged | None:
    """The dialogue that can be had out of an answer that `judge` rejected; None when there is none. Never raises.

    The arguments are those of `judge`.
    """
    allowed = frozenset(form.salvage.steps)
    if not allowed or refusal:
        return None
    draft = _read(text, form, allowed)
    found = _judged(draft, form, finish_reason, source)
    if found is None and Step.TAIL in allowed and finish_reason != "content_filter":
        draft = _to_last_exchange(draft, form, finish_reason)
        found = _judged(draft, form, None if finish_reason == CUT_OFF else finish_reason, source)
    return found


def _judged(draft: _Draft, form: DialogueFormat, finish_reason: str | None, source: QAPair | None) -> Salvaged | None:
    text = "\n".join(said if role is None else f"{form.roles[role][0]}: {said}" for role, said in draft.lines)
    verdict = judge(text, form=form, finish_reason=finish_reason, source=source)
    if not isinstance(verdict, Valid):
        return None
    return Salvaged(text, verdict, tuple(step for step in Step if step in draft.steps))


def _read(text: str, form: DialogueFormat, allowed: frozenset[Step]) -> _Draft:
    """The lines after every step but the tail."""
    text = without_escapes(text)
    raw: Sequence[str] = [line.strip() for line in text.split("\n") if line.strip()]
    steps: set[Step] = set()
    if Step.FENCES in allowed and (bare := [line for line in raw if not _FENCE.match(line)]) != raw:
        raw = bare
        steps.add(Step.FENCES)
    speakers = speakers_of(form, allowed)
    if Step.SEPARATORS in allowed and (parted := _parted(raw, speakers)) != raw:
        raw = parted
        steps.add(Step.SEPARATORS)
    lines: list[Line] = []
    for line in raw:
        role, said, used = speakers.read(line)
        lines.append((role, said))
        steps |= used
    draft = _Draft(lines, ended=text.endswith("\n"), steps=frozenset(steps))
    if Step.OWN_LINE in allowed:
        draft = draft.after(Step.OWN_LINE, _joined(draft.lines))
    return _without_remarks(draft, form, allowed)


def _parted(raw: Sequence[str], speakers: Speakers) -> Sequence[str]:
    """Lines parted before each label, when all labels stand in one line."""
    parts = [speakers.parted(line) for line in raw]
    labels = [len(speakers.glued.findall(line)) for line in raw]
    if sum(labels) != max(labels, default=0) or sum(labels) < FEWEST_GLUED:
        return raw
    return [part for each in parts for part in each]


def _joined(lines: Sequence[Line]) -> Sequence[Line]:
    """A label without words takes the line below it."""
    joined: list[Line] = []
    for role, said in lines:
        if role is None and joined and joined[-1][0] is not None and not joined[-1][1]:
            joined[-1] = (joined[-1][0], said)
        else:
            joined.append((role, said))
    return joined


def _without_remarks(draft: _Draft, form: DialogueFormat, allowed: frozenset[Step]) -> _Draft:
    """Without the lines that nobody speaks: between the utterances, before the first, after the last."""
    spoken = [number for number, (role, _) in enumerate(draft.lines) if role is not None]
    if not spoken:
        return draft
    first, after = spoken[0], spoken[-1] + 1
    before, middle, rest = draft.lines[:first], draft.lines[first:after], draft.lines[after:]
    if Step.HEADINGS in allowed:
        kept = [line for line in middle if line[0] is not None or not is_heading(line[1])]
        draft = draft.after(Step.HEADINGS, [*before, *kept, *rest])
        middle = kept
    if Step.PREFACE in allowed and all(announces(said) for _, said in before):
        draft = draft.after(Step.PREFACE, [*middle, *rest])
        before = []
    if Step.AFTERWORD in allowed:
        if all(remarks(said, form.language) for _, said in rest):
            draft = draft.after(Step.AFTERWORD, [*before, *middle], ended=True)
            rest = []
        role, said = middle[-1]
        if form.forbids_english_tail and not rest and (kept_words := latin_end(said, form.language)) is not None:
            draft = draft.after(Step.AFTERWORD, [*before, *middle[:-1], (role, kept_words)], ended=True)
    return draft


def _to_last_exchange(draft: _Draft, form: DialogueFormat, finish_reason: str | None) -> _Draft:
    """Without what was not said to its end, and then without what the first role of the recipe says to no answer.

    An answer that was cut off at the token limit loses its last line, however whole it looks, unless a separator
    followed it; and where that line has no speaker, what it went on with. So does one whose server says nothing of how
    it ended, when its last line does not end as sentences do. Where the server says that the model had done, only the
    beginning of a label goes.
    """
    lines, cut_off = list(draft.lines), finish_reason == CUT_OFF
    unfinished = cut_off or (finish_reason is None and bool(lines) and not ends_sentence(lines[-1][1]))
    if lines and _is_stump(lines[-1], form):
        lines.pop()
    elif unfinished and not draft.ended:
        while lines and lines[-1][0] is None:
            lines.pop()
        if lines:
            lines.pop()
    asking = next(iter(form.roles))
    while lines and lines[-1][0] == asking:
        lines.pop()
    if cut_off:  # counted though nothing had to go: without this step the answer would count as truncated
        return _Draft(lines, ended=True, steps=draft.steps | {Step.TAIL})
    return draft.after(Step.TAIL, lines)


def _is_stump(line: Line, form: DialogueFormat) -> bool:
    """A label and no words, or the beginning of a label."""
    role, said = line
    return not said if role is not None else any(prefix.startswith(said) for prefix in form.prefixes)
