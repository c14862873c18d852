"""A corpus parted for a study: test cases of dialogues that training never sees, and the dialogues to train on."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

from smile_async.chatbot import psytest
from smile_async.chatbot.respond import read_cases
from smile_async.chatbot.session_files import read_sessions, session_parts
from smile_async.corpus.formats import Record, RoleMap
from smile_async.corpus.splits import Shares, question_of, split_questions
from smile_async.errors import UsageError
from smile_async.filing import whole_file


@dataclass(frozen=True, slots=True)
class KeptRecords:
    """The records of a corpus whose question is not among `held`, read anew each time."""

    corpus: Iterable[Record]
    held: frozenset[bytes]

    def __iter__(self) -> Iterator[Record]:
        return (record for record in self.corpus if question_of(record) not in self.held)


def held_questions(corpus: Iterable[Record], share: float, seed: int) -> frozenset[bytes]:
    """The questions whose dialogues are for test cases alone: all answers to a question are on one side."""
    parts = split_questions(Counter(map(question_of, corpus)), Shares(validation=0, test=share, seed=seed))
    held = frozenset(question for question, part in parts.items() if part == "test")
    if not held:
        raise UsageError(
            "The corpus has no two questions, so none can be kept for test cases.", hint="Use a larger one."
        )
    return held


def draw_cases(
    corpus: Iterable[Record], held: frozenset[bytes], out: Path, *, roles: RoleMap, count: int, seed: int
) -> dict[str, Any]:
    """Write up to `count` of the held dialogues' cases, drawn by `seed`, in the corpus's order. Raises `UsageError`."""
    there = list(psytest.cases((record for record in corpus if question_of(record) in held), roles))
    if not there:
        raise UsageError("No dialogue that was kept for test cases has an answer.", hint="Is --roles right?")
    chosen = sorted(Random(seed).sample(range(len(there)), min(count, len(there))))
    lines = [orjson.dumps(there[place].as_json(roles, None), option=orjson.OPT_APPEND_NEWLINE) for place in chosen]
    _write(out, lines)
    dialogues = len({there[place].dialogue for place in chosen})
    return {"cases": len(chosen), "of": len(there), "dialogues": dialogues, "from": "corpus"}


def take_cases(path: Path, out: Path, *, count: int, seed: int) -> dict[str, Any]:
    """Up to `count` of the cases of a file (as `smile psytest` writes it), drawn by `seed`. Raises `SourceError`,
    `UsageError` where one has no reference."""
    there = read_cases(path)
    if bare := [case for case in there if not case.reference]:
        raise UsageError(f"{path}: the case {bare[0].id} has no reference.", hint="Metrics and ballots need one.")
    chosen = sorted(Random(seed).sample(range(len(there)), min(count, len(there))))
    lines = [orjson.dumps(there[place].model_dump(mode="json"), option=orjson.OPT_APPEND_NEWLINE) for place in chosen]
    _write(out, lines)
    return {"cases": len(chosen), "of": len(there), "dialogues": None, "from": "file"}


def _write(out: Path, lines: Iterable[bytes]) -> None:
    with whole_file(out, overwrite=True) as file:
        file.writelines(lines)


def learnt_references(cases: Path, sessions: Path) -> int:
    """How many cases have a reference that stands word for word among the answers that are learnt: 0 but for set
    phrases, or where a test set is not apart from its corpus."""
    answers = {session.messages[-1][1] for session in read_sessions(session_parts(sessions)[0])}
    return sum(case.reference in answers for case in read_cases(cases))


def digest_of(records: Iterable[Record]) -> str:
    """Of what is read of a corpus, however it is stored: ids, questions and words."""
    seen = hashlib.sha256()
    for record in records:
        told = [[one.role, one.content] for one in record.dialogue.utterances]
        seen.update(orjson.dumps([record.row_id, question_of(record).hex(), told], option=orjson.OPT_APPEND_NEWLINE))
    return seen.hexdigest()
