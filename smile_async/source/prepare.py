"""From a raw source to a prepared one: clean, review, cut to length, write (section 3.1 and appendix A)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from smile_async.dialogue.model import QAPair
from smile_async.errors import UsageError
from smile_async.filing import whole_file
from smile_async.source.clean import MAX_CHARACTERS, SetAside, Word, clean_pair, paper_words, truncate
from smile_async.source.prepared import dump_pair
from smile_async.source.readers import Source
from smile_async.source.review import (
    TRIGGERS,
    ReviewEntry,
    apply_decisions,
    entries_of,
    find_hugs,
    read_review,
    stale,
    write_review,
)
from smile_async.source.rows import BadRow


@dataclass(frozen=True, slots=True)
class RowSetAside:
    """`row` counts from 1; `code` is `bad-row`, `emptied` or `answer-cut-away`; `detail` names the field or error."""

    row: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """`rows == written + len(set_aside)`, but when only the review list was written (`written == 0`, `out` None).

    `replaced` counts by old word; `truncated` rows lost `characters_cut` characters; `decisions` counts the review
    entries by decision, "" being the undecided ones, those that are in no list yet included.
    """

    rows: int
    written: int
    set_aside: tuple[RowSetAside, ...]
    replaced: dict[str, int]
    truncated: int
    characters_cut: int
    hugs: int
    decisions: dict[str, int]
    out: Path | None
    review_written: Path | None


@dataclass(frozen=True, slots=True)
class _Plan:
    words: tuple[Word, ...]
    max_characters: int | None
    triggers: tuple[str, ...]
    listed: dict[int, list[ReviewEntry]] | None
    """Entries of the review file by row; None when there is no such file."""
    file: str


@dataclass(slots=True)
class _Progress:
    """What one pass over the source met."""

    rows: int = 0
    written: int = 0
    set_aside: list[RowSetAside] = field(default_factory=list)
    replaced: Counter[str] = field(default_factory=Counter)
    truncated: int = 0
    characters_cut: int = 0
    found: list[ReviewEntry] = field(default_factory=list)
    decisions: Counter[str] = field(default_factory=Counter)
    matched: set[int] = field(default_factory=set)
    """Rows whose entries were applied."""


class _ListComesFirst(Exception):  # noqa: N818 - leaves `whole_file` without a file, nothing more
    pass


def prepare(
    source: Source,
    out: str | Path,
    *,
    words: tuple[Word, ...] | None = None,
    max_characters: int | None = MAX_CHARACTERS,
    review_file: str | Path | None = None,
    undecided: Literal["refuse", "keep"] = "refuse",
    triggers: tuple[str, ...] = TRIGGERS,
    overwrite: bool = False,
) -> PrepareReport:
    """Write the source's rows, cleaned, reviewed and cut to length, as JSONL that `open_source` reads back.

    `words` None: the paper's. `max_characters` None: nothing is cut. Without `review_file` the snippets with a trigger
    word are only counted. A `review_file` that is not there yet is written with every snippet; unless `undecided` is
    "keep", `out` waits until a person has decided. One that is there is applied; entries without a decision, and
    snippets in no entry, are refused (`UsageError`) or kept as they are.
    """
    out, review = Path(out), None if review_file is None else Path(review_file)
    entries = read_review(review) if review is not None and review.exists() else None
    refuse = undecided == "refuse"
    if entries is not None and refuse:
        _refuse_blank(entries, str(review))
    plan = _Plan(
        paper_words() if words is None else words,
        max_characters,
        triggers,
        None if entries is None else _by_row(entries),
        str(review),
    )
    progress = _Progress()
    try:
        with whole_file(out, overwrite=overwrite) as file:
            for pair in _prepared(source, plan, progress):
                file.write(dump_pair(pair))
                progress.written += 1
            _check_review(plan, progress, refuse=refuse, listing=review is not None)
    except _ListComesFirst:
        progress.written = 0
    listed_now = None
    if review is not None and entries is None and progress.found:
        write_review(review, progress.found)
        listed_now = review
    waits = listed_now is not None and refuse
    return _report(progress, out=None if waits else out, review_written=listed_now)


def prepare_pair(
    pair: QAPair, words: tuple[Word, ...], max_characters: int | None = MAX_CHARACTERS
) -> QAPair | SetAside:
    """What `prepare` does to one pair, without the review: for rows that go straight into a run."""
    cleaned, _ = clean_pair(pair, words)
    if isinstance(cleaned, SetAside) or max_characters is None:
        return cleaned
    return truncate(cleaned, max_characters)[0]


def _by_row(entries: list[ReviewEntry]) -> dict[int, list[ReviewEntry]]:
    rows: dict[int, list[ReviewEntry]] = {}
    for entry in entries:
        rows.setdefault(entry.row, []).append(entry)
    return rows


def _prepared(source: Source, plan: _Plan, progress: _Progress) -> Iterator[QAPair]:
    for row in source:
        progress.rows += 1
        number = row.index + 1
        if isinstance(row, BadRow):
            progress.set_aside.append(RowSetAside(number, "bad-row", row.error.problem))
            continue
        result = _one(number, row.pair, plan, progress)
        if isinstance(result, SetAside):
            progress.set_aside.append(RowSetAside(number, result.code, result.field))
        else:
            yield result


def _one(number: int, pair: QAPair, plan: _Plan, progress: _Progress) -> QAPair | SetAside:
    cleaned, counts = clean_pair(pair, plan.words)
    progress.replaced.update(counts)
    if isinstance(cleaned, SetAside):
        return cleaned
    reviewed = _reviewed(number, cleaned, plan, progress)
    if isinstance(reviewed, SetAside) or plan.max_characters is None:
        return reviewed
    cut, lost = truncate(reviewed, plan.max_characters)
    if lost and isinstance(cut, QAPair):
        progress.truncated += 1
        progress.characters_cut += lost
    return cut


def _reviewed(number: int, pair: QAPair, plan: _Plan, progress: _Progress) -> QAPair | SetAside:
    found = entries_of(number, pair, find_hugs(pair, plan.triggers))
    progress.found.extend(found)
    entries = [] if plan.listed is None else plan.listed.get(number, [])
    if entries:
        progress.matched.add(number)
    progress.decisions.update(entry.decision for entry in entries)
    known = {entry.place for entry in entries}
    progress.decisions[""] += sum(entry.place not in known for entry in found)
    return apply_decisions(pair, entries, plan.file) if entries else pair


def _refuse_blank(entries: list[ReviewEntry], file: str) -> None:
    blank = [entry for entry in entries if not entry.decision]
    if blank:
        raise UsageError(
            f"{file}: {len(blank)} of {len(entries)} snippets are undecided, the first in line {blank[0].line}.",
            hint="Write accept, edit or keep in the column decision, or say that undecided snippets are kept.",
        )


def _check_review(plan: _Plan, progress: _Progress, *, refuse: bool, listing: bool) -> None:
    if plan.listed is None:
        if listing and refuse and progress.found:
            raise _ListComesFirst
        return
    for row, entries in plan.listed.items():
        if row not in progress.matched:
            raise stale(entries[0], plan.file)
    if refuse and progress.decisions[""]:
        raise UsageError(
            f"{plan.file}: {progress.decisions['']} snippets of the source are not in the list.",
            hint="The list was written for another source or word list. Move it away and have it written anew.",
        )


def _report(progress: _Progress, *, out: Path | None, review_written: Path | None) -> PrepareReport:
    return PrepareReport(
        rows=progress.rows,
        written=progress.written,
        set_aside=tuple(progress.set_aside),
        replaced=dict(progress.replaced),
        truncated=progress.truncated,
        characters_cut=progress.characters_cut,
        hugs=len(progress.found),
        decisions={decision: count for decision, count in progress.decisions.items() if count},
        out=out,
        review_written=review_written,
    )
