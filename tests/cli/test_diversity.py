"""diversity and compare on the command line."""

import csv
import io
from math import log2
from pathlib import Path

import numpy as np
import orjson
import pytest

from smile_async.analysis.lexical import distinct, own_distinct
from smile_async.analysis.pairs import pair_cosines
from smile_async.analysis.semantic import own_cosines
from smile_async.analysis.sets import open_set, sampled
from smile_async.prompt.topics import load_topics
from tests.cli.conftest import Smile
from tests.e2e.questions import questions, write_jsonl


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "mine.jsonl"
    rows = [
        {
            "dialogue": [
                {"role": "client", "content": f"第{n}天睡不好。"},
                {"role": "counselor", "content": f"我在听{n}。"},
            ]
        }
        for n in range(30)
    ]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def test_diversity_prints_what_the_function_counts(smile: Smile, corpus: Path) -> None:
    told = smile("diversity", corpus, "--json").told
    wanted = distinct(open_set(corpus).texts())
    assert wanted.texts == 30
    assert {name: told[name] for name in wanted.as_json()} == wanted.as_json()


def test_diversity_of_a_sample_is_told_with_its_seed(smile: Smile, corpus: Path) -> None:
    told = smile("diversity", corpus, "--sample", "9", "--seed", "5", "--json").told
    assert (told["texts"], told["sample"], told["seed"]) == (9, 9, 5)
    assert told["unique_3"] == distinct(sampled(open_set(corpus), 9, seed=5).texts()).ngrams[2].unique


def test_diversity_of_each_response(smile: Smile, corpus: Path) -> None:
    told = smile("diversity", corpus, "--responses", "--json").told["responses"]
    wanted = own_distinct(open_set(corpus).responses())
    assert [(one["n"], one["mean"], one["counted"]) for one in told] == [(w.n, w.mean, w.counted) for w in wanted]
    text = smile("diversity", corpus, "--responses").out
    assert "Table 1, counted in characters" in text
    assert "D-3" in text


def test_csv_holds_all_digits(smile: Smile, corpus: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(smile("diversity", corpus, "--csv").out)))
    assert [row["n"] for row in rows] == ["1", "2", "3"]
    assert all(float(row["distinct"]) == int(row["unique"]) / int(row["total"]) for row in rows)


def test_small_shares_keep_two_digits(smile: Smile, tmp_path: Path) -> None:
    path = tmp_path / "same.jsonl"
    path.write_bytes(orjson.dumps({"dialogue": [{"role": "client", "content": "啊" * 8000}]}) + b"\n")
    cells = smile("diversity", path).out.splitlines()[2].split()
    assert cells == ["same", "1", "1", "1", "8,000", "0.00013"]  # 1 / 8,000 = 0.000125


def test_markdown_is_wide_as_the_paper_prints_it(smile: Smile, corpus: Path) -> None:
    line = smile("diversity", corpus, "--markdown").out.splitlines()[-1]
    assert line.count("|") == 12  # name, texts, three numbers of each of three orders
    assert line.startswith("| mine | 30 |")


def test_compare_puts_dialogues_and_qas_side_by_side(smile: Smile, corpus: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "qas.jsonl", questions(20))
    sets = (f"PsyQA*={source}", f"mine={corpus}")
    told = smile("compare", *sets, "--sample", "12", "--json").told
    assert [one["name"] for one in told["sets"]] == ["PsyQA*", "mine"]
    assert [one["lexical"]["texts"] for one in told["sets"]] == [12, 12]
    assert "statistics" not in told["sets"][0]
    assert told["sets"][1]["statistics"]["dialogues"] == 12
    rows = list(csv.DictReader(io.StringIO(smile("compare", *sets, "--csv").out)))
    assert {"set": "mine", "measure": "statistics.dialogues", "value": "30"} in rows
    text = smile("compare", *sets).out
    assert "Table 1" in text
    assert "Table 3" in text
    assert "Figure" not in text  # nobody gave vectors


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """As `smile embed` writes them: the QA and the dialogue of each of `corpus`' 30 rows but the last's dialogue."""
    folder = tmp_path / "vectors"
    folder.mkdir()
    keys = [(str(n), what) for n in range(1, 31) for what in ("qa", "dialogue")][:-1]
    chance = np.random.default_rng(0)
    np.save(folder / "vectors.npy", (1 + chance.standard_normal((len(keys), 8)) / 2).astype(np.float32))
    lines = [orjson.dumps({"id": ident, "what": what}) for ident, what in keys]
    (folder / "ids.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def test_vectors_bring_figures_4_and_5(smile: Smile, corpus: Path, vectors: Path) -> None:
    sets = (f"mine={corpus}", "--vectors", f"mine={vectors}")
    array = np.load(vectors / "vectors.npy")
    (one,) = smile("compare", *sets, "--json").told["sets"]
    assert one["lacking_vectors"] == 1
    assert one["own"]["mean"] == pytest.approx(own_cosines(array[:58:2], array[1:58:2]).mean())
    assert one["line"] == pytest.approx(one["own"]["mean"] - 3 * one["own"]["deviation"])
    assert one["pairs"]["count"] == 29 * 28 // 2
    assert one["pairs"]["q50"] == pytest.approx(pair_cosines(array[1:58:2]).median)
    text = smile("compare", *sets).out
    for words in ("Figure 4", "Below the line", "Figure 5", "mine: 1 of its texts have no vector"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 80
    sampled = smile("compare", *sets, "--sample", "10", "--seed", "3", "--json").told["sets"][0]
    assert sampled["pairs"]["count"] + 9 * sampled["lacking_vectors"] == 10 * 9 // 2


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    """As `smile topics annotate` writes them: every dialogue bears the first topic, every third one a word beside it."""
    folder = tmp_path / "topics"
    folder.mkdir()
    first = load_topics("zh")[0]
    lines = [
        orjson.dumps(
            {"id": str(n), "topics": [first.name], "indices": [1], "near_misses": [], "others": ["睡眠"] * (n % 3 == 0),
             "crisis": False}
        )
        for n in range(1, 31)
    ]  # fmt: skip
    (folder / "topics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


def test_topics_bring_table_2(smile: Smile, corpus: Path, topics: Path) -> None:
    sets = (f"mine={corpus}", "--topics", f"mine={topics}")
    told = smile("compare", *sets, "--json").told["sets"][0]["topics"]
    assert told["dialogues"] == 30
    assert told["entropy"]["limited"] == 0.0  # one topic in all of them: -1 log2 1
    assert told["entropy"]["unlimited"] == pytest.approx(log2(3) / 3)  # and one in a third of them
    text = smile("compare", *sets).out
    assert "Table 2" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (("compare", "mine"), "NAME=CORPUS"),
        (("compare", "a={corpus}", "a={corpus}"), "Two sets are called"),
        (("compare", "a={corpus}", "--json", "--csv"), "one of --json, --csv, --markdown"),
        (("diversity", "{corpus}", "--sample", "99"), "fewer than 99"),
        (("diversity", "{corpus}", "--tokenizer", "letters"), "characters, jieba"),
        (("diversity", "nowhere"), "no such file"),
        (("compare", "a={corpus}", "--vectors", "b=v"), "none of the sets"),
        (("compare", "a={corpus}", "--vectors", "v"), "NAME=FOLDER"),
        (("compare", "a={corpus}", "--topics", "b=t"), "There are topics of 'b'"),
        (("compare", "a={corpus}", "--topics", "a=t"), "smile topics annotate"),
        (("compare", "a={corpus}", "--vectors", "a=v"), "smile embed"),
    ],
)
def test_a_wrong_call_ends_with_2_and_says_why(smile: Smile, corpus: Path, flags: tuple[str, ...], wanted: str) -> None:
    ended = smile(*(flag.format(corpus=corpus) for flag in flags))
    assert ended.code == 2
    assert wanted in " ".join(ended.err.replace("│", " ").split())
    assert ended.out == ""
