import hashlib
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from smile_async.errors import MissingExtraError, UsageError
from smile_async.provider.model_file import (
    EMBEDDED,
    ModelFileError,
    PackagedModel,
    embedded_model_file,
    model_cache,
    named_model_file,
    terms,
)

PARTS = (b"GGUF first ", b"second ", b"third")
WHOLE = b"".join(PARTS)
MODEL = PackagedModel(
    name="tiny",
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    size=len(WHOLE),
    parts=tuple((f"tiny_part{n}", f"tiny.gguf.part0{n}") for n in range(3)),
    terms="tiny",
    terms_url="https://example.org/terms",
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The parts, as three installed packages would hold them."""
    for (package, name), part in zip(MODEL.parts, PARTS, strict=True):
        (tmp_path / "site" / package).mkdir(parents=True)
        (tmp_path / "site" / package / name).write_bytes(part)
    return tmp_path / "site"


def assemble(installed: Path, cache: Path, said: list[str] | None = None) -> Path:
    return embedded_model_file(
        model=MODEL,
        cache=cache,
        locate=lambda package, name: installed / package / name,
        notify=(said if said is not None else []).append,
    )


def test_parts_are_joined_in_order_and_nothing_unfinished_is_left(installed: Path, tmp_path: Path) -> None:
    file = assemble(installed, tmp_path / "cache")

    assert file.read_bytes() == WHOLE
    assert file.name == "tiny.gguf"
    assert not list((tmp_path / "cache").glob("*.part"))


def test_terms_are_told_at_first_use_only(installed: Path, tmp_path: Path) -> None:
    said: list[str] = []

    assemble(installed, tmp_path / "cache", said)
    assemble(installed, tmp_path / "cache", said)

    assert len(said) == 1
    assert "https://example.org/terms" in said[0]


def test_a_second_call_neither_writes_nor_needs_the_parts(installed: Path, tmp_path: Path) -> None:
    first = assemble(installed, tmp_path / "cache").stat()

    second = assemble(tmp_path / "nothing", tmp_path / "cache").stat()

    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)


def test_an_untouched_file_is_not_hashed_again(installed: Path, tmp_path: Path) -> None:
    """Content of the same size under the same modification time passes: only a touched file is read again."""
    file = assemble(installed, tmp_path / "cache")
    before = file.stat()
    file.write_bytes(b"x" * len(WHOLE))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert assemble(installed, tmp_path / "cache") == file


@pytest.mark.parametrize("content", [WHOLE[:-1], WHOLE.upper(), b""], ids=["cut", "changed", "empty"])
def test_a_damaged_file_says_what_to_delete(installed: Path, tmp_path: Path, content: bytes) -> None:
    file = assemble(installed, tmp_path / "cache")
    file.write_bytes(content)
    os.utime(file, ns=(1, 1))

    with pytest.raises(ModelFileError, match=f"rm '{file}'"):
        assemble(installed, tmp_path / "cache")

    file.unlink()
    assert assemble(installed, tmp_path / "cache").read_bytes() == WHOLE


def test_damaged_parts_leave_no_file_and_name_the_reinstall(installed: Path, tmp_path: Path) -> None:
    package, name = MODEL.parts[1]
    (installed / package / name).write_bytes(b"SECOND ")

    with pytest.raises(ModelFileError, match="force-reinstall"):
        assemble(installed, tmp_path / "cache")

    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["tiny.gguf.lock"]


def test_a_broken_note_is_only_a_reason_to_hash_again(installed: Path, tmp_path: Path) -> None:
    file = assemble(installed, tmp_path / "cache")
    (note,) = (tmp_path / "cache").glob("*.verified.json")
    note.write_text("{")

    assert assemble(installed, tmp_path / "cache") == file
    assert json.loads(note.read_text())["sha256"] == MODEL.sha256


def test_missing_parts_name_the_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"smile-async\[local\]"):
        assemble(tmp_path / "nothing", tmp_path / "cache")


def test_packages_that_are_not_installed_name_the_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"smile-async\[local\]"):
        embedded_model_file(model=MODEL, cache=tmp_path / "cache")


def test_a_cache_that_cannot_be_written_names_the_size(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ModelFileError, match="XDG_CACHE_HOME"):
        assemble(installed, tmp_path / "file" / "cache")


def _assemble_elsewhere(installed: Path, cache: Path) -> list[str]:
    said: list[str] = []
    assemble(installed, cache, said)
    return said


@pytest.mark.e2e
def test_of_four_processes_one_joins_and_all_get_the_file(installed: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        told = pool.starmap(_assemble_elsewhere, [(installed, cache)] * 4)

    assert sum(len(said) for said in told) == 1
    assert (cache / "tiny.gguf").read_bytes() == WHOLE


def test_the_cache_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert model_cache() == tmp_path / "smile-async" / "models"


def test_a_named_file_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(WHOLE)

    assert named_model_file(file, cache=tmp_path / "cache") == file
    assert not (tmp_path / "cache").exists()


def test_a_named_file_is_checked_against_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "own.gguf"
    file.write_bytes(WHOLE)

    assert named_model_file(file, sha256=MODEL.sha256.upper(), cache=tmp_path / "cache") == file
    with pytest.raises(ModelFileError, match="not the one expected"):
        named_model_file(file, sha256="0" * 64, cache=tmp_path / "cache")


def test_what_is_no_gguf_is_refused_before_llama_sees_it(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"PK\x03\x04")

    with pytest.raises(UsageError, match="no GGUF"):
        named_model_file(tmp_path / "weights.bin")
    with pytest.raises(UsageError, match="cannot be read"):
        named_model_file(tmp_path / "absent.gguf")


def test_the_embedded_models_terms_name_gemma_and_their_address() -> None:
    assert "Gemma Terms of Use" in terms()
    assert EMBEDDED.terms_url in terms()
    assert "NOTICE.md" in terms()  # where it is, and not its Markdown
    assert all(len(line) < 300 and not line.startswith("#") for line in terms().splitlines())
    assert len(terms().splitlines()) <= 4
