"""What can be done with a run folder that holds a run: look at it, take its corpus out, see what was set aside."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from smile_async.engine import account, schema
from smile_async.engine.lock import LOCK, is_locked
from smile_async.errors import RunMismatchError, SmileError, StoppedError, UsageError
from smile_async.filing import whole_file
from smile_async.task_note import DIALOGUE, check_dialogues, read_task_note

if TYPE_CHECKING:  # `smile status` needs none of this: half of its time
    from smile_async.corpus.card import Making
    from smile_async.corpus.formats import CorpusFormat, ExportReport, Record
    from smile_async.prompt.recipe import Recipe

CORPUS = "corpus.jsonl"
ASIDE = "set-aside.jsonl"
UNNAMED = "default"  # an endpoint without a name: the only one of its run
RECENT = 60.0  # seconds over which rates are taken

Files = Mapping[str, Callable[[sqlite3.Connection], Iterator[bytes]]]
"""Results of a run by their names in its folder, each made from the ledger."""


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run stands, read while it may be going on. Rates are replies and tokens a minute over the last minute;
    `expected` is about how many rows there will be while the source has not been read to its end. `task` is what was
    asked for; `go_on` says how to go on with a run of another task than dialogues, `files` names its results."""

    folder: Path
    state: str
    counts: account.Counts
    expected: int | None
    requests_per_minute: float
    tokens_per_minute: float
    seconds_left: float | None
    stopped_by: str = ""
    source: str = ""
    recipe: str = ""
    model: str = ""
    task: str = DIALOGUE
    go_on: str = ""
    files: Sequence[str] = ()
    remarks: account.Remarks = field(default_factory=account.Remarks)
    endpoints: Mapping[str, account.EndpointCounts] = field(default_factory=dict)
    changes: Sequence[account.LimitChange] = ()

    def as_json(self) -> dict[str, Any]:
        """The fields that programs may rely on."""
        counts = self.counts
        return {
            "run": str(self.folder),
            "task": self.task,
            "state": self.state,
            "reason": self.stopped_by,
            "source": self.source,
            "recipe": self.recipe,
            "model": self.model,
            "rows": {
                "total": counts.total,
                "accepted": counts.accepted,
                "set_aside": counts.set_aside,
                "pending": counts.pending,
                "total_is_exact": counts.exact,
                "expected": self.expected,
            },
            "reasons": dict(counts.reasons),
            "salvaged": self.remarks.salvaged,
            "amended": {
                step: {"replies": replies, "accepted": good} for step, (replies, good) in self.remarks.amended.items()
            },
            "attempts": counts.attempts,
            "failures": dict(counts.failures),
            "replies": counts.replies,
            "perhaps_billed": counts.perhaps_billed,
            "tokens": {"prompt": counts.prompt_tokens, "completion": counts.completion_tokens},
            "spend_usd": round(counts.spend_usd, 6),
            "perhaps_usd": round(counts.perhaps_usd, 6),
            "in_flight": counts.in_flight,
            "in_batches": counts.in_batches,
            "requests_per_minute": round(self.requests_per_minute, 1),
            "tokens_per_minute": round(self.tokens_per_minute, 1),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left),
            "money": {
                "settled_usd": round(counts.spend_usd, 6),
                "reserved_usd": round(counts.reserved_usd, 6),
                "perhaps_usd": round(counts.perhaps_usd, 6),
                "attempts": _money_by_attempts(counts),
            },
            "endpoints": {name or UNNAMED: _rounded(one) for name, one in self.endpoints.items()},
            "changes": [{**asdict(change), "endpoint": change.endpoint or UNNAMED} for change in self.changes],
        }


def _money_by_attempts(counts: account.Counts) -> dict[str, int]:
    """What became of the money for each attempt: every one is in one of these."""
    reserved = counts.in_flight + counts.in_batches
    refunded = counts.attempts - counts.replies - counts.perhaps_billed - reserved
    return {
        "settled": counts.replies,
        "refunded": refunded,
        "unknown": counts.perhaps_billed,
        "reserved": reserved,
    }


def _rounded(counts: account.EndpointCounts) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in asdict(counts).items()}


def read_status(folder: str | Path, *, now: float | None = None) -> RunStatus:
    """Raises `RunNotFoundError` when the folder holds no run."""
    folder, now = Path(folder), time.time() if now is None else now
    with schema.reading(folder) as reader:
        running = is_locked(folder)  # asked first: a run that ends meanwhile is not taken for one that was killed
        counts, endpoints = account.read_account(reader)
        changes = account.limit_changes(reader)
        expected = account.read_meta(reader, "expected_rows")
        stopped = account.read_meta(reader, "stopped") or {}
        asked = _asked(reader)
        running = running or is_locked(folder)  # and again: one that starts meanwhile was not killed either
        remarks = account.read_remarks(reader)
        since = _counted_from(account.read_meta(reader, "began") or 0.0, now)
        requests, tokens, ended = account.read_rates(reader, since, now)
    if not running and counts.in_flight:  # of a process that was killed: nobody knows what became of them
        counts = replace(
            counts,
            in_flight=0,
            perhaps_billed=counts.perhaps_billed + counts.in_flight,
            reserved_usd=counts.in_batches_usd,
            perhaps_usd=counts.perhaps_usd + counts.reserved_usd - counts.in_batches_usd,
        )
    done = counts.exact and counts.pending == 0
    left = max(
        (counts.total if counts.exact else max(expected or 0, counts.total)) - counts.accepted - counts.set_aside, 0
    )
    return RunStatus(
        folder=folder,
        state="running" if running else "done" if done else "stopped",
        counts=counts,
        expected=None if counts.exact else expected,
        requests_per_minute=requests * 60 / (now - since),
        tokens_per_minute=tokens * 60 / (now - since),
        seconds_left=left * (now - since) / ended if running and ended and left else None,
        stopped_by="" if running or done else stopped.get("reason", "killed"),
        remarks=remarks,
        endpoints=endpoints,
        changes=changes,
        **asked,
    )


def _counted_from(began: float, now: float) -> float:
    """The wall clock's time since which rates are taken: a minute, or as long as the process has lived. One that began
    in the future had its clock set back since."""
    return min(began, now - 1.0) if now - RECENT < began <= now else now - RECENT


def _asked(reader: sqlite3.Connection) -> dict[str, Any]:
    recipe, identity = account.read_meta(reader, "recipe") or {}, account.read_meta(reader, "identity") or {}
    note = read_task_note(reader)
    other = {} if note is None else {"task": note.name, "go_on": note.go_on, "files": note.files}
    return {
        **other,
        "source": account.read_meta(reader, "source") or "",
        "recipe": recipe.get("name", ""),
        "model": str(identity.get("model", "")),
    }


def recipe_of(folder: str | Path) -> "Recipe":
    """The recipe that the run was started with (or last judged by), as it was then."""
    from smile_async.prompt.recipe import Recipe

    with schema.reading(Path(folder)) as reader:
        check_dialogues(reader, Path(folder))
        return Recipe.model_validate(account.read_meta(reader, "recipe"))


def records(folder: str | Path) -> Iterator["Record"]:
    """The accepted rows in the source's order, one by one."""
    from smile_async.corpus.formats import Record
    from smile_async.dialogue_task import load_dialogue
    from smile_async.rows import Seed

    with schema.reading(Path(folder)) as reader:
        check_dialogues(reader, Path(folder))
        for row in account.result_rows(reader):
            seed = Seed.load(row.item)
            topic = "" if seed.topic is None else seed.topic.name
            yield Record(row.row_id, row.source_id, seed.pair, load_dialogue(row.value), row.flags, topic=topic)


def export_corpus(
    folder: str | Path,
    out: str | Path,
    format: "CorpusFormat",  # noqa: A002 - the word that users look for
    *,
    system_prompt: str | None = None,
    overwrite: bool = False,
) -> "ExportReport":
    """Write the accepted rows of a run in one of the formats that trainers read, in the source's order."""
    from smile_async.corpus.formats import RoleMap, write_corpus

    roles = RoleMap(*roles_of(folder))
    return write_corpus(records(folder), out, format, roles=roles, system_prompt=system_prompt, overwrite=overwrite)


def roles_of(folder: str | Path) -> tuple[str, str]:
    """The role that asks and the one that answers: the first two of the run's recipe."""
    first, second = list(recipe_of(folder).format.roles)[:2]
    return first, second


def making_of(folder: str | Path) -> "Making":
    """How the run made its dialogues, as a dataset's card tells it: no path, no key, no text."""
    from smile_async.corpus.card import Making

    recipe, status = recipe_of(folder), read_status(folder)
    with schema.reading(Path(folder)) as reader:
        identity = account.read_meta(reader, "identity") or {}
    told = {name: identity[name] for name in ("temperature", "top_p", "max_tokens") if identity.get(name) is not None}
    more = {"further fields": ", ".join(sorted(identity["extra"]))} if identity.get("extra") else {}
    counts, form = status.counts, recipe.format
    return Making(
        recipe=recipe.name,
        version=recipe.version,
        title=recipe.title,
        language=recipe.language,
        model=status.model,
        source=Path(status.source).name,
        sampling=told | more,
        rules=[code for code, applied in form.rules.model_dump(by_alias=True).items() if applied],
        min_turns=form.min_turns,
        rows=counts.total,
        accepted=counts.accepted,
        set_aside=counts.set_aside,
        reasons=dict(counts.reasons),
    )


def write_results(folder: Path, files: Files | None = None) -> None:
    """Write a run's results into its folder; `files` None: those of dialogues, `corpus.jsonl` (accepted) and
    `set-aside.jsonl` (with reason and last reply).

    Straight from the ledger's bytes: what was stored as JSON is not read and written again. Left alone when a process
    is at work on the run, which will write them itself.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, mode=0o600)
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        return
    try:
        files = CORPUS_FILES if files is None else files
        for left in [left for name in files for left in folder.glob(f".{name}.*")]:
            left.unlink()  # of a process that was killed while it wrote
        with schema.reading(Path(folder)) as reader:
            for name, chunks in files.items():
                _replace(folder / name, chunks(reader))
    finally:
        lock.release()


def write_what_there_is(folder: Path, notify: Callable[[str], None], files: Files | None = None) -> None:
    """The results of a run that stopped. When they cannot be written either, what stopped it stays the news."""
    if not (folder / schema.DATABASE).exists():
        return
    try:
        write_results(folder, files)
    except SmileError as error:
        notify(str(error))


def _accepted_lines(reader: sqlite3.Connection) -> Iterator[bytes]:
    recipe = account.read_meta(reader, "recipe") or {}
    if recipe.get("needs") == "topic":
        yield from _topic_lines(reader)
        return
    for row_id, source_id, value, note in account.result_values(reader):
        flags = b',"flags":' + orjson.dumps(note.split()) if note else b""
        yield b'{"id":"%b","questionID":%b,"dialogue":%b%b}\n' % (
            row_id.encode(),
            orjson.dumps(source_id),
            value,
            flags,
        )


def _topic_lines(reader: sqlite3.Connection) -> Iterator[bytes]:
    """With the topic that was drawn for the row: without it nobody knows what was asked for."""
    from smile_async.rows import Seed

    for row in account.result_rows(reader):
        topic = Seed.load(row.item).topic
        line = {"id": row.row_id, "topic": None if topic is None else topic.name, "dialogue": orjson.loads(row.value)}
        yield orjson.dumps({**line, "flags": row.flags} if row.flags else line, option=orjson.OPT_APPEND_NEWLINE)


def aside_lines(reader: sqlite3.Connection) -> Iterator[bytes]:
    for row in account.set_aside_rows(reader):
        line = {"id": row.row_id, "questionID": row.source_id, "reason": row.reason, "detail": row.detail}
        yield orjson.dumps({**line, "reply": row.text}, option=orjson.OPT_APPEND_NEWLINE)


CORPUS_FILES: Files = {CORPUS: _accepted_lines, ASIDE: aside_lines}


def _replace(path: Path, lines: Iterator[bytes]) -> None:
    """The file anew: a reader never sees half of it."""
    try:
        with whole_file(path, overwrite=True) as file:
            file.writelines(lines)
    except RunMismatchError:  # of what is to be written, not of the disk
        raise
    except (OSError, UsageError, sqlite3.Error) as error:  # a full disk keeps SQLite from reading, too
        why = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
        raise StoppedError(
            f"{path} cannot be written: {why}",
            reason="disk",
            hint=f"Nothing is lost, the ledger holds it: make room, then `smile resume {path.parent}`.",
        ) from error
