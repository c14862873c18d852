"""The dataset folder: what its Parquet, its card and its entries for LLaMA-Factory hold."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from smile_async.corpora import open_corpus
from smile_async.corpus.card import Making, escaped
from smile_async.corpus.dataset import Described, write_dataset
from smile_async.corpus.formats import ExportReport, Record, RoleMap
from smile_async.corpus.splits import Shares
from smile_async.dialogue.model import Dialogue, Utterance
from smile_async.errors import UsageError
from tests.corpus.said import dialogue, record

parquet: Any = pytest.importorskip("pyarrow.parquet", reason="pip install 'smile-async[parquet]'")

TRAIN_ONLY = Shares(validation=0, test=0)


def rows(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    return list(parquet.read_table(folder / "data" / f"{split}-00000-of-00001.parquet").to_pylist())


def test_a_row_holds_the_dialogue_as_it_is_and_as_trainers_need_it(tmp_path: Path) -> None:
    odd = record(1, "s:早 c:你 c:好 s:在 c:嗯", flags=("non-alternating",))
    report = write_dataset([odd], tmp_path / "d", shares=TRAIN_ONLY, system_prompt="S")
    [row] = rows(tmp_path / "d")
    said = [(one["role"], one["content"]) for one in row.pop("dialogue")]
    assert said == [("counselor", "早"), ("client", "你"), ("client", "好"), ("counselor", "在"), ("client", "嗯")]
    asked = [(one["role"], one["content"]) for one in row.pop("messages")]
    assert asked == [("system", "S"), ("user", "你\n好"), ("assistant", "在")]
    assert row == {
        "id": "row1", "questionID": "q1", "question": "问1", "description": "述", "answer": "答", "answer_index": 0,
        "flags": ["non-alternating"], "turns": 2,
    }  # fmt: skip
    assert report == ExportReport(1, joined=1, leading_dropped=1, trailing_dropped=1, splits={"train": 1})


def test_what_trainers_cannot_use_stays_and_is_counted(tmp_path: Path) -> None:
    report = write_dataset([record(1), record(2, "c:一"), record(3, "")], tmp_path / "d", shares=TRAIN_ONLY)
    assert report == ExportReport(2, {"empty": 1}, without_exchange=1, splits={"train": 2})
    assert [len(row["messages"]) for row in rows(tmp_path / "d")] == [4, 0]


def test_columns_are_those_that_the_corpus_fills(tmp_path: Path) -> None:
    bare = Record("r", "", None, dialogue("c:一 s:二"))
    write_dataset([bare], tmp_path / "bare")
    assert list(rows(tmp_path / "bare")[0]) == ["id", "questionID", "flags", "turns", "dialogue", "messages"]
    labelled = Record("l", "", None, dialogue("c:一 s:二"), topic="失眠", topics=("自杀",), crisis=True)
    write_dataset([labelled, bare], tmp_path / "labelled", shares=TRAIN_ONLY)
    found = {row["id"]: (row["topic"], row["topics"], row["crisis"]) for row in rows(tmp_path / "labelled")}
    assert found == {"l": ("失眠", ["自杀"], True), "r": ("", [], None)}
    card = (tmp_path / "labelled" / "README.md").read_text("utf-8")
    assert "`crisis` is true in 1 of 1 labelled rows" in card
    assert "1 rows have no label (null): nothing is known of them" in card
    assert "questions are not known for all rows" in card  # neither has a QA or an id of the source
    assert "were not labelled" in (tmp_path / "bare" / "README.md").read_text("utf-8")


def test_answers_to_one_question_are_in_one_split_and_every_row_is_in_one(tmp_path: Path) -> None:
    """30 questions with two answers each; a tenth of 60 rows is 6, three questions."""
    records = [_answer(number) for number in range(60)]
    report = write_dataset(records, tmp_path / "d", shares=Shares(validation=0.1, test=0.1, seed=3))
    assert report.splits == {"train": 48, "validation": 6, "test": 6}
    questions = {split: Counter(row["question"] for row in rows(tmp_path / "d", split)) for split in report.splits}
    assert all(set(counts.values()) == {2} for counts in questions.values())
    assert sum(len(counts) for counts in questions.values()) == 30


def _answer(number: int) -> Record:
    one = record(number // 2)
    return Record(f"row{number}", one.source_id, one.pair, one.dialogue)


def test_a_dataset_folder_is_a_corpus(tmp_path: Path) -> None:
    records = [record(number, flags=("speaker-inside",), topic="失眠") for number in range(9)]
    write_dataset(records, tmp_path / "d")
    corpus = open_corpus(tmp_path / "d")
    assert corpus.kind == "hf"
    assert sorted(corpus, key=lambda one: one.row_id) == records
    [first] = list(open_corpus(tmp_path / "d" / "data" / "test-00000-of-00001.parquet"))
    assert first in records


def test_llama_factory_finds_each_split_by_its_name(tmp_path: Path) -> None:
    write_dataset([record(number) for number in range(9)], tmp_path / "d", shares=Shares(validation=0, test=0.2))
    info = json.loads((tmp_path / "d" / "dataset_info.json").read_text("utf-8"))
    assert list(info) == ["d", "d_test"]
    assert info["d"]["formatting"] == "sharegpt"
    for entry in info.values():
        assert (tmp_path / "d" / entry["file_name"]).is_file()
    [row, *_] = rows(tmp_path / "d")
    assert [one[info["d"]["tags"]["role_tag"]] for one in row[info["d"]["columns"]["messages"]]] == [
        info["d"]["tags"]["user_tag"], info["d"]["tags"]["assistant_tag"],
    ] * 2  # fmt: skip


MAKING = Making(
    recipe="smile", version="1", title="SMILE", language="zh", model="m|<script>", source="psyqa.json",
    rules=["bad-start"], min_turns=5, rows=10, accepted=7, set_aside=3, sampling={"temperature": 1.0},
    reasons={"too-few-turns": 3},
)  # fmt: skip


def test_the_card_tells_how_it_was_made_and_lets_nothing_through_as_markup(tmp_path: Path) -> None:
    write_dataset([record(1)], tmp_path / "d", described=Described("cc0-1.0", making=MAKING))
    card = (tmp_path / "d" / "README.md").read_text("utf-8")
    front, _, body = card.removeprefix("---\n").partition("\n---\n")
    for line in ('license: "cc0-1.0"', '- "zh"', '- "n<1K"', "  - split: train", "- text-generation"):
        assert line in front.splitlines()
    for row in ("Accepted | 7", "Set aside: too-few-turns | 3", "Sampling | temperature 1.0", "Source | psyqa.json"):
        assert f"| {row} |" in body
    assert "| Rules | bad-start; at least 5 exchanges |" in body
    assert r"| Model | m\|\<script\> |" in body
    assert "no substitute for professional help" in body
    assert "| Sentences per dialogue | 4.0 | 2.0 | 2.0 |" in body  # record(1) has four utterances of one sentence


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("~~gone~~", r"\~\~gone\~\~"),
        ("$x^2$ at $$5", "<span>$</span>x^2<span>$</span> at <span>$</span><span>$</span>5"),
        ("@octocat a@b.example @ 5", "<span>@</span>octocat a<span>@</span>b.example @ 5"),
        (":smile: 12:30:45 a: b", "<span>:</span>smile: 12<span>:</span>30:45 a: b"),
        ("https://a.example WWW.b.example", r"https\://a.example WWW\.b.example"),
        ("a <b> `c` | d", r"a \<b\> \`c\` \| d"),
    ],
)
def test_text_from_outside_is_no_strikethrough_formula_mention_emoji_or_link(text: str, shown: str) -> None:
    """cmark-gfm shows each of these as it was written: no <del>, no <a>, and no text node that begins with @ or :."""
    assert escaped(text) == shown


def test_the_language_is_told_by_the_characters_where_nobody_says_it(tmp_path: Path) -> None:
    spoken = Dialogue(utterances=(Utterance(role="client", content="I cannot sleep."),))
    for name, one, told, language in (
        ("a", Record("r", "", None, spoken), None, "en"),
        ("b", record(1), None, "zh"),
        ("c", record(1), "no", "no"),
    ):
        write_dataset([one], tmp_path / name, described=Described(language=told))
        assert f'language:\n- "{language}"' in (tmp_path / name / "README.md").read_text("utf-8")


def test_roles_of_another_recipe_are_user_and_assistant_in_messages(tmp_path: Path) -> None:
    spoken = Dialogue(utterances=(Utterance(role="asker", content="1"), Utterance(role="lawyer", content="2")))
    write_dataset([Record("r", "", None, spoken)], tmp_path / "d", roles=RoleMap("asker", "lawyer"))
    assert [one["role"] for one in rows(tmp_path / "d")[0]["messages"]] == ["user", "assistant"]


def test_the_folder_is_its_owners_and_appears_whole(tmp_path: Path) -> None:
    write_dataset([record(1)], tmp_path / "d")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "d").rglob("*")}
    assert modes.pop("data") == 0o700
    assert set(modes.values()) == {0o600}

    class Breaking(list[Record]):
        times = 0

        def __iter__(self) -> Any:
            self.times += 1
            yield record(1)
            if self.times == 2:  # surveyed, then written
                raise KeyError("reader broke")

    with pytest.raises(KeyError):
        write_dataset(Breaking(), tmp_path / "e")
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_dataset_folder_is_replaced_and_no_other(tmp_path: Path) -> None:
    out = tmp_path / "d"
    write_dataset([record(1), record(2), record(3)], out)
    with pytest.raises(UsageError, match="exists already"):
        write_dataset([record(1)], out)
    write_dataset([record(1)], out, overwrite=True)
    assert [path.name for path in (out / "data").iterdir()] == ["train-00000-of-00001.parquet"]
    (out / "data" / "mine.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"holds 'mine\.csv', which no export wrote"):
        write_dataset([record(1)], out, overwrite=True)
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    (project / "README.md").write_text("mine")
    with pytest.raises(UsageError, match="which no export wrote"):
        write_dataset([record(1)], project, overwrite=True)


def test_nothing_and_what_can_be_read_only_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No dialogue is there"):
        write_dataset([record(1, "")], tmp_path / "d")
    with pytest.raises(UsageError, match="read twice"):
        write_dataset(iter([record(1)]), tmp_path / "d")
    assert list(tmp_path.iterdir()) == []
