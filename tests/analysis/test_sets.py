"""Sets: dialogues or QAs, whole or drawn by seed."""

from collections import Counter
from math import sqrt
from pathlib import Path

import orjson
import pytest

from smile_async.analysis.sets import draw, open_set, sampled
from smile_async.dialogue.model import QAPair
from smile_async.errors import CorpusError, UsageError


def _write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows: list[dict[str, object]] = [
        {
            "id": str(number),
            "dialogue": [
                {"role": "client", "content": f"我第{number}次来"},
                {"role": "counselor", "content": f"欢迎{number}"},
            ],
        }
        for number in range(9)
    ]
    return _write(tmp_path / "dialogues.jsonl", rows)


@pytest.fixture
def qas(tmp_path: Path) -> Path:
    rows: list[dict[str, object]] = [
        {"question": f"问{number // 2}", "description": "述", "answer": f"答{number}", "questionID": number // 2}
        for number in range(12)
    ]
    return _write(tmp_path / "qas.jsonl", rows)


def test_a_corpus_is_a_set_of_dialogues_without_speakers(corpus: Path) -> None:
    found = open_set(corpus)
    assert (found.name, found.single_turn) == ("dialogues", False)
    assert list(found.texts())[:2] == ["我第0次来欢迎0", "我第1次来欢迎1"]
    assert list(found.responses())[:2] == ["欢迎0", "欢迎1"]
    assert len(list(found.records())) == len(list(found.records())) == 9  # as often as asked


def test_qas_are_a_set_too(qas: Path) -> None:
    found = open_set(qas, name="PsyQA*")
    assert (found.name, found.single_turn) == ("PsyQA*", True)
    assert next(found.texts()) == "问0述答0"
    assert next(found.responses()) == "答0"
    assert list(found.records()) == []


def test_what_is_neither_says_what_a_corpus_is(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="SMILECHAT"):
        open_set(_write(tmp_path / "other.jsonl", [{"a": 1}]))
    with pytest.raises(CorpusError, match="no such file"):
        open_set(tmp_path / "nowhere")


def test_a_sample_is_drawn_by_seed_and_keeps_the_order(corpus: Path) -> None:
    whole = list(open_set(corpus).texts())
    drawn = [list(sampled(open_set(corpus), 4, seed=seed).texts()) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 4
    assert drawn[0] == [text for text in whole if text in drawn[0]]


def test_a_sample_of_qas_has_no_question_twice(qas: Path) -> None:
    drawn = [one for one in sampled(open_set(qas), 6, seed=0).read() if isinstance(one, QAPair)]
    assert [one.source_id for one in drawn] == list("012345")  # 12 QAs of 6 questions: PsyQA* (section 4.1)


def test_ids_are_those_of_rows_and_of_answers(corpus: Path, qas: Path, tmp_path: Path) -> None:
    assert list(open_set(corpus).ids()) == list("012345678")
    assert list(open_set(qas).ids())[:4] == ["0", "0", "1", "1"]
    answers: list[dict[str, object]] = [{"question": "问", "answer": "答", "answer_index": n} for n in range(3)]
    bare = open_set(_write(tmp_path / "bare.jsonl", answers))
    assert list(bare.ids()) == ["0", "1/1", "2/2"]
    with pytest.raises(UsageError, match="smile sample"):
        list(sampled(bare, 1, seed=0).ids())


def test_each_is_as_likely_to_be_drawn() -> None:
    counts = Counter(item for seed in range(6000) for item in draw(range(6), 2, seed=seed))
    # each with chance 2 / 6: 2,000 times, with a deviation of sqrt(6,000 * 1/3 * 2/3) = 37
    assert all(abs(counts[item] - 2000) < 5 * sqrt(6000 * 2 / 9) for item in range(6))


@pytest.mark.parametrize(("n", "wanted"), [(10, "holds 9 texts"), (0, "Cannot draw 0")])
def test_more_than_there_are_cannot_be_drawn(corpus: Path, n: int, wanted: str) -> None:
    with pytest.raises(UsageError, match=wanted):
        sampled(open_set(corpus), n, seed=0)
