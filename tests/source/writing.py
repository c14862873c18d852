"""Sources as other programs would write them, and QA pairs of every kind."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from hypothesis import strategies as st

from smile_async.dialogue.model import QAPair
from smile_async.source.readers import Source
from smile_async.source.rows import SourceRow

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "嗨，题主你好",
        'He said "no"',
        "a,b;c\td",
        "line\nbreak\r\nand\r",
        "😀👩‍👩‍👧",
        "\\ud83d \\n",
        "{[}]",
        "'",
        "\ufeff",
    ]
)
full_text = any_text.filter(lambda text: bool(text) and not text.isspace())
keywords = st.lists(st.sampled_from(["恋爱", "work", "a b", "😀"]), max_size=3).map(tuple)
pairs = st.builds(
    QAPair,
    question=full_text,
    description=any_text,
    answer=full_text,
    source_id=any_text,
    answer_index=st.integers(0, 9),
    keywords=keywords,
)
pair_lists = st.lists(pairs, min_size=1, max_size=5)


def pair(number: int = 1, **changes: Any) -> QAPair:
    given = {
        "question": f"问题{number}？",
        "description": f"说明{number}",
        "answer": f"回答{number}。",
        "source_id": str(number),
    }
    return QAPair(**(given | changes))


def read(source: Source) -> list[QAPair]:
    rows = list(source)
    assert [row.index for row in rows] == list(range(len(rows)))
    return [row.pair for row in rows if isinstance(row, SourceRow)]


def _head(one: QAPair) -> tuple[Any, ...]:
    return one.question, one.description, one.source_id, one.keywords


def psyqa(rows: Iterable[QAPair], *, ascii_only: bool = False, indent: int | None = None) -> bytes:
    """PsyQA's form: neighbours of one question are its answers; no row in it has an index of its own."""
    questions = []
    for (question, description, source_id, words), group in groupby(rows, key=_head):
        answers = [{"answer_text": one.answer, "has_label": False, "labels_sequence": None} for one in group]
        head = {"question": question, "description": description, "keywords": ",".join(words), "questionID": source_id}
        questions.append(head | {"answers": answers})
    return json.dumps(questions, ensure_ascii=ascii_only, indent=indent).encode()


def as_psyqa_reads(rows: Iterable[QAPair]) -> list[QAPair]:
    """`rows` with the answer index that their place in PsyQA's form gives them."""
    return [
        one.model_copy(update={"answer_index": place})
        for _, group in groupby(rows, key=_head)
        for place, one in enumerate(group)
    ]


def jsonl(rows: Iterable[QAPair], *, ascii_only: bool = False) -> bytes:
    return b"".join(json.dumps(one.model_dump(), ensure_ascii=ascii_only).encode() + b"\n" for one in rows)


def table(rows: Sequence[QAPair], *, delimiter: str = ",", line_end: str = "\r\n") -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end)
    writer.writerow(["question", "description", "answer", "questionID", "answer_index", "keywords"])
    for one in rows:
        words = ",".join(one.keywords)
        writer.writerow([one.question, one.description, one.answer, one.source_id, one.answer_index, words])
    return text.getvalue().encode()
