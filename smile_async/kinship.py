"""Whether a source is the one that a run was made of, perhaps grown or mended, or a stranger to it."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

import orjson

from smile_async.engine import account, schema
from smile_async.engine.feed import Unreadable, identity_digest
from smile_async.engine.names import PARTED
from smile_async.engine.task import Task
from smile_async.errors import RunMismatchError

Row = TypeVar("Row")

LOOKED_AT = 10_000  # rows at most, so that memory is bounded: a source that grew at its front by more is refused
FIRST = 100  # rows of the run that are read to begin with
ENOUGH = 10  # rows that both have: seen in a moment when a run simply goes on
SHARE = 10  # else a tenth of them must be common


class OtherSourceError(RunMismatchError):
    """What is to be asked about has hardly anything in common with what the run was made of."""


def check_kin(names: Iterable[str], known: Collection[str], folder: Path, *, what: str, make: str) -> None:
    """`names` of what stands in a source against those that the run in `folder` knows; read no further than needed.

    Raises `OtherSourceError` where hardly any is common. `what` they are, for a person; `make`: a command as which this
    may be allowed.
    """
    read = common = 0
    enough = min(ENOUGH, len(known))
    for name in names:
        read += 1
        common += name in known
        if common >= enough:
            return
        if read == LOOKED_AT:
            break
    if not read or common * SHARE >= min(read, len(known)):
        return
    raise OtherSourceError(
        f"{folder} was made of something else: of {read:,} {what} {common or 'none'} "
        f"{'is' if common < 2 else 'are'} among its {len(known):,}.",
        hint=f"Name another folder. If both are to be in this one: {make} --add (add_source=True from Python).",
    )


def own_rows(rows: Iterator[Row], task: Task[Any, Any], folder: Path, *, what: str, make: str) -> Iterator[Row]:
    """The `rows` (items of `task`, or `Unreadable`), of which the first few have been looked at when the folder holds a
    run of this task. Raises as `check_kin`; rows that cannot be read say nothing, here and there."""
    identity = _identity(folder)
    if not identity or not _same_task(identity, task) or not (known := _Known(folder)):
        return rows
    seen: list[Row] = []
    key = identity_digest(identity)

    def names() -> Iterator[str]:
        for row in islice(rows, LOOKED_AT):
            seen.append(row)
            if not isinstance(row, Unreadable):  # it may be read once it was mended: then it is another
                data = task.dump_item(row)
                yield hashlib.blake2b(data, digest_size=16, key=key).hexdigest()  # as `engine/feed.py` names it

    check_kin(names(), known, folder, what=what, make=make)
    return chain(seen, rows)


class _Known(Collection[str]):
    """The ids of a run's rows that could be read. A run that goes on meets the first of them first: only who is not
    among those has all of them read into memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids = self._read(FIRST)
        self._all = len(self._ids) < FIRST

    def __contains__(self, name: object) -> bool:
        if name in self._ids:
            return True
        if not self._all:
            self._ids, self._all = self._read(), True
        return name in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        if self._all:
            return len(self._ids)
        with schema.reading(self._folder) as reader:
            found = reader.execute("SELECT count(*) FROM rows WHERE item IS NOT NULL").fetchone()[0]
        return int(found)

    def _read(self, most: int = -1) -> set[str]:
        with schema.reading(self._folder) as reader:
            names = reader.execute("SELECT row_id FROM rows WHERE item IS NOT NULL ORDER BY ordinal LIMIT ?", (most,))
            return {name.partition(PARTED)[0] for (name,) in names}


def _identity(folder: Path) -> dict[str, Any]:
    """What shaped the run's requests; empty where there is none yet."""
    if not (folder / schema.DATABASE).exists():
        return {}
    with schema.reading(folder) as reader:
        return account.read_meta(reader, "identity") or {}


def _same_task(identity: dict[str, Any], task: Task[Any, Any]) -> bool:
    """Else the run is refused by what differs, which says more."""
    own = orjson.loads(orjson.dumps({"task": task.name, **task.identity}))
    return all(identity.get(key) == value for key, value in own.items())
