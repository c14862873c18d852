"""What a study's folder knows: its settings, its steps, whose it is, and that one process works on it."""

import hashlib
from pathlib import Path

import pytest

from smile_async.errors import RunInUseError, RunMismatchError
from smile_async.study_folder import CHATBOT, CORPORA, NOTE, StudyFolder, is_study, made_from


def test_a_step_is_done_while_inputs_and_files_are_the_same(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, CHATBOT)
    folder.begin({"seed": 1})
    (tmp_path / "made").write_text("a")
    folder.note("cases", {"of": (1, 2)}, ["made"], {"cases": 3})
    assert folder.done("cases", {"of": (1, 2)}) == {"cases": 3}
    assert folder.done("cases", {"of": (1, 3)}) is None
    assert folder.done("sessions", {}) is None
    (tmp_path / "made").write_text("b")
    assert folder.done("cases", {"of": (1, 2)}) is None


def test_a_study_with_other_settings_is_refused_by_their_names(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, CHATBOT)
    folder.begin({"seed": 1, "base": "x"})
    folder.begin({"seed": 1, "base": "x"})
    assert (StudyFolder(tmp_path, CHATBOT).begun, StudyFolder(tmp_path / "new", CHATBOT).begun) == (True, False)
    with pytest.raises(RunMismatchError, match=r'(?s)base: was "x", now null\n    seed: was 1, now 2'):
        folder.begin({"seed": 2})
    (tmp_path / NOTE).write_text("{torn")
    with pytest.raises(RunMismatchError, match="no JSON"):
        folder.begin({"seed": 1, "base": "x"})


def test_another_corpus_is_named_without_its_digest(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path, CHATBOT)
    folder.begin({"corpus": "0" * 64, "cases_file": None})
    with pytest.raises(
        RunMismatchError, match=r"cases_file: was null, now one of digest fff.*\n    corpus: has another"
    ):
        folder.begin({"corpus": "1" * 64, "cases_file": "f" * 64})  # 64 digits would tell nobody anything


def test_a_setting_may_change_until_a_step_that_it_shapes_has_ended(tmp_path: Path) -> None:
    folder, shapes = StudyFolder(tmp_path, CHATBOT), {"length": ("training",), "seed": ("cases", "training")}
    folder.begin({"length": 1, "seed": 1, "base": "x"}, shapes)
    folder.note("cases", {})
    folder.begin({"length": 2, "seed": 1, "base": "x"}, shapes)
    for other in ({"length": 2, "seed": 2, "base": "x"}, {"length": 2, "seed": 1, "base": "y"}):
        with pytest.raises(RunMismatchError):
            folder.begin(other, shapes)
    folder.note("training", {})
    with pytest.raises(RunMismatchError, match="length: was 2, now 3"):
        folder.begin({"length": 3, "seed": 1, "base": "x"}, shapes)


def test_a_folder_of_one_kind_is_no_other_kinds(tmp_path: Path) -> None:
    StudyFolder(tmp_path, CHATBOT).begin({"seed": 1})
    assert is_study(tmp_path, CHATBOT)
    assert not is_study(tmp_path, CORPORA)
    assert not is_study(tmp_path / "name=elsewhere", CORPORA)
    with pytest.raises(RunMismatchError, match="something else"):
        StudyFolder(tmp_path, CORPORA).begin({"seed": 1})
    (tmp_path / NOTE).write_text('["ballots"]')
    assert not is_study(tmp_path, CHATBOT)
    with pytest.raises(RunMismatchError, match="something else"):
        StudyFolder(tmp_path, CHATBOT).begin({"seed": 1})


def test_files_have_one_digest_together_and_a_missing_one_counts_as_empty(tmp_path: Path) -> None:
    """As notes of old have it: of the digests, one after the other, the first 24 digits."""
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "empty").touch()
    whole = hashlib.sha256(hashlib.sha256(b"1").digest() + hashlib.sha256(b"").digest()).hexdigest()[:24]
    assert made_from(tmp_path / "a", tmp_path / "missing") == made_from(tmp_path / "a", tmp_path / "empty")
    assert made_from(tmp_path / "a", tmp_path / "missing") == {"made_from": whole}


def test_two_processes_do_not_work_on_one_study(tmp_path: Path) -> None:
    with StudyFolder(tmp_path, CHATBOT).alone(), pytest.raises(RunInUseError), StudyFolder(tmp_path, CHATBOT).alone():
        pass
