"""`smile stats`: the same figures for a person, for a spreadsheet, for a page and for a program."""

import csv
import io
from pathlib import Path

import pytest

from smile_async.cli.tables import Table, markdown
from tests.cli.conftest import Smile
from tests.corpus.said import make_run, write_lines

# 2 dialogues; client 2 sentences (2 and 3 characters), counselor 3 (2, 2 and 1): 10 characters in 5 sentences.
ROWS = [
    {"dialogue": [{"role": "client", "content": "累。"}, {"role": "counselor", "content": "嗯？好。"}]},
    {"dialogue": [{"role": "counselor", "content": "在"}, {"role": "client", "content": "睡不着"}]},
]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "c.jsonl", ROWS)


def test_piped_tables_are_plain_text(smile: Smile, corpus: Path) -> None:
    ended = smile("stats", corpus)
    assert ended.code == 0
    assert "\x1b" not in ended.out
    lines = [line.split("  ") for line in ended.out.splitlines()]
    cells = {line[1]: [cell.strip() for cell in line[2:] if cell.strip()] for line in lines if len(line) > 2}
    assert cells["Sentences"] == ["5", "2", "3"]
    assert cells["Sentences per dialogue"] == ["2.5", "1.0", "1.5"]
    assert cells["Characters per sentence"] == ["2.0", "2.5", "1.7"]
    assert cells["Utterances"] == ["4", "2", "2"]
    assert cells["Test cases"] == ["1", "-", "-"]
    assert cells["The counselor opens"] == ["1", "50.0%"]
    assert "client is the client, counselor the counselor" in ended.out


def test_a_program_gets_numbers_that_are_not_rounded(smile: Smile, corpus: Path) -> None:
    told = smile("stats", corpus, "--json").told
    assert (told["kind"], told["dialogues"], told["turns"]) == ("jsonl", 2, {"1": 2})
    assert told["sentences"]["counselor"] == {"count": 3, "per_dialogue": 1.5, "characters": 5, "mean_length": 5 / 3}
    rows = list(csv.DictReader(io.StringIO(smile("stats", corpus, "--csv").out)))
    [line] = [row for row in rows if row["measure"] == "Characters per sentence"]
    assert line == {"unit": "sentences", "measure": "Characters per sentence", "total": "2.0", "client": "2.5",
                    "counselor": str(5 / 3)}  # fmt: skip
    assert rows[0]["client"] == ""  # where the paper prints a dash


def test_markdown_is_the_papers_tables(smile: Smile, corpus: Path) -> None:
    lines = smile("stats", corpus, "--markdown").out.splitlines()
    assert "| Sentences per dialogue | 2.5 | 1.0 | 1.5 |" in lines
    assert "| Utterances per dialogue | 2.0 | 1.0 | 1.0 |" in lines


def test_a_cell_of_a_markdown_table_stays_text() -> None:
    told = markdown(Table("t", ("a", "b"), (("<img|", "[x](y)"),)))
    assert told.splitlines()[-1] == r"| \<img\| | \[x\](y) |"


def test_a_run_is_counted(smile: Smile, tmp_path: Path) -> None:
    """Three of four rows are accepted, five exchanges each; each client line is one sentence, each answer two."""
    run = make_run(tmp_path / "run")
    told = smile("stats", run, "--json").told
    assert (told["kind"], told["dialogues"], told["turns"]) == ("run", 3, {"5": 3})
    assert told["sentences"]["client"]["count"] == 3 * 5
    assert told["sentences"]["counselor"]["count"] == 3 * 5 * 2


def test_many_different_numbers_of_turns_share_lines(smile: Smile, tmp_path: Path) -> None:
    """0 to 39 turns, once each, are more than 16 lines: three a line; the longest hundredth has its own."""
    said = {"role": "client", "content": "。"}
    path = write_lines(tmp_path / "c.jsonl", [{"dialogue": [said] * 2 * n} for n in range(40)])
    out = smile("stats", path).out.partition("Turns (whole exchanges)")[2].partition("Shape")[0].splitlines()[2:]
    labels = [line.split()[0] for line in out if line.strip()]
    assert labels == [*(f"{n}-{n + 2}" for n in range(0, 39, 3)), "39"]
    assert sum(int(line.split()[1]) for line in out if line.strip()) == 40


def test_an_empty_run_has_dashes(smile: Smile, tmp_path: Path) -> None:
    ended = smile("stats", make_run(tmp_path / "run", rows=2, refused=2))
    assert ended.code == 0
    assert ["Sentences", "per", "dialogue", "-", "-", "-"] in [line.split() for line in ended.out.splitlines()]


def test_roles_can_be_told(smile: Smile, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "c.jsonl", [{"dialogue": [{"role": who, "content": "。"} for who in "ABC"]}])
    refused = smile("stats", path)
    assert refused.code == 2
    assert "--roles" in refused.err
    told = smile("stats", path, "--json", "--roles", "A,C").told
    assert [told["utterances"][who]["count"] for who in ("client", "counselor", "others")] == [1, 1, 1]
    assert smile("stats", path, "--roles", "A").code == 2


def test_two_forms_at_once_are_refused(smile: Smile, corpus: Path) -> None:
    assert smile("stats", corpus, "--json", "--csv").code == 2
