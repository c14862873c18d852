"""Ballots as Label Studio tasks, and its JSON export back as votes."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from smile_async.chatbot.ballots import Ballots
from smile_async.chatbot.label_studio import labelling_config, read_annotations, write_project
from smile_async.errors import SourceError
from tests.chatbot.study import study


def exported(ballots: Ballots, annotations: list[dict[str, Any]], **data: str) -> list[dict[str, Any]]:
    """One task as Label Studio exports it (JSON)."""
    told = {"case": "case-0", "drawn": ballots.drawn, "A": "一", "B": "二"} | data
    return [{"id": 1, "project": 3, "data": told, "annotations": annotations, "predictions": []}]


def choice(name: str, chosen: str, kind: str = "choices") -> dict[str, Any]:
    value = {"choices": [chosen]} if kind == "choices" else {"selected": chosen}
    return {"id": "x1", "from_name": name, "to_name": "history", "type": kind, "origin": "manual", "value": value}


def annotation(*results: dict[str, Any], by: Any = 7, **more: Any) -> dict[str, Any]:
    at = {"created_at": "2026-03-09T22:16:08.728353Z", "updated_at": "2026-03-09T22:20:00Z"}
    return {"id": 11, "completed_by": by, "was_cancelled": False, "lead_time": 4.2, "result": list(results)} | at | more


def read(tmp_path: Path, ballots: Ballots, document: Any) -> list[tuple[str, str, str, str]]:
    path = tmp_path / "export.json"
    path.write_text(json.dumps(document), "utf-8")
    return [(vote.rater, vote.case, vote.pair, vote.choice) for vote in read_annotations(path, ballots)]


def test_tasks_hold_what_the_configuration_names(tmp_path: Path) -> None:
    ballots = study(3, ties=True).ballots
    write_project(ballots, tmp_path / "project", "zh")
    tasks = json.loads((tmp_path / "project/tasks.json").read_text("utf-8"))
    root = ET.fromstring((tmp_path / "project/config.xml").read_text("utf-8"))
    named = {tag.get("value", "")[1:] for tag in root.iter() if tag.get("value", "").startswith("$")}
    assert named == {"history", "A", "B", "C"}
    assert len(tasks) == 3
    for task in tasks:
        assert set(task["data"]) == named | {"case", "drawn"}
        assert [line["author"] for line in task["data"]["history"]] == ["求助者", "支持者", "求助者"]
    controls = list(root.iter("Choices"))
    assert [tag.get("name") for tag in controls] == ["AB", "AC", "BC"]
    assert {tag.get("toName") for tag in controls} == {"history"}
    # An alias stands in the annotation in place of the words: each choice comes back as a vote spells it.
    assert [[each.get("alias") or each.get("value") for each in tag] for tag in controls] == [
        ["A", "B", "tie"], ["A", "C", "tie"], ["B", "C", "tie"],
    ]  # fmt: skip
    assert not [system for system in study(3).key.systems if system in json.dumps(tasks)]


def test_without_ties_there_is_no_such_choice() -> None:
    assert "tie" not in labelling_config(study().ballots)


def test_annotations_come_back_as_votes(tmp_path: Path) -> None:
    ballots = study(ties=True).ballots
    by_ann = annotation(
        choice("AB", "B"),
        choice("AC", "tie"),
        choice("BC", "left", "pairwise"),
        by={"id": 3, "email": "ann@example.org"},
    )
    document = exported(ballots, [by_ann, annotation(choice("AB", "A"), by=7)])
    assert read(tmp_path, ballots, document) == [
        ("ann@example.org", "case-0", "AB", "B"),
        ("ann@example.org", "case-0", "AC", "tie"),
        ("ann@example.org", "case-0", "BC", "B"),
        ("label-studio-7", "case-0", "AB", "A"),
    ]


def test_the_later_annotation_comes_last_and_skipped_ones_do_not_come(tmp_path: Path) -> None:
    ballots = study().ballots
    early = annotation(choice("AB", "A"), updated_at="2026-03-09T10:00:00Z")
    late = annotation(choice("AB", "B"), updated_at="2026-03-09T11:00:00+00:00")
    skipped = annotation(choice("AB", "A"), was_cancelled=True)
    assert [vote[3] for vote in read(tmp_path, ballots, exported(ballots, [late, early, skipped]))] == ["A", "B"]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"AB": "A"}, "JSON-MIN"),
        ([{"id": 1, "AB": "A", "case": "case-0"}], "field '0.data'"),
        (exported(study().ballots, [], drawn="0123"), "row 1: is a task of other ballots"),
        (exported(study().ballots, [annotation(choice("AB", "C"))]), "row 1: 'AB' has no such choice"),
        (exported(study().ballots, [annotation(choice("AB", "A"))], case="case-77"), "row 1: 'AB' has no such choice"),
    ],
)
def test_what_does_not_fit_the_ballots_is_refused(tmp_path: Path, document: Any, told: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path, study().ballots, document)
    assert told in str(caught.value)
