"""Appendix A.2: snippets with 抱抱 (hug) are found and listed; a person decides what becomes of each.

The list is a CSV file, so that thousands of entries can be sorted and filled in with a spreadsheet. In the column
`decision` a person writes `accept` (delete what `cut` shows), `edit` (put `replacement` in its place) or `keep`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from smile_async.decisions import read_list, write_list, wrong_line
from smile_async.dialogue.model import QAPair
from smile_async.errors import SourceError
from smile_async.source.clean import TEXTS, SetAside, with_texts

TRIGGERS = ("抱抱",)

LONG_CLAUSE = 24  # characters: some answers have hardly any punctuation

Decision = Literal["", "accept", "edit", "keep"]

_CLAUSE = re.compile(r"[^，,、；;：:。！？!?…～~\r\n]*[，,、；;：:。！？!?…～~\r\n]*")
_SENTENCE_END = "。！？!?…～~\r\n"
_PAUSE = "，,、；;：:"
_PAIRS = {"（": "）", "(": ")", "“": "”", "「": "」", "『": "』", "【": "】", "‘": "’"}
_BRACKETS = frozenset([*_PAIRS, *_PAIRS.values()])


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of a text that holds a trigger word. `start` counts code points from the beginning of the field;
    `sentence` is the sentence around the cut, `after` the same sentence without it."""

    field: str
    start: int
    sentence: str
    cut: str
    after: str


@dataclass(frozen=True, slots=True)
class ReviewEntry:
    """One line of the list. `row` counts from 1 in the source; texts are those after the automatic cleaning."""

    row: int
    source_id: str
    answer_index: int
    field: str
    start: int
    sentence: str
    cut: str
    after: str
    decision: Decision = ""
    replacement: str = ""
    line: int = 0
    """Where the entry stands in the review file; 0 while it is in no file."""

    @property
    def place(self) -> tuple[int, str, int]:
        return self.row, self.field, self.start


def find_hugs(pair: QAPair, triggers: tuple[str, ...] = TRIGGERS) -> list[Snippet]:
    """Every snippet of the three texts that holds a trigger word, with the cut that is proposed for it.

    The cut is the smallest run of clauses between punctuation marks, with the mark after it. Where it ends a sentence
    that goes on before it ("你辛苦了，抱抱你。"), the comma before it goes instead and the sentence keeps its end. Of a
    clause above `LONG_CLAUSE` only the word itself is proposed.
    """
    return [snippet for field in TEXTS for snippet in _in_text(field, getattr(pair, field), triggers)]


def _in_text(field: str, text: str, triggers: tuple[str, ...]) -> list[Snippet]:
    if not any(trigger in text for trigger in triggers):
        return []
    clauses = [found.span() for found in _CLAUSE.finditer(text) if found.end() > found.start()]
    runs: list[tuple[int, int]] = []
    for start, end in clauses:
        if not any(trigger in text[start:end] for trigger in triggers):
            continue
        if runs and runs[-1][1] == start and text[start - 1] not in _SENTENCE_END:
            runs[-1] = (runs[-1][0], end)  # neighbours in one sentence are one snippet
        else:
            runs.append((start, end))
    return [_snippet(field, text, *_cut(text, start, end, triggers)) for start, end in runs]


def _cut(text: str, start: int, end: int, triggers: tuple[str, ...]) -> tuple[int, int]:
    inner = _inside_brackets(text, start, end, triggers)
    if inner is not None:
        return inner
    if end - start > LONG_CLAUSE and sum(text.count(trigger, start, end) for trigger in triggers) == 1:
        return _bare(text, start, end, triggers)
    before = text[start - 1] if start else "\n"
    ends_sentence = end == len(text) or text[end - 1] in _SENTENCE_END
    if ends_sentence and before in _PAUSE:
        return start - 1, start + len(text[start:end].rstrip(_SENTENCE_END + _PAUSE))
    return start, end


def _bare(text: str, start: int, end: int, triggers: tuple[str, ...]) -> tuple[int, int]:
    """A clause this long says more than the hug: only the trigger word goes, with the 你 it is said to."""
    place, word = min((text.find(word, start, end), word) for word in triggers if word in text[start:end])
    stop = place + len(word)
    return place, stop + (text[stop : stop + 1] == "你")


def _inside_brackets(text: str, start: int, end: int, triggers: tuple[str, ...]) -> tuple[int, int] | None:
    """A bracket that holds nothing but the snippet goes whole; one that reaches out of the clause stays whole."""
    clause = text[start:end]
    first = min(text.find(trigger, start, end) for trigger in triggers if trigger in clause)
    last = max(text.rfind(trigger, start, end) + len(trigger) for trigger in triggers if trigger in clause)
    for place in range(start, first):
        closing = text.find(_PAIRS[text[place]], place, end) if text[place] in _PAIRS else -1
        if closing >= last:
            return place, closing + 1
    if all(clause.count(one) == clause.count(other) for one, other in _PAIRS.items()):
        return None
    left = max((place + 1 for place in range(start, first) if text[place] in _BRACKETS), default=start)
    return left, next((place for place in range(last, end) if text[place] in _BRACKETS), end)


def _snippet(field: str, text: str, start: int, end: int) -> Snippet:
    left = max((text.rfind(mark, 0, start) for mark in _SENTENCE_END), default=-1) + 1
    right = end if text[end - 1] in _SENTENCE_END else _sentence_end(text, end)
    sentence = text[left:right]
    return Snippet(field, start, sentence, text[start:end], text[left:start] + text[end:right])


def _sentence_end(text: str, start: int) -> int:
    found = re.compile(f"[{_SENTENCE_END}]+").search(text, start)
    return found.end() if found else len(text)


def entries_of(row: int, pair: QAPair, snippets: Iterable[Snippet]) -> list[ReviewEntry]:
    return [
        ReviewEntry(row, pair.source_id, pair.answer_index, one.field, one.start, one.sentence, one.cut, one.after)
        for one in snippets
    ]


def apply_decisions(pair: QAPair, entries: Iterable[ReviewEntry], file: str) -> QAPair | SetAside:
    """The pair after all decided entries of its row. `SourceError` naming the line when an entry does not match."""
    texts = {field: getattr(pair, field) for field in TEXTS}
    for entry in sorted(entries, key=lambda one: one.start, reverse=True):  # from the end: earlier places stay true
        _check_match(pair, entry, file)
        if entry.decision in {"accept", "edit"}:
            text = texts[entry.field]
            texts[entry.field] = text[: entry.start] + entry.replacement + text[entry.start + len(entry.cut) :]
    return with_texts(pair, texts)


def _check_match(pair: QAPair, entry: ReviewEntry, file: str) -> None:
    text = getattr(pair, entry.field)
    same_row = (entry.source_id, entry.answer_index) == (pair.source_id, pair.answer_index)
    if not same_row or text[entry.start : entry.start + len(entry.cut)] != entry.cut:
        raise stale(entry, file)


def stale(entry: ReviewEntry, file: str) -> SourceError:
    return SourceError(
        f"line {entry.line} no longer matches the source: row {entry.row}, {entry.field}, {entry.cut!r}",
        file=file,
        hint="The source or the word list has changed since. Move this file away and have the list written anew.",
    )


_COLUMNS = [item.name for item in fields(ReviewEntry) if item.name != "line"]


def write_review(path: Path, entries: Iterable[ReviewEntry], *, overwrite: bool = False) -> int:
    """Write the list; returns its length."""
    rows = ([getattr(entry, column) for column in _COLUMNS] for entry in entries)
    return write_list(path, _COLUMNS, rows, overwrite=overwrite)


def read_review(path: Path) -> list[ReviewEntry]:
    """Entries with their decisions. `SourceError` names the line that cannot be used."""
    entries = [_entry(text, line, path) for line, text in read_list(path, _COLUMNS)]
    _check_unique(entries, str(path))
    return entries


def _entry(text: dict[str, str], line: int, file: Path) -> ReviewEntry:
    decision, replacement = text["decision"].strip().lower(), text["replacement"]
    if decision not in get_args(Decision):
        raise wrong_line(
            file, line, f"the decision {decision!r} is unknown", "Write accept, edit, keep, or nothing yet."
        )
    if (decision == "edit") != bool(replacement) and decision:
        raise wrong_line(
            file,
            line,
            f"the decision {decision!r} {'needs a' if decision == 'edit' else 'takes no'} replacement",
            "edit puts the replacement in the place of the cut; accept deletes the cut.",
        )
    if text["field"] not in TEXTS:
        raise wrong_line(file, line, f"the field {text['field']!r} is unknown", f"One of: {', '.join(TEXTS)}.")
    try:
        row, answer_index, start = (int(text[name]) for name in ("row", "answer_index", "start"))
    except ValueError:
        raise wrong_line(file, line, "row, answer_index and start must be whole numbers") from None
    return ReviewEntry(
        row=row,
        source_id=text["source_id"],
        answer_index=answer_index,
        field=text["field"],
        start=start,
        sentence=text["sentence"],
        cut=text["cut"],
        after=text["after"],
        decision=decision,  # type: ignore[arg-type]  # checked above
        replacement=replacement,
        line=line,
    )


def _check_unique(entries: list[ReviewEntry], file: str) -> None:
    lines: dict[tuple[int, str, int], int] = {}
    for entry in entries:
        if entry.place in lines:
            raise SourceError(f"line {entry.line} decides the same snippet as line {lines[entry.place]}", file=file)
        lines[entry.place] = entry.line
