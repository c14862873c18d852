"""What `open_corpus` opens, and what it says of what it cannot."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from smile_async.corpora import open_corpus
from smile_async.corpus.formats import PAPER_ROLES, CorpusFormat, RoleMap, write_corpus
from smile_async.errors import CorpusError
from smile_async.prompt.topics import load_topics
from tests.corpus.said import make_run, record, spoken, write_lines


def texts(path: Path) -> list[list[tuple[str, str]]]:
    return [[(one.role, one.content) for one in found.dialogue.utterances] for found in open_corpus(path)]


def test_a_run_gives_its_accepted_rows_with_their_questions_and_ids(tmp_path: Path) -> None:
    """Of four rows the first is set aside: it breaks the rule of five turns."""
    corpus = open_corpus(make_run(tmp_path / "run"))
    assert (corpus.kind, corpus.run, corpus.roles, corpus.name) == ("run", tmp_path / "run", PAPER_ROLES, "run")
    found = list(corpus)
    assert [(one.source_id, one.pair.answer if one.pair else "") for one in found] == [
        ("q0", "答案1号。"),
        ("q1", "答案2号。"),
        ("q1", "答案3号。"),
    ]
    lines = (tmp_path / "run" / "corpus.jsonl").read_text("utf-8").splitlines()
    assert [one.row_id for one in found] == [json.loads(line)["id"] for line in lines]
    assert [one.row_id for one in corpus] == [one.row_id for one in found]  # as often as it is asked


def test_a_runs_own_jsonl_and_its_export_hold_the_same_dialogues(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    records = list(open_corpus(run))
    assert [one.dialogue for one in open_corpus(run / "corpus.jsonl")] == [one.dialogue for one in records]
    write_corpus(records, tmp_path / "out.jsonl", "jsonl")
    again = list(open_corpus(tmp_path / "out.jsonl"))
    assert again == records


def test_a_row_of_standardT_carries_the_topic_that_was_drawn(tmp_path: Path) -> None:  # noqa: N802
    run = make_run(tmp_path / "run", recipe="standardT", refused=0)
    names = {topic.name for topic in load_topics("zh")}
    drawn = [one.topic for one in open_corpus(run)]
    assert len(drawn) == 4
    assert set(drawn) <= names
    write_corpus(open_corpus(run), tmp_path / "out.jsonl", "jsonl")
    assert [one.topic for one in open_corpus(tmp_path / "out.jsonl")] == drawn
    assert [one.topic for one in open_corpus(run / "corpus.jsonl")] == drawn


@pytest.mark.parametrize("form", ["jsonl", "smilechat", "messages", "sharegpt", "alpaca"])
def test_every_export_is_read_back_with_its_ids_and_the_papers_roles(tmp_path: Path, form: CorpusFormat) -> None:
    records = [record(1), record(2, "c:一 s:二"), record(10)]
    write_corpus(records, tmp_path / "out", form, system_prompt="S" if form == "messages" else None)
    corpus = open_corpus(tmp_path / "out")
    assert (corpus.kind, corpus.roles, corpus.run) == (form, PAPER_ROLES, None)
    assert [(one.row_id, one.source_id, one.dialogue) for one in corpus] == [
        (one.row_id, one.source_id, one.dialogue) for one in records
    ]


def test_flags_and_labels_survive_an_export_to_jsonl(tmp_path: Path) -> None:
    labelled = record(1, flags=("non-alternating",), topics=("失眠", "自杀"), crisis=True)
    write_corpus([labelled, record(2, crisis=False)], tmp_path / "o.jsonl", "jsonl")
    assert list(open_corpus(tmp_path / "o.jsonl")) == [labelled, record(2, crisis=False)]


def test_the_released_corpus_is_a_folder_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 100):
        (tmp_path / f"{number}.json").write_text(json.dumps(spoken(number)), encoding="utf-8")
    (tmp_path / "LICENSE").write_text("CC0")
    found = list(open_corpus(tmp_path))
    assert [(one.row_id, one.index) for one in found] == [("9", 9), ("10", 10), ("100", 100)]
    assert found[0].dialogue.utterances[0].content == "第9次。"


def test_a_dialogue_of_more_than_64_KiB_is_read_whole(tmp_path: Path) -> None:  # noqa: N802
    for length in (65_536, 65_537, 200_000):  # bytes: just full, one more, several pieces
        padding = length - len(json.dumps([{"role": "client", "content": ""}]))
        document = [{"role": "client", "content": "a" * padding}]
        (tmp_path / "1.json").write_text(json.dumps(document))
        assert (tmp_path / "1.json").stat().st_size == length
        [found] = open_corpus(tmp_path)
        assert len(found.dialogue.utterances[0].content) == padding


@pytest.mark.parametrize("name", ["sample.jsonl", "sample.jsonl.gz", "sample.json", "sample.txt"])
def test_lines_are_read_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    rows = [{"id": 74, "dialogue": spoken(74)}, {"id": "b", "dialogue": spoken(75)}]
    data = "\ufeff" + "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    packed = gzip.compress(data.encode()) if name.endswith(".gz") else data.encode()
    (tmp_path / name).write_bytes(packed)
    corpus = open_corpus(tmp_path / name)
    assert corpus.name == "sample"
    assert [one.row_id for one in corpus] == ["74", "b"]


@pytest.mark.parametrize(
    ("document", "kind", "dialogues"),
    [
        (spoken(1), "smilechat", 1),
        ([spoken(1), spoken(2)], "smilechat", 2),
        ({"dialogue": spoken(1)}, "jsonl", 1),
        ([{"messages": spoken(1)}, {"messages": spoken(2)}], "messages", 2),
    ],
)
def test_one_json_file_holds_a_dialogue_or_many(tmp_path: Path, document: Any, kind: str, dialogues: int) -> None:
    (tmp_path / "c.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    corpus = open_corpus(tmp_path / "c.json")
    assert corpus.kind == kind
    assert len(list(corpus)) == dialogues


def test_user_and_assistant_become_client_and_counselor_and_the_system_prompt_goes(tmp_path: Path) -> None:
    names = ("system", "user", "assistant", "tool")
    told = [{"role": name, "content": name} for name in names]
    other = [{"from": name, "value": name} for name in ("system", "human", "gpt")]
    write_lines(tmp_path / "m.jsonl", [{"messages": told}])
    write_lines(tmp_path / "s.jsonl", [{"conversations": other}, {"conversations": told[:3]}])
    assert texts(tmp_path / "m.jsonl") == [[("client", "user"), ("counselor", "assistant"), ("tool", "tool")]]
    assert texts(tmp_path / "s.jsonl") == [
        [("client", "human"), ("counselor", "gpt")],
        [("client", "user"), ("counselor", "assistant")],
    ]


def test_alpacas_history_comes_first_and_its_input_belongs_to_the_instruction(tmp_path: Path) -> None:
    row = {"instruction": "丙", "input": "丁", "output": "戊", "history": [["甲", "乙"]]}
    write_lines(tmp_path / "a.jsonl", [row])
    assert texts(tmp_path / "a.jsonl") == [
        [("client", "甲"), ("counselor", "乙"), ("client", "丙\n丁"), ("counselor", "戊")]
    ]


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["user", "assistant"], RoleMap("user", "assistant")),
        (["支持者", "求助者"], RoleMap("求助者", "支持者")),
        (["asker", "lawyer", "asker"], RoleMap("asker", "lawyer")),
        (["counselor"], PAPER_ROLES),
        ([], PAPER_ROLES),
    ],
)
def test_who_asks_and_who_answers_is_told_by_the_roles_names_or_by_who_begins(
    tmp_path: Path, names: list[str], roles: RoleMap
) -> None:
    row = {"dialogue": [{"role": name, "content": "。"} for name in names]}
    assert open_corpus(write_lines(tmp_path / "c.jsonl", [row])).roles == roles


def test_roles_that_say_nothing_have_to_be_told(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.jsonl", [{"dialogue": [{"role": name, "content": ""} for name in "ABC"]}])
    with pytest.raises(CorpusError, match=r"the roles are 'A', 'B', 'C'\n.*--roles"):
        open_corpus(path)
    assert open_corpus(path, roles=RoleMap("A", "B")).roles == RoleMap("A", "B")


SECRET = "我的秘密"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"dialogue": [{"role": "client", "con', "row 2: is no JSON at column"),
        ('"' + SECRET + '"', "row 2: is a text, not an object or a list of utterances"),
        ('{"question": "' + SECRET + '", "answers": []}', "row 2: holds no dialogue, but question, answers"),
        ('{"dialogue": "' + SECRET + '"}', "row 2: the dialogue: input should be a valid tuple"),
        ('{"dialogue": ["' + SECRET + '"]}', "row 2: utterance 1: input should be a valid dictionary"),
        (
            '{"dialogue": [{"role": "client", "content": 7}]}',
            "row 2: utterance 1, content: input should be a valid str",
        ),
        ('{"dialogue": [{"role": null, "content": "' + SECRET + '"}]}', "row 2: utterance 1, role: input should be"),
        ('{"dialogue": [{"content": "' + SECRET + '"}]}', "row 2: utterance 1, role: field required"),
        ('{"messages": {"a": "' + SECRET + '"}}', "row 2: messages is no list of objects with role and content"),
        ('{"conversations": [["' + SECRET + '"]]}', "row 2: conversations is no list of objects with from and value"),
        ('{"instruction": "a", "output": "b", "history": ["x"]}', "row 2: history is no list of"),
        ('{"instruction": "' + SECRET + '"}', "row 2: utterance 2, content: input should be"),
        ('{"dialogue": [], "id": ["' + SECRET + '"]}', "row 2: id is a list, not a text"),
        ('{"dialogue": [], "flags": "' + SECRET + '"}', "row 2: flags is a text, not a list of texts"),
        ('{"dialogue": [], "crisis": "yes"}', "row 2: crisis is a text, not true or false"),
        (
            '{"dialogue": [], "question": "q", "answer": "a", "answer_index": -1}',
            "row 2: answer_index is a number, not",
        ),
    ],
)
def test_a_bad_line_is_named_by_file_and_row_without_what_it_says(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"dialogue": spoken(1)}) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(CorpusError) as caught:
        list(open_corpus(path))
    assert f"c.jsonl, {problem}" in str(caught.value)
    assert caught.value.row == 2
    assert SECRET not in str(caught.value) + repr(caught.value)


def test_a_bad_file_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(json.dumps(spoken(1)))
    (tmp_path / "2.json").write_text('[\n{"role": }')
    with pytest.raises(CorpusError, match=r"2\.json: is no JSON at line 2, column"):
        list(open_corpus(tmp_path))
    (tmp_path / "2.json").write_text("{}")
    with pytest.raises(CorpusError, match=r"2\.json: is an object, not a list of utterances"):
        list(open_corpus(tmp_path))


def test_what_is_no_corpus_is_told_what_one_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "book.pdf").write_bytes(b"%PDF-1.7\n\x00\xff")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"dialogue": []}')[:-9])
    for name, problem in {
        "nowhere": "there is no such file or folder",
        "data": "the folder holds no corpus",
        "book.pdf": "is no JSON at line 1",
        "empty.jsonl": "the file holds no dialogue",
    }.items():
        with pytest.raises(CorpusError, match=f"{name}: {problem}.*\n.*A corpus is a run folder"):
            open_corpus(tmp_path / name)
    with pytest.raises(CorpusError, match="the compressed file is cut off"):
        open_corpus(tmp_path / "cut.jsonl.gz")


def test_the_folder_around_the_data_is_told_where_the_data_is(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "1.json").write_text(json.dumps(spoken(1)))
    with pytest.raises(CorpusError, match=r"Did you mean .*data\?"):
        open_corpus(tmp_path)


def test_an_id_beyond_64_bits_is_refused_for_it_would_be_read_as_another(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"id": 12345678901234567890123, "dialogue": [{"role": "client", "content": "a"}]}\n', "utf-8")
    with pytest.raises(CorpusError, match="whole number of at most 64 bits"):
        list(open_corpus(path))
