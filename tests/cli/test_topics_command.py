"""`smile topics`: annotated, shown, gone on with, and what other commands say of such a run."""

import csv
import io
import json
from pathlib import Path

from tests.cli.conftest import Serve, Smile, at
from tests.e2e.questions import write_jsonl


def test_the_command_annotates_shows_and_goes_on(smile: Smile, serve: Serve, tmp_path: Path) -> None:
    server = serve(answers=["焦虑，自杀倾向", "恋爱问题、婚姻", "焦虑"])
    corpus = write_jsonl(tmp_path / "c.jsonl", [
        {"id": str(row), "dialogue": [{"role": "client", "content": f"第{row}次"}, {"role": "counselor", "content": "好"}]}
        for row in range(30)
    ])  # fmt: skip

    ended = smile("topics", "annotate", corpus, "labels", *at(server), "--json")
    again = smile("topics", "annotate", corpus, "labels", *at(server), "--json")
    shown, told = smile("topics", "labels"), smile("topics", "labels", "--json").told["sets"]["labels"]
    table = list(csv.DictReader(io.StringIO(smile("topics", "show", "labels", "--csv").out)))
    reread, refused = smile("revalidate", "labels", "--json"), smile("revalidate", "labels", "--recipe", "smile")
    exported = smile("export", corpus, "labelled.jsonl", "--topics", "labels")
    elsewhere = smile("export", "labels", "out.jsonl")
    dialogue = [{"role": "client", "content": "喂"}]
    Path("strange.jsonl").write_text(json.dumps({"id": "x", "dialogue": dialogue}) + "\n", "utf-8")
    changed = json.loads(corpus.read_text("utf-8").splitlines()[0])
    changed["dialogue"][0]["content"] = "改了"
    Path("changed.jsonl").write_text(json.dumps(changed) + "\n", "utf-8")
    other = smile("export", "changed.jsonl", "other.jsonl", "--topics", "labels")
    foreign = smile("export", "strange.jsonl", "foreign.jsonl", "--topics", "labels")

    assert ended.code == again.code == 0
    assert (reread.told["rows"]["accepted"], refused.code) == (30, 2)
    assert again.told["attempts"] == ended.told["attempts"] == 30
    assert ended.told["topics"]["dialogues"] == 30
    lines = [json.loads(line) for line in Path("labels/topics.jsonl").read_text("utf-8").splitlines()]
    crisis = sum(line["crisis"] for line in lines)
    assert told["crisis"] == crisis > 0
    assert f"crisis     {crisis} of 30 dialogues" in shown.out
    assert "婚姻 (婚姻问题?)" in shown.out
    assert {row["topic"]: int(row["dialogues"]) for row in table if row["dialogues"] != "0"} == {
        name: sum(name in line["topics"] for line in lines) for name in ("焦虑", "自杀倾向", "恋爱问题")
    }
    assert exported.code == 0
    assert (foreign.code, "labels of other dialogues" in foreign.err) == (2, True)
    assert not Path("foreign.jsonl").exists()
    assert (other.code, "though some have their ids" in " ".join(other.err.split())) == (2, True)
    columns = [json.loads(line) for line in Path("labelled.jsonl").read_text("utf-8").splitlines()]
    assert [(one["id"], one["topics"], one["crisis"]) for one in columns] == [
        (one["id"], one["topics"], one["crisis"]) for one in lines
    ]
    assert (elsewhere.code, "labels holds topics, no dialogues" in elsewhere.err) == (2, True)
