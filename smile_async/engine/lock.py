"""The lock of a run folder: whether a process is at work on it. Who works on it takes it (`Ledger.open`)."""

import os
from pathlib import Path

LOCK = "lock"


def is_locked(folder: Path) -> bool:
    """Whether a process is working on the run. Shares the lock for an instant, with others who look."""
    try:
        import fcntl
    except ImportError:  # Windows
        return _is_held(folder)
    try:  # as filelock does it on Unix, whose import takes a tenth of `smile status`
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return _is_held(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # two lookers are no worker to each other
    except BlockingIOError:
        return True
    except OSError:  # a file system that has no such locks: filelock knows another way
        return _is_held(folder)
    finally:
        os.close(descriptor)  # which gives it free
    return False


def _is_held(folder: Path) -> bool:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
