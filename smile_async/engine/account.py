"""Reading a ledger: what a run holds, row by row or in sums. Works while another process writes to it."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from smile_async.engine import sums
from smile_async.engine.kinds import PERHAPS_BILLED, FailureKind

ACCEPTED = "accepted"
SET_ASIDE = "set-aside"
SALVAGED = "salvaged:"
PAGE = 256  # rows that are read at once


@dataclass(frozen=True, slots=True)
class Counts:
    """A run in numbers. `accepted + set_aside + pending == total`: every row ends somewhere.

    `exact`: the source was read to its end, so that `total` is all of it. `perhaps_billed`: attempts without a reply
    that the server may have charged for, `perhaps_usd` what these cost at most, on top of `spend_usd`; `reserved_usd`:
    what those in flight and in batches may cost at most.
    """

    total: int = 0
    exact: bool = False
    accepted: int = 0
    set_aside: int = 0
    pending: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    """Attempts that brought no reply, by kind."""
    replies: int = 0
    perhaps_billed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    spend_usd: float = 0.0
    perhaps_usd: float = 0.0
    reserved_usd: float = 0.0
    in_flight: int = 0
    in_batches: int = 0
    """Pending rows that wait in a batch: nobody else asks them meanwhile."""
    in_batches_usd: float = 0.0
    """The part of `reserved_usd` that these may cost."""


@dataclass(frozen=True, slots=True)
class PendingRow:
    """A row that was read and has not ended; `replies` and `failures` since the last `smile retry`."""

    ordinal: int
    row_id: str
    item: bytes
    replies: int
    failures: int


@dataclass(frozen=True, slots=True)
class ResultRow:
    """An accepted row, in the source's order."""

    row_id: str
    source_id: str
    item: bytes
    value: bytes
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetAsideRow:
    """A row that was set aside, with the text of its last reply (empty when none came)."""

    row_id: str
    source_id: str
    item: bytes | None
    reason: str
    detail: str
    text: str


@dataclass(frozen=True, slots=True)
class KeptReply:
    """A reply that was paid for, as it came."""

    ordinal: int
    attempt: int
    item: bytes
    text: str
    finish_reason: str | None
    refusal: str | None


LOST = "unknown"  # verdict of an attempt whose answer a crash or a second Ctrl-C took
PERHAPS_BILLED_KINDS = frozenset({*PERHAPS_BILLED, LOST})
MODELS = "models:"  # with an endpoint's name: the key under which the models that it named are noted


@dataclass(frozen=True, slots=True)
class EndpointCounts:
    """What one endpoint did; `models` are those that its replies named."""

    attempts: int = 0
    replies: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    spend_usd: float = 0.0
    perhaps_usd: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict)
    models: tuple[str, ...] = ()


def read_counts(connection: sqlite3.Connection) -> Counts:
    """Sums over the slim tables; `in_flight` is what the writer has noted as under way."""
    return read_account(connection)[0]


def read_endpoints(connection: sqlite3.Connection) -> dict[str, EndpointCounts]:
    """By endpoint, in the order of their names."""
    return read_account(connection)[1]


def read_account(connection: sqlite3.Connection) -> tuple[Counts, dict[str, EndpointCounts]]:
    """The run's counts, and those of each endpoint by its name: one walk over the attempts for both."""
    connection.execute("BEGIN")  # one snapshot, so that the sums agree
    try:
        total = _one(connection, "SELECT coalesce(max(ordinal) + 1, 0) FROM rows")
        ends, made = sums.rows_ended(connection), sums.attempts_made(connection)
        flights = connection.execute("SELECT count(*), total(ceiling_usd) FROM flights").fetchone()
        batched = connection.execute("SELECT count(*), total(ceiling_usd) FROM batched").fetchone()
        exact = _one(connection, "SELECT count(*) FROM meta WHERE key='source_rows' AND value <> 'null'") == 1
        models = connection.execute("SELECT key, value FROM meta WHERE key GLOB ?", (f"{MODELS}*",)).fetchall()
    finally:
        connection.execute("COMMIT")
    named = {key.removeprefix(MODELS): tuple(orjson.loads(value)) for key, value in models}
    endpoints = {
        name: _endpoint([one for one in made if one.endpoint == name], named.get(name, ()))
        for name in sorted({one.endpoint for one in made})
    }
    return _counts(total, ends, made, flights, batched, exact=exact), endpoints


def _endpoint(made: Sequence[sums.Sum], models: tuple[str, ...]) -> EndpointCounts:
    return EndpointCounts(
        attempts=sum(one.attempts for one in made),
        replies=sum(one.attempts for one in made if one.paid),
        prompt_tokens=int(sum(one.prompt_tokens for one in made)),
        completion_tokens=int(sum(one.completion_tokens for one in made)),
        spend_usd=sum((one.cost_usd for one in made if one.paid), 0.0),
        perhaps_usd=sum((one.cost_usd for one in made if not one.paid), 0.0),
        failures=_failures(made),
        models=models,
    )


def _failures(made: Iterable[sums.Sum]) -> dict[str, int]:
    """Attempts that brought no reply by kind, the most frequent first."""
    failures: Counter[str] = Counter()
    for one in made:
        if not one.paid:
            failures[one.verdict] += one.attempts
    return dict(failures.most_common())


def _counts(
    total: int,
    ends: list[tuple[str, str, int]],
    made: list[sums.Sum],
    flights: tuple[int, float],
    batched: tuple[int, float],
    *,
    exact: bool,
) -> Counts:
    (in_flight, in_flight_usd), (in_batches, in_batches_usd) = flights, batched
    accepted = sum(rows for state, _, rows in ends if state == ACCEPTED)
    set_aside = sum(rows for state, _, rows in ends if state == SET_ASIDE)
    every = _endpoint(made, ())
    return Counts(
        total=total,
        exact=exact,
        accepted=accepted,
        set_aside=set_aside,
        pending=total - accepted - set_aside,
        reasons={reason: rows for state, reason, rows in sorted(ends, key=lambda end: -end[2]) if state == SET_ASIDE},
        attempts=every.attempts + in_flight + in_batches,
        failures=every.failures,
        replies=every.replies,
        perhaps_billed=sum(count for kind, count in every.failures.items() if kind in PERHAPS_BILLED_KINDS),
        prompt_tokens=every.prompt_tokens,
        completion_tokens=every.completion_tokens,
        spend_usd=every.spend_usd,
        perhaps_usd=every.perhaps_usd,
        reserved_usd=in_flight_usd + in_batches_usd,
        in_batches_usd=in_batches_usd,
        in_flight=in_flight,
        in_batches=in_batches,
    )


def read_rates(connection: sqlite3.Connection, since: float, now: float) -> tuple[int, float, int]:
    """Replies, their tokens, and rows that ended, of answers that came since the wall clock's time `since`; not what a
    clock that was set back left in the future."""
    replies, tokens, ended = connection.execute(
        """SELECT total(a.paid), total(iif(a.paid, a.prompt_tokens + a.completion_tokens, 0)), count(o.ordinal)
           FROM attempts a LEFT JOIN outcomes o ON o.ordinal = a.ordinal AND o.attempt = a.attempt
           WHERE a.sent_at + a.took > ? AND a.sent_at <= ?""",
        (since, now),
    ).fetchone()
    return int(replies), tokens, ended


@dataclass(frozen=True, slots=True)
class Remarks:
    """`flags`: accepted rows by each flag they bear. `amended`: replies to requests that had been changed after a
    rejection, by how they were changed, and how many of these replies were accepted."""

    flags: Mapping[str, int] = field(default_factory=dict)
    amended: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def salvaged(self) -> dict[str, int]:
        """Accepted rows by each step that mended them (flags `salvaged:STEP`), the most frequent first."""
        steps = {flag.removeprefix(SALVAGED): rows for flag, rows in self.flags.items() if flag.startswith(SALVAGED)}
        return dict(sorted(steps.items(), key=lambda step: -step[1]))


def read_remarks(connection: sqlite3.Connection) -> Remarks:
    """Counts over rows that bear a flag and replies to changed requests: both are few."""
    flags: dict[str, int] = {}
    noted = connection.execute(
        "SELECT note, count(*) FROM outcomes WHERE state = ? AND note <> '' GROUP BY note", (ACCEPTED,)
    )
    for note, rows in noted.fetchall():
        for flag in note.split():
            flags[flag] = flags.get(flag, 0) + rows
    asked = connection.execute(
        """SELECT a.step, count(*), total(o.state = ?) FROM amended a JOIN attempts t ON t.attempt = a.attempt
           LEFT JOIN outcomes o ON o.ordinal = t.ordinal AND o.attempt = a.attempt GROUP BY a.step""",
        (ACCEPTED,),
    )
    return Remarks(flags, {step: (replies, int(good)) for step, replies, good in asked.fetchall()})


NAMED = "named anew"  # the reason of a limit that the user named otherwise than for the process before


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A limit that was changed while the run went on; `at` is the wall clock's time, `before` None: none known."""

    at: float
    endpoint: str
    what: str
    before: float | None
    after: float | None
    reason: str


def limit_changes(connection: sqlite3.Connection) -> list[LimitChange]:
    """In the order in which they happened."""
    found = connection.execute("SELECT at, endpoint, what, before, after, reason FROM changes ORDER BY rowid")
    return [LimitChange(*row) for row in found]


Sent = tuple[float, float, float, str]
"""When an attempt was sent (wall clock), tokens of its prompt and completion, and the endpoint."""


def sent_since(connection: sqlite3.Connection, since: float, now: float) -> list[Sent]:
    """The attempts since the wall clock's time `since`, the oldest first.

    Refused ones took no tokens, others without a count are taken for the mean. Read backwards from the last. What lies
    in the future was sent before the wall clock was set back: the last of it is taken for sent just now, the others for
    so much older, so that limits hold over the step.
    """
    from smile_async.engine.estimate import FIRST_COMPLETION  # only here: it is more than a look at a run needs

    newest: float | None = None
    found: list[tuple[float, int | None, int | None, str, bool]] = []
    rows = connection.execute(
        "SELECT sent_at, prompt_tokens, completion_tokens, endpoint, verdict = ? FROM attempts ORDER BY attempt DESC",
        (str(FailureKind.RATE_LIMITED),),
    )
    for told, *rest in rows:
        sent_at = told
        if told > now:
            newest = told if newest is None else newest
            sent_at = now - (newest - told)
        elif told < since:
            break
        if since <= sent_at <= now:
            found.append((sent_at, *rest))
    rows.close()
    counted = [(prompt, completion) for _, prompt, completion, _, _ in found if prompt or completion]
    means = tuple(sum(tokens) / len(counted) for tokens in zip(*counted, strict=True)) or (0.0, FIRST_COMPLETION)
    return sorted(
        (at, *((0.0, 0.0) if refused else means if prompt is None else (float(prompt), float(completion or 0))), name)
        for at, prompt, completion, name, refused in found
    )


def last_attempt(connection: sqlite3.Connection) -> int:
    """The highest number that an attempt has, those in batches included; 0 when there is none."""
    return _one(
        connection,
        "SELECT max((SELECT coalesce(max(attempt), 0) FROM attempts), (SELECT coalesce(max(attempt), 0) FROM batched))",
    )


def read_meta(connection: sqlite3.Connection, key: str) -> Any:
    """A value that was noted about the run; None when it was not."""
    found = connection.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
    return None if found is None else orjson.loads(found[0])


def pending_rows(connection: sqlite3.Connection, *, page: int = PAGE) -> Iterator[PendingRow]:
    """Rows that were read, have no outcome and wait in no batch, in order.

    The list is made once, in a temporary table: to make it takes a walk over all attempts.
    """
    since = read_meta(connection, "budget_from") or 0
    connection.execute("DROP TABLE IF EXISTS temp.waiting")
    connection.execute("CREATE TEMP TABLE waiting (ordinal INTEGER PRIMARY KEY, replies REAL, failures REAL)")
    connection.execute(
        """INSERT INTO temp.waiting SELECT r.ordinal, total(a.paid), total(a.charged)
           FROM rows r LEFT JOIN outcomes o ON o.ordinal = r.ordinal
                       LEFT JOIN attempts a ON a.ordinal = r.ordinal AND a.attempt >= ?
           WHERE o.ordinal IS NULL AND r.item IS NOT NULL AND r.ordinal NOT IN (SELECT ordinal FROM batched)
           GROUP BY r.ordinal""",
        (since,),
    )
    rows = _paged(
        connection,
        """SELECT w.ordinal, r.row_id, r.item, w.replies, w.failures FROM temp.waiting w
           JOIN rows r ON r.ordinal = w.ordinal WHERE w.ordinal > ? ORDER BY w.ordinal LIMIT ?""",
        page,
    )
    for ordinal, row_id, item, replies, failures in rows:
        yield PendingRow(ordinal, row_id, bytes(item), int(replies), int(failures))


def _paged(connection: sqlite3.Connection, statement: str, page: int) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement that begin with their ordinals; it takes the last one that was had, and how many to give.

    By pages: an open cursor would keep the ledger's log from being folded back for as long as the caller takes.
    """
    last = -1
    while True:
        rows = connection.execute(statement, (last, page)).fetchall()
        yield from rows
        if len(rows) < page:
            return
        last = rows[-1][0]


def result_rows(connection: sqlite3.Connection, *, page: int = PAGE) -> Iterator[ResultRow]:
    """Accepted rows with their values, in the source's order."""
    rows = _paged(
        connection,
        """SELECT s.ordinal, r.row_id, r.source_id, r.item, s.value, o.note
           FROM results s CROSS JOIN rows r ON r.ordinal = s.ordinal CROSS JOIN outcomes o ON o.ordinal = s.ordinal
           WHERE o.state = 'accepted' AND s.ordinal > ? ORDER BY s.ordinal LIMIT ?""",  # CROSS keeps the tables' order
        page,
    )
    for _, row_id, source_id, item, value, note in rows:
        yield ResultRow(row_id, source_id, bytes(item), bytes(value), tuple(note.split()))


def result_values(connection: sqlite3.Connection, *, page: int = PAGE) -> Iterator[tuple[str, str, bytes, str]]:
    """Row id, source id, value and flags of the accepted rows, in the source's order, without their items."""
    rows = _paged(
        connection,
        """SELECT s.ordinal, r.row_id, r.source_id, s.value, o.note
           FROM results s CROSS JOIN rows r ON r.ordinal = s.ordinal CROSS JOIN outcomes o ON o.ordinal = s.ordinal
           WHERE o.state = 'accepted' AND s.ordinal > ? ORDER BY s.ordinal LIMIT ?""",  # CROSS keeps the tables' order
        page,
    )
    for _, row_id, source_id, value, note in rows:
        yield row_id, source_id, bytes(value), note


def set_aside_rows(connection: sqlite3.Connection, *, page: int = PAGE) -> Iterator[SetAsideRow]:
    """Rows that were set aside, in the source's order."""
    rows = _paged(
        connection,
        """SELECT o.ordinal, r.row_id, r.source_id, r.item, o.reason, coalesce(nullif(o.note, ''), a.detail, ''),
                  coalesce(p.text, '')
           FROM outcomes o CROSS JOIN rows r ON r.ordinal = o.ordinal
                LEFT JOIN attempts a ON a.attempt = o.attempt
                LEFT JOIN replies p ON p.attempt = o.attempt
           WHERE o.state = 'set-aside' AND o.ordinal > ? ORDER BY o.ordinal LIMIT ?""",
        page,
    )
    for _, row_id, source_id, item, reason, detail, text in rows:
        yield SetAsideRow(row_id, source_id, None if item is None else bytes(item), reason, detail, text)


def kept_replies(connection: sqlite3.Connection) -> Iterator[KeptReply]:
    """Every reply that arrived whole, by row and in the order of asking."""
    rows = connection.execute(
        """SELECT r.ordinal, p.attempt, r.item, p.text, p.finish_reason, p.refusal
           FROM replies p JOIN rows r ON r.ordinal = p.ordinal WHERE p.text IS NOT NULL
           ORDER BY r.ordinal, p.attempt"""
    )
    for ordinal, attempt, item, text, finish_reason, refusal in rows:
        yield KeptReply(ordinal, attempt, bytes(item), text, finish_reason, refusal)


def _one(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])
