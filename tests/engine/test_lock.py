"""Whether somebody is at work on a run, seen from beside it."""

import stat
from pathlib import Path

import pytest
from filelock import FileLock

from smile_async.engine.lock import LOCK, is_locked


def test_it_is_locked_while_a_lock_is_held_and_no_longer(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / LOCK)
    with lock:
        assert is_locked(tmp_path)
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_to_look_leaves_the_lock_free_and_its_file_the_owners_alone(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert stat.S_IMODE((tmp_path / LOCK).stat().st_mode) == 0o600
    with FileLock(tmp_path / LOCK, timeout=0):
        assert is_locked(tmp_path)


def test_where_there_are_no_such_locks_filelock_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    lock = FileLock(tmp_path / LOCK)
    with lock:
        flock = fcntl.flock

        def refusing_once(descriptor: int, operation: int) -> None:
            monkeypatch.setattr(fcntl, "flock", flock)
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refusing_once)
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_two_who_look_at_the_same_instant_do_not_see_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second looks while the first holds what it took to look."""
    fcntl = pytest.importorskip("fcntl")
    flock, second = fcntl.flock, []

    def and_another_looks(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        monkeypatch.setattr(fcntl, "flock", flock)
        second.append(is_locked(tmp_path))

    monkeypatch.setattr(fcntl, "flock", and_another_looks)
    assert not is_locked(tmp_path)
    assert second == [False]
