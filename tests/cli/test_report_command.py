"""`smile report`: of a run, while it goes on and after, of an export, and of what is neither."""

import json
import os
import re
from pathlib import Path

from tests.cli.conftest import ROWS, Serve, Smile, at


def data_of(page: Path) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_of_a_run_with_figures(smile: Smile, serve: Serve, source: Path) -> None:
    server = serve(breaches={"bad-start": 0.5})
    smile("generate", source, "run", *at(server), "--max-attempts", "1", "--rpm", "6000", "--json")
    ended = smile("report", "run", "--out", "page.html", "--figures", "figures", "--lang", "en", "--json")
    assert ended.code == 0, ended.err
    page = Path("page.html")
    assert ended.told["bytes"] == page.stat().st_size < 1_000_000
    if os.name == "posix":
        assert page.stat().st_mode & 0o777 == 0o600  # it quotes dialogues

    told = data_of(page)
    run, samples = told["run"], told["samples"]
    assert isinstance(run, dict)
    assert isinstance(samples, dict)
    rows = run["status"]["rows"]
    assert rows["total"] == ROWS == rows["accepted"] + rows["set_aside"]
    assert samples["of"] == {"accepted": rows["accepted"], "bad-start": rows["set_aside"]}
    [endpoint] = run["timeline"]["endpoints"]
    assert endpoint["limits"] == {"requests": 6000.0}
    assert max(endpoint["requests"]["peak"]) == ROWS  # all within a minute
    assert run["asked"]["model"] == "simulated"
    replies = json.loads(Path("figures/tables/replies.json").read_text("utf-8"))
    assert {row["verdict"]: row["replies"] for row in replies} == samples["of"]
    assert Path("figures/en/turns.svg").is_file()


def test_a_run_that_was_stopped_and_one_whose_rows_are_pending(smile: Smile, serve: Serve, source: Path) -> None:
    """A server that refuses the key after eight answers: the page tells of eight rows and why it ended."""
    smile("generate", source, "run", *at(serve(quota_requests=8)), "--concurrency", "1", "--json")
    assert smile("report", "run").code == 0
    run = data_of(Path("run-report.html"))["run"]
    assert isinstance(run, dict)
    assert (run["status"]["state"], run["status"]["reason"]) == ("stopped", "quota-exhausted")
    assert run["status"]["rows"]["accepted"] == 8


def test_of_an_export_and_without_a_word_of_anybody(smile: Smile, serve: Serve, source: Path) -> None:
    smile("generate", source, "run", *at(serve()), "--json")
    smile("export", "run", "corpus.jsonl")
    ended = smile("report", "corpus.jsonl", "--samples", "0", "--json")
    assert (ended.code, ended.told["samples"]) == (0, 0)
    told = data_of(Path("corpus-report.html"))
    assert (told["kind"], told["run"], told["name"]) == ("corpus", None, "corpus")
    shape = told["shape"]
    assert isinstance(shape, dict)
    assert shape["dialogues"] == ROWS
    assert "该怎么办" not in Path("corpus-report.html").read_text("utf-8")  # every question ends so


def test_two_folders_of_one_name_have_a_page_each_and_each_replaces_its_own(
    smile: Smile, serve: Serve, source: Path
) -> None:
    for name in ("a", "b"):
        smile("generate", source, f"{name}/run", *at(serve()), "--limit", "2", "--json")

    pages = [smile("report", f"{name}/run", "--json").told["page"] for name in ("a", "b", "a", "b")]

    assert pages == ["run-report.html", "b-run-report.html"] * 2
    assert data_of(Path("run-report.html"))["of"] != data_of(Path("b-run-report.html"))["of"]


def test_a_page_without_a_dialogue_names_no_folder(smile: Smile, serve: Serve, source: Path) -> None:
    """It is shown to others: where somebody keeps a source may name people."""
    smile("generate", source, "run", *at(serve()), "--limit", "2", "--json")
    smile("report", "run", "--samples", "0", "--out", "bare.html")
    smile("report", "run", "--out", "full.html")
    assert str(source) in Path("full.html").read_text("utf-8")
    bare = Path("bare.html").read_text("utf-8")
    assert str(source.parent) not in bare
    assert source.name in bare


def test_samples_bear_their_topics_and_labels_of_other_texts_are_told(smile: Smile, serve: Serve, source: Path) -> None:
    smile("generate", source, "run", *at(serve()), "--limit", "4", "--json")
    smile("topics", "annotate", "run", "labels", *at(serve(answers=["焦虑，自杀倾向"])))
    lines = [json.loads(line) for line in Path("labels/topics.jsonl").read_text("utf-8").splitlines()]
    lines[0]["digest"] = "0" * 24  # another text was labelled under this id
    Path("labels/topics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")

    ended = smile("report", "run", "--topics", "labels", "--out", "page.html")

    samples = data_of(Path("page.html"))["samples"]
    assert isinstance(samples, dict)
    assert [one.get("topics") for one in samples["rows"]] == [None, *[["焦虑", "自杀倾向"]] * 3]
    assert [one.get("crisis") for one in samples["rows"]] == [None, True, True, True]
    assert "1 of 4 texts are others than those that the labels in labels were made of" in ended.err


def test_it_replaces_reports_and_nothing_else(smile: Smile, serve: Serve, source: Path) -> None:
    smile("generate", source, "run", *at(serve()), "--limit", "2", "--json")
    assert [smile("report", "run", "--out", "page.html").code for _ in range(2)] == [0, 0]
    Path("mine.html").write_text("<p>mine</p>", "utf-8")
    refused = smile("report", "run", "--out", "mine.html")
    assert refused.code == 2
    assert "--overwrite" in refused.err
    assert Path("mine.html").read_text("utf-8") == "<p>mine</p>"
    assert smile("report", "run", "--out", "mine.html", "--overwrite").code == 0


def test_what_is_no_corpus_is_said(smile: Smile) -> None:
    Path("empty").mkdir()
    for arguments in (("empty",), ("nowhere",), ("empty", "--lang", "fr")):
        ended = smile("report", *arguments)
        assert (ended.code, ended.out) == (2, "")
