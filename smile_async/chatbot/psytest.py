"""A test set from real transcripts (PsyTest, section 6.3.1): anonymised by a person's decisions, parted into cases.

Each counselor utterance that has a history is a case: the history is asked, the utterance is the reference.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from smile_async.chatbot.identities import Hint, Identity, hints_in, known_names, mask_of, said_again
from smile_async.chatbot.sessions import spoken
from smile_async.corpus.formats import PAPER_ROLES, Record, RoleMap
from smile_async.decisions import read_list, write_list, wrong_line
from smile_async.dialogue.model import Dialogue, Utterance
from smile_async.errors import UsageError
from smile_async.filing import whole_file

_HAN = re.compile(r"[\u3400-\u9fff]")
_DIGEST = re.compile(r"(?=.*[a-f])[0-9a-f]{16,}")  # of a run of ours: a row of digits in it is no telephone number
AROUND = 16  # characters shown on either side of what was found
Decision = Literal["", "accept", "keep"]
COLUMNS = ("dialogue", "utterance", "start", "kind", "found", "context", "replacement", "decision")


@dataclass(frozen=True, slots=True)
class Proposal:
    """In `dialogue` (its row id), `utterance` (from 1), `found` stands at `start` (characters from 0) and may tell who
    somebody is: put `replacement` there (`accept`) or leave it (`keep`). A person may write another replacement."""

    dialogue: str
    utterance: int
    start: int
    kind: str
    found: str
    context: str
    replacement: str
    decision: Decision = ""
    line: int = 0
    """Where it stands in the list; 0 while it is in none."""


@dataclass(frozen=True, slots=True)
class Case:
    """`history` ends before the utterance that is the `reference`; consecutive utterances of one speaker are one."""

    id: str
    dialogue: str
    history: tuple[Utterance, ...]
    reference: str

    def as_json(self, roles: RoleMap, system: str | None) -> dict[str, Any]:
        """As `smile respond` and `smile evaluate` read it."""
        names = {roles.user: "user", roles.assistant: "assistant"}
        messages = [{"role": names[one.role], "content": one.content} for one in self.history]
        head = [{"role": "system", "content": system}] if system else []
        return {"id": self.id, "dialogue": self.dialogue, "messages": head + messages, "reference": self.reference}


def proposals(records: Iterable[Record], language: str = "zh") -> Iterator[Proposal]:
    """All that the recognisers find, dialogue by dialogue.

    A name that is found once is proposed wherever it is said, and has the same number in the whole dialogue.
    """
    for record in records:
        yield from _of_dialogue(record, language)


def _of_dialogue(record: Record, language: str) -> Iterator[Proposal]:
    texts = [one.content for one in record.dialogue.utterances]
    hints = [hints_in(text, language) for text in texts]
    names = {name for text, found in zip(texts, hints, strict=True) for name in known_names(text, found)}
    numbers: dict[tuple[str, str], int] = {}
    for number, (text, found) in enumerate(zip(texts, hints, strict=True), 1):
        for hint in _with_names(text, found, names):
            said = text[hint.start : hint.end]
            which = _number(numbers, hint.kind, said) if hint.kind in set(Identity) else None
            context = text[max(hint.start - AROUND, 0) : hint.end + AROUND]
            mask = mask_of(hint.kind, which, language)
            yield Proposal(record.row_id, number, hint.start, str(hint.kind), said, context, mask)


def _with_names(text: str, found: Sequence[Hint], names: set[str]) -> list[Hint]:
    more = sorted(said_again(text, names), key=lambda one: one.start - one.end)
    kept = list(found)
    for hint in more:
        if not any(hint.start < other.end and other.start < hint.end for other in kept):
            kept.append(hint)
    return sorted(kept, key=lambda one: one.start)


def _number(numbers: dict[tuple[str, str], int], kind: str, said: str) -> int:
    """The same words have the same number; a given name has that of the full name that ends with it."""
    if (kind, said) in numbers:
        return numbers[kind, said]
    if kind == Identity.NAME:
        for (other, name), number in numbers.items():
            if (
                other == kind
                and len(said) > 1
                and (name.endswith(said) or said.endswith(name))
                and min(len(name), len(said)) > 1
            ):
                numbers[kind, said] = number
                return number
    numbers[kind, said] = 1 + max((number for (other, _), number in numbers.items() if other == kind), default=0)
    return numbers[kind, said]


def write_proposals(path: Path, found: Iterable[Proposal]) -> int:
    """The list for a person, as CSV; returns its length. `UsageError` when the file is there."""
    return write_list(path, COLUMNS, ([getattr(one, name) for name in COLUMNS] for one in found))


def read_proposals(path: Path) -> list[Proposal]:
    """With their decisions. `SourceError` names the line that cannot be used."""
    return [_proposal(cells, line, path) for line, cells in read_list(path, COLUMNS)]


def _proposal(cells: Mapping[str, str], line: int, path: Path) -> Proposal:
    decision = cells["decision"].strip().lower()
    if decision not in get_args(Decision):
        raise wrong_line(path, line, f"the decision {decision!r} is unknown", "Write accept, keep, or nothing yet.")
    try:
        utterance, start = int(cells["utterance"]), int(cells["start"])
    except ValueError:
        raise wrong_line(path, line, "utterance and start must be whole numbers") from None
    texts = {name: cells[name] for name in ("dialogue", "kind", "found", "context", "replacement")}
    return Proposal(utterance=utterance, start=start, decision=decision, line=line, **texts)  # type: ignore[arg-type]


def anonymised(records: Iterable[Record], decided: Sequence[Proposal], path: Path) -> Iterator[Record]:
    """The transcripts with what was accepted replaced, from the end of each text, so that places stay true. A line that
    matches no transcript is refused with its number: the transcripts have changed since the list was written."""
    by_dialogue: dict[str, list[Proposal]] = {}
    for one in decided:
        by_dialogue.setdefault(one.dialogue, []).append(one)
    for record in records:
        mine = by_dialogue.pop(record.row_id, [])
        yield _replaced(record, mine, path) if mine else record
    for left in by_dialogue.values():
        raise _stale(left[0], path)


def _replaced(record: Record, decided: Sequence[Proposal], path: Path) -> Record:
    texts = [one.content for one in record.dialogue.utterances]
    for one in sorted(decided, key=lambda it: (it.utterance, it.start), reverse=True):
        there = texts[one.utterance - 1] if 1 <= one.utterance <= len(texts) else ""
        if not one.found or there[one.start : one.start + len(one.found)] != one.found:
            raise _stale(one, path)
        if one.decision == "accept":
            texts[one.utterance - 1] = there[: one.start] + one.replacement + there[one.start + len(one.found) :]
    spoken = zip(record.dialogue.utterances, texts, strict=True)
    utterances = tuple(one.model_copy(update={"content": text}) for one, text in spoken)
    return replace(record, dialogue=Dialogue(utterances=utterances), pair=None)


def _stale(one: Proposal, path: Path) -> Exception:
    return wrong_line(
        path,
        one.line,
        f"no longer matches dialogue {one.dialogue}, utterance {one.utterance}",
        "The transcripts have changed since. Move this file away and have the list written anew.",
    )


def cases(records: Iterable[Record], roles: RoleMap = PAPER_ROLES) -> Iterator[Case]:
    """A case for each counselor utterance that has a history; the others ("the dialogue history is empty") are none.

    Its id is the dialogue's with the utterance's place, from 1. Empty utterances are left out. Utterances of other
    roles are refused (`UsageError`).
    """
    for record in records:
        if strange := {one.role for one in record.dialogue.utterances} - {roles.user, roles.assistant}:
            raise UsageError(
                f"Dialogue {record.row_id} has a speaker {min(strange)!r}.",
                hint="Say who asks and who answers: --roles CLIENT,COUNSELOR.",
            )
        turns = tuple(
            Utterance(role=role, content="\n".join(one.content for one in said))
            for role, said in groupby(spoken(record.dialogue).utterances, key=lambda one: one.role)
        )
        for place, one in enumerate(turns):
            if one.role == roles.assistant and place > 0:
                yield Case(f"{record.row_id}-{place + 1}", record.row_id, turns[:place], one.content)


@dataclass(frozen=True, slots=True)
class TestSet:
    """`waits`: the list was written, and a person has to decide first; there are no cases then."""

    __test__ = False  # not for pytest

    dialogues: int
    cases: int
    without_history: int
    proposals: Mapping[str, int]
    decisions: Mapping[str, int]
    waits: Path | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "dialogues": self.dialogues,
            "cases": self.cases,
            "without_history": self.without_history,
            "proposals": dict(self.proposals),
            "decisions": dict(self.decisions),
            "waits_for": None if self.waits is None else str(self.waits),
        }


def build(
    transcripts: Iterable[Record],
    out: Path,
    *,
    review: Path,
    roles: RoleMap = PAPER_ROLES,
    language: str = "zh",
    system: str | None = None,
    overwrite: bool = False,
) -> TestSet:
    """Write `out` (JSONL of {id, dialogue, messages, reference}, mode 0600) by the decisions in `review`.

    A `review` that is not there is written with all proposals, undecided, and `out` waits. `UsageError` where entries
    are undecided, where proposals are not in the list, or where `out` exists.
    """
    _check_ids(transcripts, language)
    found = list(proposals(transcripts, language))
    kinds = Counter(one.kind for one in found)
    dialogues = sum(1 for _ in transcripts)
    if not review.exists():
        if found:
            write_proposals(review, found)
            return TestSet(dialogues, 0, 0, kinds, {"": len(found)}, review)
        decided: list[Proposal] = []
    else:
        decided = read_proposals(review)
        _check_decided(decided, found, review)
    made = 0
    with whole_file(out, overwrite=overwrite) as file:
        answered = 0
        for record in anonymised(transcripts, decided, review):
            answered += sum(
                role == roles.assistant for role, _ in groupby(record.dialogue.utterances, key=lambda one: one.role)
            )
            for case in cases([record], roles):
                file.write(orjson.dumps(case.as_json(roles, system), option=orjson.OPT_APPEND_NEWLINE))
                made += 1
    return TestSet(dialogues, made, answered - made, kinds, Counter(one.decision for one in decided))


def _check_ids(transcripts: Iterable[Record], language: str) -> None:
    """Ids stand in the cases as they are, and nobody reviews them."""
    for number, record in enumerate(transcripts, 1):
        name = record.row_id
        if not _DIGEST.fullmatch(name) and (hints_in(name, language) or _HAN.search(name)):
            raise UsageError(
                f"The id of dialogue {number} may tell who somebody is, and would stand in the cases.",
                hint="Give the dialogues ids that say nothing, such as numbers.",
            )


def _check_decided(decided: Sequence[Proposal], found: Sequence[Proposal], review: Path) -> None:
    blank = [one for one in decided if not one.decision]
    if blank:
        raise UsageError(
            f"{review}: {len(blank):,} of {len(decided):,} entries are undecided, the first in line {blank[0].line}.",
            hint="Write accept or keep in the column decision; the column replacement may be edited.",
        )
    listed = {(one.dialogue, one.utterance, one.start, one.found) for one in decided}
    missing = [one for one in found if (one.dialogue, one.utterance, one.start, one.found) not in listed]
    if missing:
        raise UsageError(
            f"{review}: {len(missing):,} findings are not in the list, the first in dialogue {missing[0].dialogue},"
            f" utterance {missing[0].utterance}.",
            hint="The list was written for other transcripts. Move it away and have it written anew.",
        )
