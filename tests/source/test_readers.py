import gzip
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smile_async.dialogue.model import QAPair
from smile_async.errors import SettingsError, SourceError
from smile_async.source.readers import open_source, rows_from
from smile_async.source.rows import BadRow, ColumnMapping, SourceRow
from tests.source.writing import any_text, as_psyqa_reads, jsonl, pair, pair_lists, psyqa, read, table

pytestmark = pytest.mark.filterwarnings("error")
on_disk = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
BOM = b"\xef\xbb\xbf"


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# What was written reads back equal


@on_disk
@given(rows=pair_lists, bom=st.booleans(), ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_psyqa_json_reads_back_every_text(tmp_path: Path, rows: Any, bom: Any, ascii_only: Any, indent: Any) -> None:
    data = psyqa(rows, ascii_only=ascii_only, indent=indent)
    assert read(open_source(_file(tmp_path, "qa.json", BOM * bom + data))) == as_psyqa_reads(rows)


@on_disk
@given(rows=pair_lists, bom=st.booleans(), ascii_only=st.booleans(), packed=st.booleans())
def test_jsonl_reads_back_every_text(tmp_path: Path, rows: Any, bom: Any, ascii_only: Any, packed: Any) -> None:
    data = BOM * bom + jsonl(rows, ascii_only=ascii_only)
    path = _file(tmp_path, "qa.jsonl" + ".gz" * packed, gzip.compress(data) if packed else data)
    assert read(open_source(path)) == rows


@on_disk
@given(rows=pair_lists, bom=st.booleans(), kind=st.sampled_from([("csv", ","), ("tsv", "\t")]))
def test_tables_read_back_every_text(tmp_path: Path, rows: Any, bom: Any, kind: Any) -> None:
    name, delimiter = kind
    path = _file(tmp_path, f"qa.{name}", BOM * bom + table(rows, delimiter=delimiter))
    assert read(open_source(path)) == rows


@on_disk
@given(rows=pair_lists)
def test_parquet_reads_back_every_text(tmp_path: Path, rows: Any) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = [one.model_dump() | {"unused": 1.5} for one in rows]
    parquet.write_table(arrow.Table.from_pylist(columns), tmp_path / "qa.parquet")
    source = open_source(tmp_path / "qa.parquet")
    assert read(source) == rows
    assert source.estimate_rows() == len(rows)


def test_a_source_is_read_again_from_its_start(tmp_path: Path) -> None:
    source = open_source(_file(tmp_path, "qa.jsonl", jsonl([pair(1), pair(2)])))
    assert read(source) == read(source) == [pair(1), pair(2)]


def test_rows_over_the_borders_of_pieces_are_whole(tmp_path: Path) -> None:
    """Each row has 3 bytes a character, 30 kB in all, so that pieces of 256 KiB end inside rows and characters."""
    rows = [pair(number, answer=f"{number}" + "长" * 10_000 + "\U0001f600") for number in range(60)]
    assert read(open_source(_file(tmp_path, "qa.json", psyqa(rows)))) == rows
    assert read(open_source(_file(tmp_path, "qa2.json", psyqa(rows, ascii_only=True)))) == rows
    assert read(open_source(_file(tmp_path, "qa.csv", table(rows)))) == rows


# A file that was cut off gives good rows, then an error: never a wrong row


def _rows_before_error(path: Path, *, skip: bool) -> list[QAPair]:
    seen: list[QAPair] = []
    with pytest.raises(SourceError):  # noqa: PT012 - the rows before the error are what is looked at
        for row in open_source(path, skip_bad_rows=skip):
            assert isinstance(row, SourceRow)
            seen.append(row.pair)
    return seen


@on_disk
@given(rows=pair_lists, data=st.data(), skip=st.booleans(), ascii_only=st.booleans())
def test_a_json_array_cut_anywhere_ends_in_an_error(
    tmp_path: Path, rows: Any, data: Any, skip: Any, ascii_only: Any
) -> None:
    text = psyqa(rows, ascii_only=ascii_only)
    cut = data.draw(st.integers(0, len(text) - 1))
    for name in ("qa.json", "qa.json.gz"):  # the end of a gzipped array is seen only by reading to it
        part = gzip.compress(text[:cut]) if name.endswith("gz") else text[:cut]
        seen = _rows_before_error(_file(tmp_path, name, part), skip=skip)
        assert seen == as_psyqa_reads(rows)[: len(seen)]


@on_disk
@given(rows=pair_lists, data=st.data(), kind=st.sampled_from(["jsonl", "ascii", "csv"]), skip=st.booleans())
def test_lines_cut_anywhere_give_good_rows_only(tmp_path: Path, rows: Any, data: Any, kind: Any, skip: Any) -> None:
    write: Any = {"jsonl": jsonl, "ascii": partial(jsonl, ascii_only=True), "csv": table}[kind]
    text = write(rows)
    cut = data.draw(st.integers(0, len(text)))
    path = _file(tmp_path, f"qa.{'csv' if kind == 'csv' else 'jsonl'}", text[:cut])
    seen: list[QAPair] = []
    try:
        for row in open_source(path, skip_bad_rows=skip):
            assert isinstance(row, SourceRow)
            seen.append(row.pair)
    except SourceError:
        pass
    else:  # no error: the cut fell behind a whole row
        assert text[:cut].rstrip(b"\r\n") == write(seen).rstrip(b"\r\n")
    assert seen == rows[: len(seen)]


def test_a_cut_gzip_file_is_an_error_that_names_the_last_good_row(tmp_path: Path) -> None:
    whole = gzip.compress(jsonl([pair(number, answer=str(hash(number) ** 9) * 50) for number in range(9000)]))
    path = _file(tmp_path, "qa.jsonl.gz", whole[: len(whole) - 20])
    with pytest.raises(SourceError, match=r"compressed file is cut off .the last row before it is \d+"):
        read(open_source(path, skip_bad_rows=True))


# A bad row is named


GOOD: dict[str, Any] = {"question": "问", "description": "述", "answer": "答", "questionID": 7}
BAD_ROWS = [
    pytest.param({"question": None}, "question", "found null", id="null question"),
    pytest.param({"question": "  \n"}, "question", "must not be empty", id="blank question"),
    pytest.param({"answer": ""}, "answer", "must not be empty", id="empty answer"),
    pytest.param({"answer": 12}, "answer", "found the number 12", id="number for text"),
    pytest.param({"description": ["x"]}, "description", "found a list", id="list for text"),
    pytest.param({"questionID": True}, "questionID", "found true", id="truth for id"),
    pytest.param({"questionID": 1.5}, "questionID", "found the number 1.5", id="broken id"),
    pytest.param({"answer_index": -1}, "answer_index", "found the number -1", id="index below zero"),
    pytest.param({"keywords": [1]}, "keywords", "found a list", id="keywords that are no texts"),
    pytest.param({"answers": []}, "answers", "no answer", id="no answer at all"),
    pytest.param({"answers": [{"text": "x"}]}, "answers[0].answer_text", "missing", id="answer without text"),
    pytest.param({"answers": [{"answer_text": 3}]}, "answers[0].answer_text", "number 3", id="answer no text"),
]


@pytest.mark.parametrize("form", ["json", "jsonl", "memory"])
@pytest.mark.parametrize(("change", "field", "problem"), BAD_ROWS)
def test_a_bad_row_is_named_with_its_field(tmp_path: Path, form: Any, change: Any, field: Any, problem: Any) -> None:
    rows: list[dict[str, Any]] = [GOOD, GOOD | change, GOOD]
    if form == "memory":
        source, skipping = rows_from(rows), rows_from(rows, skip_bad_rows=True)
        name = "rows in memory"
    else:
        text = json.dumps(rows) if form == "json" else "\n".join(json.dumps(row) for row in rows)
        path = _file(tmp_path, f"qa.{form}", text.encode())
        source, skipping = open_source(path), open_source(path, skip_bad_rows=True)  # type: ignore[assignment]
        name = str(path)
    with pytest.raises(SourceError) as caught:
        list(source)
    error = caught.value
    assert (error.file, error.row, error.field) == (name, 2, field)
    assert problem in str(error)
    good, bad, last = list(skipping)
    assert isinstance(bad, BadRow)
    assert bad.error.row == 2
    assert [good.index, bad.index, last.index] == [0, 1, 2]
    assert isinstance(last, SourceRow)


def test_a_missing_field_says_what_the_row_holds() -> None:
    with pytest.raises(SourceError, match="row 1, field 'answer': the field is missing") as caught:
        list(rows_from([{"question": "问", "reply": "答"}]))
    assert "question, reply" in caught.value.hint


def test_each_answer_of_a_bad_question_is_a_row_so_that_later_numbers_stay() -> None:
    rows: list[dict[str, Any]] = [{"answers": ["a", "b"]}, {"question": "问", "answers": ["c", "", "d"]}]
    kinds = [(type(row).__name__, row.index) for row in rows_from(rows, skip_bad_rows=True)]
    assert kinds == [("BadRow", 0), ("BadRow", 1), ("SourceRow", 2), ("BadRow", 3), ("SourceRow", 4)]


@pytest.mark.parametrize(
    "escape", [r"\ud83d", r"\ude00", r"\ud83d一", r"\ud83d\ud83d\ude00", r"\uDE00\uD83D", r"\\\ud800"]
)
@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_half_a_surrogate_pair_is_an_error_of_its_row_alone(tmp_path: Path, form: Any, escape: Any) -> None:
    lines = [f'{{"question": "q{n}", "answer": "{escape if n == 1 else "ok"}"}}' for n in range(3)]
    text = "[" + ",".join(lines) + "]" if form == "json" else "\n".join(lines)
    path = _file(tmp_path, f"qa.{form}", text.encode())
    with pytest.raises(SourceError, match="row 2: holds half of a surrogate pair"):
        list(open_source(path))
    rows = list(open_source(path, skip_bad_rows=True))
    assert [type(row) for row in rows] == [SourceRow, BadRow, SourceRow]


@on_disk
@given(text=st.text(st.sampled_from(["\\", "u", "d", "8", "0", "\U0001f600", '"', "一"]), min_size=1))
def test_backslashes_before_ud800_are_no_surrogates(tmp_path: Path, text: Any) -> None:
    """Text that looks like an escape is text: json.dumps writes its backslash twice."""
    rows = [pair(1, answer=text)]
    assert read(open_source(_file(tmp_path, "qa.json", psyqa(rows, ascii_only=True)))) == rows


def test_a_surrogate_in_memory_is_refused() -> None:
    with pytest.raises(SourceError, match="row 1, field 'answer': holds half of a surrogate pair"):
        list(rows_from([{"question": "问", "answer": "\ud800"}]))


def test_a_line_of_many_megabytes_is_dropped_not_kept(tmp_path: Path) -> None:
    huge = b'{"question": "' + b"x" * (17 << 20) + b'"}\n'
    path = _file(tmp_path, "qa.jsonl", jsonl([pair(1)]) + huge + jsonl([pair(2)]))
    rows = list(open_source(path, skip_bad_rows=True))
    assert [type(row) for row in rows] == [SourceRow, BadRow, SourceRow]
    with pytest.raises(SourceError, match="row 2: the line is longer than 16 MiB"):
        list(open_source(path))


def test_a_json_row_of_many_megabytes_ends_the_reading(tmp_path: Path) -> None:
    huge = b'[{"question": "a", "answer": "b"}, {"question": "' + b"x" * (17 << 20) + b'"}]'
    with pytest.raises(SourceError, match="row 2"):
        list(open_source(_file(tmp_path, "qa.json", huge), skip_bad_rows=True))


def test_a_csv_row_of_another_width_can_be_skipped(tmp_path: Path) -> None:
    path = _file(tmp_path, "qa.csv", b"question,answer\nq1,a1\nq2,a2,x\nq3,a3\n")
    with pytest.raises(SourceError, match=r"row 2: 3 columns where the header has 2 \(line 3\)"):
        list(open_source(path))
    assert [one.question for one in read(open_source(path, skip_bad_rows=True))] == ["q1", "q3"]


def test_a_csv_with_a_stray_quote_ends_since_no_later_row_is_sure(tmp_path: Path) -> None:
    path = _file(tmp_path, "qa.csv", b'question,answer\nq1,a1\nq2,"a"2\nq3,a3\n')
    with pytest.raises(SourceError, match=r"row 2: line 3 is not valid CSV.*the last row before it is 1"):
        list(open_source(path, skip_bad_rows=True))


# A wrong file shows when it is opened


OPENING = [
    pytest.param("qa.json", b"", "the file is empty", id="empty"),
    pytest.param("qa.jsonl", b" \n\n", "the file is empty", id="blank"),
    pytest.param("qa.json", b"[]", "there is no row in it", id="no rows"),
    pytest.param("qa.csv", b"question,answer\n", "there is no row in it", id="header only"),
    pytest.param("qa.json", b'[{"question": "a"', r"no end.*cut off", id="cut array"),
    pytest.param("qa.json", b"[1 2]", "row 1: a row must be a JSON object, found the number 1", id="no objects"),
    pytest.param("qa.json", b'[{"a" 1}]', "is not valid JSON", id="not JSON"),
    pytest.param("qa.txt", b"hello", "neither the name nor the first character", id="unknown form"),
    pytest.param("qa.json", b'{\n "data": [1]\n}\n', "line 1 is not valid JSON", id="object over lines"),
    pytest.param(
        "qa.csv", b"title,body\na,b\n", "the header has no column 'question'; it has: title, body", id="header"
    ),
    pytest.param("qa.tsv", b"question,answer\na,b\n", r"The header is not separated by '\\t'", id="separator"),
    pytest.param("qa.csv", b"question,answer,answer\na,b,c\n", "column 'answer' twice", id="column twice"),
    pytest.param("qa.csv", b"question,answer\na,b", "no line break follows the last line", id="cut table"),
    pytest.param("qa.jsonl", "问".encode("gb18030"), "is not UTF-8: byte 0xce at offset 0", id="GB18030"),
    pytest.param("qa.jsonl", "{}".encode("utf-16"), "the file is UTF-16", id="UTF-16"),
    pytest.param("qa.jsonl.gz", b"{}", "the compressed file is damaged", id="no gzip"),
    pytest.param("qa.parquet", b"PAR1 nothing", "Parquet", id="no Parquet"),
]


@pytest.mark.parametrize(("name", "data", "problem"), OPENING)
def test_opening_says_what_is_wrong_with_the_file(tmp_path: Path, name: Any, data: Any, problem: Any) -> None:
    path = _file(tmp_path, name, data)
    with pytest.raises(SourceError, match=problem) as caught:
        open_source(path)
    assert caught.value.file == str(path)


def test_opening_what_is_no_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "none.json")
    with pytest.raises(SourceError, match="is not a file"):
        open_source(tmp_path)


def test_bytes_that_are_not_utf8_deep_in_a_file_are_named_by_offset(tmp_path: Path) -> None:
    good = psyqa([pair(number, answer="好" * 100) for number in range(400)])[:-1]
    bad = good + b',{"question": "q", "answer": "\xff"}]'
    with pytest.raises(
        SourceError,
        match=f"row 401: is not UTF-8 at byte offset {len(good) + len(bad[len(good) :].split(bytes([255]))[0])}",
    ):
        list(open_source(_file(tmp_path, "qa.json", bad)))
    lines = BOM + jsonl([pair(number, answer="好" * 100) for number in range(400)])
    path = _file(tmp_path, "qa.jsonl", lines + b'{"question": "\xff"}\n' + jsonl([pair(500)]))
    with pytest.raises(SourceError, match=f"row 401: line 401 is not UTF-8 at byte offset {len(lines) + 14}"):
        list(open_source(path))
    assert len(read(open_source(path, skip_bad_rows=True))) == 401


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "big5"])
@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_a_named_encoding_is_read(tmp_path: Path, encoding: Any, form: Any) -> None:
    rows = [pair(number, answer="題目很長" * 50) for number in range(300)]
    rows = [one.model_copy(update={"question": "問題", "description": "說明"}) for one in rows]
    text = {"json": psyqa, "jsonl": jsonl, "csv": table}[form](rows).decode()  # type: ignore[operator]
    assert read(open_source(_file(tmp_path, f"qa.{form}", text.encode(encoding)), encoding=encoding)) == rows


# Other people's columns


def test_a_mapping_reads_other_names_in_every_form(tmp_path: Path) -> None:
    columns = ColumnMapping.parse("question=title, description=body,answer=reply,id=qid")
    row = {"title": "问", "body": "述", "reply": "答", "qid": 3, "question": "not this"}
    wanted = [QAPair(question="问", description="述", answer="答", source_id="3")]
    files = {
        "qa.json": json.dumps([row]),
        "qa.jsonl": json.dumps(row),
        "qa.csv": "title,body,reply,qid\n问,述,答,3\n",
    }
    for name, text in files.items():
        assert read(open_source(_file(tmp_path, name, text.encode()), columns=columns)) == wanted


@pytest.mark.parametrize("text", ["question", "question=", "title=question", "answer=a,answer=b"])
def test_a_mapping_that_cannot_be_read_is_refused(text: Any) -> None:
    with pytest.raises(SettingsError, match="cannot be read at"):
        ColumnMapping.parse(text)


def test_a_named_column_must_be_there_but_a_usual_one_need_not() -> None:
    row = {"question": "问", "answer": "答"}
    assert read(rows_from([row])) == [QAPair(question="问", answer="答")]
    with pytest.raises(SourceError, match="field 'body'"):
        list(rows_from([row], columns=ColumnMapping(description="body")))


def test_ids_arrive_as_text_whatever_number_they_were() -> None:
    rows = [{"question": "问", "answer": "答", "questionID": given} for given in (12, 12.0, 2**70, None, "x")]
    assert [one.source_id for one in read(rows_from(rows))] == ["12", "12", str(2**70), "", "x"]


def test_numbers_that_json_readers_stumble_over_do_no_harm(tmp_path: Path) -> None:
    text = b'[{"question": "q", "answer": "a", "questionID": 99999999999999999999, "x": 1e400, "y": 0.1}]'
    assert read(open_source(_file(tmp_path, "qa.json", text)))[0].source_id == "9" * 20


# About a source


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "jsonl.gz", "json.gz"])
def test_the_estimate_is_near_the_truth(tmp_path: Path, form: Any) -> None:
    rows = [pair(number, answer=f"第一行{number}\n第二行") for number in range(500)]
    text = {"json": psyqa, "jsonl": jsonl, "csv": table}[form.removesuffix(".gz")](rows)  # type: ignore[operator]
    data = gzip.compress(text) if form.endswith("gz") else text
    estimate = open_source(_file(tmp_path, f"qa.{form}", data)).estimate_rows()
    assert estimate is not None
    assert abs(estimate - 500) <= 2


def test_the_fingerprint_tells_two_files_apart(tmp_path: Path) -> None:
    one = open_source(_file(tmp_path, "a.jsonl", jsonl([pair(1)])))
    two = open_source(_file(tmp_path, "b.jsonl", jsonl([pair(2)])))
    assert one.fingerprint()["size"] == two.fingerprint()["size"]
    assert one.fingerprint()["digest"] != two.fingerprint()["digest"]


def test_rows_in_memory_keep_pairs_and_count_lists() -> None:
    source = rows_from([pair(1), {"question": "问", "answers": ["一", "二"]}])
    assert [one.answer for one in read(source)] == ["回答1。", "一", "二"]
    assert source.estimate_rows() == 2


def test_an_endless_iterator_is_read_as_far_as_asked() -> None:
    rows = iter(rows_from(pair(number) for number in iter(int, 1)))
    assert [next(rows).index for _ in range(3)] == [0, 1, 2]


@given(text=any_text)
def test_keywords_of_psyqa_are_parted_at_both_commas(text: Any) -> None:
    words = read(rows_from([{"question": "问", "answer": "答", "keywords": "恋爱,婚姻，" + text}]))[0].keywords
    assert words[:2] == ("恋爱", "婚姻")


@pytest.mark.e2e
@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: Any) -> None:
    """40 MB are read in under 8 MB: pieces of 256 KiB and the rows in them."""
    import tracemalloc

    rows = [pair(number, answer="长" * 800) for number in range(1000)]
    writer: Any = {"json": psyqa, "jsonl": jsonl, "csv": table}[form]
    block = writer(rows)
    inner = block[1:-1] if form == "json" else block.removeprefix(table([])) if form == "csv" else block
    data = {"json": b"[" + b",".join([inner] * 16) + b"]", "csv": table([]) + inner * 16}.get(form, inner * 16)
    source = open_source(_file(tmp_path, f"qa.{form}", data))
    assert len(data) > 38e6
    del block, inner, data, rows

    tracemalloc.start()
    count = sum(1 for _ in source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 16_000
    assert peak < 8e6


def test_excels_semicolons_are_told_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "qa.csv"
    path.write_text("question;answer\r\n问，一;答\r\n", encoding="utf-8-sig")
    assert [row.pair.question for row in open_source(path) if isinstance(row, SourceRow)] == ["问，一"]
