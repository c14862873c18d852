"""libgomp for llama.cpp, where the system has none."""

import os
from pathlib import Path

import pytest

from smile_async.provider import openmp


def test_where_the_system_has_it_the_environment_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: None)
    assert openmp.environment(tmp_path) == dict(os.environ)


def test_where_it_lacks_the_copy_in_a_wheel_is_found_under_its_right_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    carried = tmp_path / "libgomp-1a2b3c4d.so.1.0.0"
    carried.write_bytes(b"")
    monkeypatch.setattr("ctypes.CDLL", lacking)
    monkeypatch.setattr(openmp, "files", lambda _name: [_Listed(carried)])
    monkeypatch.setenv("LD_LIBRARY_PATH", "/already/there")
    for _ in range(2):  # the second time it is there
        path = openmp.environment(tmp_path / "cache")["LD_LIBRARY_PATH"].split(":")
        assert path[1] == "/already/there"
        assert (Path(path[0]) / "libgomp.so.1").resolve() == carried


class _Listed:
    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path

    def locate(self) -> Path:
        return self._path
