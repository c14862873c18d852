"""The quick way through a source gives what the thorough one gives, row by row and word by word."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smile_async.dialogue.model import QAPair
from smile_async.source import arrays
from smile_async.source.clean import Word, finder, paper_words
from smile_async.source.files import Broken, SourceFile
from smile_async.source.rows import USUAL_COLUMNS, ColumnMapping, RowProblem, rows_of
from smile_async.source.shapes import Shapes
from tests.source.writing import any_text, full_text, pair_lists, pairs, psyqa


@dataclass(frozen=True, slots=True)
class InPieces(SourceFile):
    """A file that is read in pieces of so many bytes; where `torn`, it cannot be read to its end."""

    piece: int = 7
    torn: bool = False

    def chunks(self, size: int = 0) -> Iterator[bytes]:
        data = self.path.read_bytes()
        for start in range(0, len(data), size or self.piece):
            yield data[start : start + (size or self.piece)]
        if self.torn:
            raise Broken("the compressed file is cut off")


def outcome(rows: Iterator[QAPair | RowProblem]) -> list[Any]:
    """The rows, and the error that ends them if one does."""
    found: list[Any] = []
    try:
        found.extend(iter(rows))
    except Broken as broken:
        found += [broken.problem, broken.hint]
    return found


values = st.one_of(
    any_text, st.none(), st.booleans(), st.integers(-1, 10**20), st.floats(0, 9).map(lambda x: round(x, 1)),
    st.lists(any_text, max_size=2),
    st.lists(st.fixed_dictionaries({}, optional={"answer_text": any_text, "answer": any_text, "x": st.none()}), max_size=3),
)  # fmt: skip
items = st.fixed_dictionaries(
    {"question": full_text | values, "answer": full_text | values},
    optional=dict.fromkeys(["description", "questionID", "answer_index", "keywords", "answers"], values),
)
mappings = st.sampled_from(
    [USUAL_COLUMNS, ColumnMapping(answer="answer", id="questionID"), ColumnMapping(description="keywords")]
)


@given(item=items | values, columns=mappings)
def test_a_row_is_seen_through_as_it_would_be_read_or_left_alone(item: Any, columns: ColumnMapping) -> None:
    seen = Shapes(columns).pairs(item)
    if seen is not None:
        assert seen == rows_of(item, columns)


@given(one=pairs)
def test_a_trusted_pair_is_the_validated_one(one: QAPair) -> None:
    fields = one.model_dump()
    trusted = QAPair.trusted(**fields)
    assert trusted == QAPair(**fields)
    assert trusted.model_dump() == fields
    assert trusted.model_fields_set == set(fields)
    assert trusted.model_copy(update={"answer": "x"}).question == one.question
    with pytest.raises(ValueError, match="frozen"):
        trusted.answer = "y"  # type: ignore[misc]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=pair_lists,
    indent=st.sampled_from([None, 1]),
    piece=st.sampled_from([5, 64, 700]),
    noise=st.sampled_from(["", ",", "]", "}", "\\ud800", '"', "1.50", "},{", "\x0b"]),
    place=st.floats(0, 1),
    torn=st.booleans(),
)
def test_an_array_in_bulk_is_the_array_one_by_one(
    tmp_path: Path, rows: list[QAPair], indent: int | None, piece: int, noise: str, place: float, torn: bool
) -> None:
    """Damage anywhere included: the same rows come before the same error."""
    text = psyqa(rows, indent=indent).decode()
    at = int(place * len(text))
    path = tmp_path / "rows.json"
    path.write_text(text[:at] + noise + text[at:], "utf-8")
    file = InPieces(path, "rows.json", None, piece, torn)
    thorough = outcome(arrays._one_by_one(file.chunks(), USUAL_COLUMNS, file))
    assert outcome(arrays.read_array(file, USUAL_COLUMNS)) == thorough


def test_answers_that_begin_like_rows_are_no_rows(tmp_path: Path) -> None:
    """Ten answers whose first key is the rows' own: only the parser can tell where a row ends."""
    answers = [{"question": "?", "answer_text": f"回答{n}"} for n in range(10)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"question": f"问{n}", "answers": answers} for n in range(30)], ensure_ascii=False))
    file = InPieces(path, "rows.json", None, 900)
    read = list(arrays.read_array(file, USUAL_COLUMNS))
    assert [row.answer_index for row in read if isinstance(row, QAPair)] == list(range(10)) * 30


@given(text=st.text(st.sampled_from("嗨楼题樓主阿凉答你,， a"), max_size=12))
def test_the_glance_for_words_misses_none(text: str) -> None:
    assert finder(paper_words())(text) == any(word.old in text for word in paper_words())


def test_without_words_there_is_nothing_to_find() -> None:
    assert not finder(())("楼主")
    assert finder((Word(old="b.", new=""),))("ab.c")
    assert not finder((Word(old="b.", new=""),))("abxc")
