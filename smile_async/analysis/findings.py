"""What is wrong or suspicious in a corpus beyond the paper's rules, each finding with its row's id."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import orjson

from smile_async.analysis.near_duplicates import THRESHOLD, near_duplicates
from smile_async.corpus.formats import PAPER_ROLES, Record, RoleMap
from smile_async.dialogue import quality
from smile_async.dialogue.contacts import Contact, contacts_in, masked
from smile_async.dialogue.model import Dialogue, Utterance
from smile_async.filing import whole_file

ONE_SIDED_SHARE = 0.95
"""Share of a dialogue's characters from which on one speaker is said to speak alone: 7 of 2,000 released dialogues, of
which one has a single utterance and the others two long answers."""

_LABELS = (
    "求助者|支持者|咨询师|来访者|心理咨询师|辅导员|倾听者|用户|助手|患者|医生"
    "|[Cc]lients?|[Cc]ounsell?ors?|[Tt]herapists?|[Ss]upporters?|[Hh]elp-?[Ss]eekers?|[Uu]sers?|[Aa]ssistants?|[Hh]uman|AI"
)
_LEAK = re.compile(
    rf"(?:^|[\n。！？!?”\"』」)）\]】*])\s{{0,4}}[*_【\[(（<]{{0,3}}(?:{_LABELS})[*_】\])）>]{{0,3}}\s?[:：]"
)

CODES = {
    "near-duplicate": "repeats an earlier dialogue",
    "copied-answer": "an utterance is the source's answer",
    "repetition": "runs in circles",
    "one-sided": f"one speaker has {ONE_SIDED_SHARE:.0%} of the words or more",
    "non-alternating": "a speaker speaks twice in a row",
    "empty-utterance": "an utterance without words",
    "leaked-label": "a speaker's label stands inside an utterance",
    **{f"contact-{kind}": f"contact data: {kind}" for kind in Contact},
}
"""Each kind of finding, and what it means."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` is one of `CODES`; `detail` holds counts, places and other rows' ids, never dialogue text; `place` is the
    row's in the corpus, from 0."""

    row_id: str
    code: str
    detail: str
    place: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found in so many rows."""

    rows: int
    findings: tuple[Finding, ...]

    @property
    def by_code(self) -> dict[str, list[Finding]]:
        """In the order of `CODES`, those that were found."""
        told: dict[str, list[Finding]] = {code: [] for code in CODES}
        for one in self.findings:
            told[one.code].append(one)
        return {code: each for code, each in told.items() if each}

    def as_json(self) -> dict[str, object]:
        """Rows and findings by code; a row may have several of one code."""
        return {
            "rows": self.rows,
            "rows_with_findings": len({one.place for one in self.findings}),
            "findings": {code: len(each) for code, each in self.by_code.items()},
            "rows_by_code": {code: len({one.place for one in each}) for code, each in self.by_code.items()},
        }


def check_corpus(
    records: Iterable[Record], roles: RoleMap = PAPER_ROLES, *, threshold: float | None = THRESHOLD
) -> Checked:
    """All findings of a corpus; see `findings`."""
    rows = 0

    def counted() -> Iterator[Record]:
        nonlocal rows
        for record in records:
            rows += 1
            yield record

    found = tuple(findings(counted(), roles, threshold=threshold))
    return Checked(rows, found)


def write_findings(found: Iterable[Finding], out: Path, *, overwrite: bool = False) -> None:
    """A JSON line each: id, code, detail, row (its place in the corpus, from 0)."""
    with whole_file(out, overwrite=overwrite) as file:
        for one in found:
            line = {"id": one.row_id, "code": one.code, "detail": one.detail, "row": one.place}
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def findings(
    records: Iterable[Record], roles: RoleMap = PAPER_ROLES, *, threshold: float | None = THRESHOLD
) -> Iterator[Finding]:
    """All of a corpus, row by row in its order. `threshold` None: near-duplicates are not looked for."""
    if threshold is None:
        for place, record in enumerate(records):
            for one in record_findings(record, roles):
                yield replace(one, place=place)
        return
    ahead: list[Finding] = []  # of the rows that were read since the last duplicate
    ids: list[str] = []

    def texts() -> Iterator[str]:
        for place, record in enumerate(records):
            ahead.extend([replace(one, place=place) for one in record_findings(record, roles)])
            ids.append(record.row_id)
            yield "\n".join([one.content for one in record.dialogue.utterances])

    for found in near_duplicates(texts(), threshold):
        yield from ahead
        ahead.clear()
        detail = f"{found.similarity:.2f} alike to {ids[found.first]}"
        yield Finding(ids[found.place], "near-duplicate", detail, found.place)
    yield from ahead


def record_findings(record: Record, roles: RoleMap = PAPER_ROLES) -> Iterator[Finding]:
    """Of one dialogue, by itself."""
    spoken = record.dialogue.utterances
    contents = [one.content for one in spoken]
    if record.pair is not None and (detail := quality.copied_answer(contents, record.pair.answer)):
        yield Finding(record.row_id, "copied-answer", detail)
    if detail := quality.repetition(contents):
        yield Finding(record.row_id, "repetition", detail)
    if detail := one_sided(spoken, roles):
        yield Finding(record.row_id, "one-sided", detail)
    if not record.dialogue.alternates:
        again = sum(one.role == other.role for one, other in pairwise(spoken))
        yield Finding(record.row_id, "non-alternating", f"{again} of {len(spoken)} utterances")
    for number, content in enumerate(contents, 1):
        place = f"utterance {number} of {len(contents)}"
        if not content.strip():
            yield Finding(record.row_id, "empty-utterance", place)
        if _LEAK.search(content):
            yield Finding(record.row_id, "leaked-label", place)
        for contact in contacts_in(content):
            yield Finding(
                record.row_id, f"contact-{contact.kind}", f"{place}, characters {contact.start + 1} to {contact.end}"
            )


def one_sided(spoken: Sequence[Utterance], roles: RoleMap = PAPER_ROLES) -> str | None:
    """One line when one of the two hardly speaks; None for a dialogue, and for no words at all."""
    said = {role: sum(len(one.content) for one in spoken if one.role == role) for role in (roles.user, roles.assistant)}
    total = sum(said.values())
    role, most = max(said.items(), key=lambda one: one[1])
    if not total or most < ONE_SIDED_SHARE * total:
        return None
    return f"{role} has {most / total:.0%} of {total:,} characters"


def without_contacts(record: Record, language: str = "zh") -> Record:
    """The record with its contact data masked, in the dialogue and in its QA."""
    dialogue = Dialogue(
        utterances=tuple(
            one.model_copy(update={"content": masked(one.content, language)}) for one in record.dialogue.utterances
        )
    )
    pair = record.pair
    if pair is not None:
        texts = {name: masked(getattr(pair, name), language) for name in ("question", "description", "answer")}
        pair = pair.model_copy(update=texts)
    return replace(record, dialogue=dialogue, pair=pair)


def cleaned(
    records: Iterable[Record], found: Iterable[Finding], *, drop: Iterable[str] = (), mask: str | None = None
) -> Iterator[Record]:
    """The corpus without the rows that have a finding of one of the codes to `drop`.

    `mask`: the language of the words in place of contact data; None: as it is. `found` are the findings of these very
    `records`.
    """
    codes = frozenset(drop)
    gone = {one.place for one in found if one.code in codes}
    for place, record in enumerate(records):
        if place not in gone:
            yield record if mask is None else without_contacts(record, mask)
