"""`smile check`: what is found is named, counted and written, and a corpus without it comes out."""

import json
from pathlib import Path

from tests.cli.conftest import Smile

GOOD = [("client", "我最近总是睡不着，心里很乱。"), ("counselor", "听起来你这段时间很不容易，是什么让你睡不着呢？")]
OTHER = [("client", "考试前我特别紧张，手心都是汗。"), ("counselor", "紧张的时候你会怎么做呢？我们可以一起想想。")]
CORPUS = {
    "a": GOOD,
    "b": [("client", "加我微信：abc_12345 好吗"), ("counselor", "谢谢你的信任，我们就在这里慢慢聊。")],
    "c": GOOD,
    "d": OTHER,
}


def write(path: Path) -> Path:
    lines = [
        json.dumps({"id": key, "dialogue": [{"role": role, "content": said} for role, said in spoken]})
        for key, spoken in CORPUS.items()
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_findings_are_counted_by_kind_and_name_their_rows(smile: Smile, tmp_path: Path) -> None:
    ended = smile("check", write(tmp_path / "corpus.jsonl"), "--findings", "found.jsonl")
    assert ended.code == 0
    assert "4 dialogues, 2 with something to look at" in ended.out
    assert "near-duplicate         1 rows" in ended.out
    found = [json.loads(line) for line in Path("found.jsonl").read_text("utf-8").splitlines()]
    assert [(one["id"], one["code"], one["row"]) for one in found] == [
        ("b", "contact-wechat", 1),
        ("c", "near-duplicate", 2),
    ]
    assert "abc_12345" not in ended.out + Path("found.jsonl").read_text("utf-8")
    assert Path("found.jsonl").stat().st_mode & 0o777 == 0o600


def test_json_is_one_line_of_counts(smile: Smile, tmp_path: Path) -> None:
    told = smile("check", write(tmp_path / "corpus.jsonl"), "--json").told
    assert (told["rows"], told["rows_with_findings"], told["written"]) == (4, 2, None)
    assert told["findings"] == {"near-duplicate": 1, "contact-wechat": 1}
    assert smile("check", "corpus.jsonl", "--json", "--similarity", "0").told["findings"] == {"contact-wechat": 1}


def test_a_corpus_comes_out_without_what_is_dropped_and_with_masks(smile: Smile, tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl")
    ended = smile("check", "corpus.jsonl", "--write", "clean.jsonl", "--drop", "near-duplicate", "--mask")
    assert "clean.jsonl: 3 dialogues" in ended.out
    rows = [json.loads(line) for line in Path("clean.jsonl").read_text("utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["a", "b", "d"]
    assert rows[1]["dialogue"][0]["content"] == "加我微信：[微信号] 好吗"
    assert smile("check", "clean.jsonl", "--json").told["findings"] == {}
    again = smile("check", "corpus.jsonl", "--write", "clean.jsonl")
    assert again.code == 2
    assert "exists already" in again.err


def test_what_cannot_be_meant_is_refused(smile: Smile, tmp_path: Path) -> None:
    write(tmp_path / "corpus.jsonl")
    for flags, word in (
        (("--mask",), "--write"),
        (("--write", "o.jsonl", "--drop", "contact"), "contact-email"),
        (("--similarity", "0.3"), "threshold"),
    ):
        ended = smile("check", "corpus.jsonl", *flags)
        assert ended.code == 2
        assert word in ended.err
    assert smile("check", "nowhere").code == 2
