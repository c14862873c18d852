"""What other analyses found stands in the report: vectors and labels made by hand for three dialogues."""

import json
from math import log2
from pathlib import Path

import numpy as np
import pytest

from smile_async.analysis.looks import measuring_look
from smile_async.analysis.report import Look, Report, as_json, gather
from smile_async.analysis.report_topics import topics_look
from smile_async.errors import UsageError
from smile_async.prompt.topics import load_topics

NAMES = {topic.index: topic.name for topic in load_topics("zh")}
TEXTS = ("甲乙丙", "甲乙丁", "戊戊戊")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    rows = [
        {
            "id": f"row-{number}",
            "question": "问",
            "answer": "答",
            "dialogue": [{"role": "client", "content": text}, {"role": "counselor", "content": "好"}],
        }
        for number, text in enumerate(TEXTS)
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def vectors(folder: Path, prefix: str = "row") -> Path:
    """Each QA at (1, 0); the dialogues at cosines 0.6, 0.8 and 1.0 to it."""
    folder.mkdir()
    np.save(folder / "vectors.npy", np.array([[1, 0], [0.6, 0.8], [1, 0], [0.8, 0.6], [1, 0], [1, 0]], np.float32))
    lines = [json.dumps({"id": f"{prefix}-{row}", "what": what}) for row in range(3) for what in ("qa", "dialogue")]
    (folder / "ids.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def labels(folder: Path, prefix: str = "row") -> Path:
    """Topic 1 in two dialogues, 58 (of a crisis) in one of them, none of the 60 in the third."""
    folder.mkdir()
    lines = [
        {"id": f"{prefix}-{row}", "topics": [NAMES[index] for index in given], "indices": given, "near_misses": [],
         "others": others, "crisis": 58 in given}
        for row, (given, others) in enumerate((([1], []), ([1, 58], []), ([], ["天气"])))
    ]  # fmt: skip
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "topics.jsonl").write_text(text, "utf-8")
    return folder


def table(report: Report, name: str) -> list[dict[str, object]]:
    return next(one for one in report.every_table if one.name == name).records()


def drawn(corpus: Path, *looks: Look) -> Report:
    return gather(corpus, looks=looks)


def test_table_1_counts_what_differs_in_each_dialogue_by_itself(corpus: Path) -> None:
    """Characters: 甲乙丙好, 甲乙丁好, 戊戊戊好 are 12 of 6 kinds; pairs 9 of 7: 甲乙 and 戊戊 come twice."""
    rows = table(drawn(corpus, measuring_look()), "diversity")
    assert [(row["n"], row["unique"], row["total"]) for row in rows][:2] == [(1, 6, 12), (2, 7, 9)]


def test_figures_4_and_5_come_from_the_vectors(corpus: Path, tmp_path: Path) -> None:
    report = drawn(corpus, measuring_look(vectors=vectors(tmp_path / "vectors")))
    four, five = report.findings.figures
    own, pairs = four.curves[0].values, five.curves[0].values
    assert own.mean == pytest.approx(0.8)  # (0.6 + 0.8 + 1.0) / 3
    assert four.line == pytest.approx(0.8 - 3 * (0.08 / 3) ** 0.5)  # deviations 0.2, 0, 0.2
    # 0.6 * 0.8 + 0.8 * 0.6 = 0.96; 0.6; 0.8
    assert pairs.count == 3
    assert pairs.mean == pytest.approx((0.96 + 0.6 + 0.8) / 3)
    assert [row["curve"] for row in table(report, "cosines")] == ["own", "other", "pairs"]


def test_figure_11_and_table_2_come_from_the_labels(corpus: Path, tmp_path: Path) -> None:
    report = drawn(corpus, topics_look(labels(tmp_path / "topics")))
    topics = report.findings.topics
    assert topics is not None
    assert [(one.number, one.dialogues, one.crisis) for one in topics.shares] == [(1, 2, False), (58, 1, True)]
    limited = -(2 / 3) * log2(2 / 3) - (1 / 3) * log2(1 / 3)
    unlimited = limited - (1 / 3) * log2(1 / 3)  # and 天气
    assert [row["entropy"] for row in table(report, "entropy")] == pytest.approx(
        [limited, unlimited, (limited + unlimited) / 2]
    )
    assert as_json(report)["topics"]["of"] == 3


def test_vectors_and_labels_of_another_corpus_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="other texts"):
        drawn(corpus, measuring_look(vectors=vectors(tmp_path / "vectors", "stranger")))
    with pytest.raises(UsageError, match="other dialogues"):
        drawn(corpus, topics_look(labels(tmp_path / "topics", "stranger")))
