"""What must hold after every process, and at the end: the ledger against the server's own log.

Each check fails with `code: what is wrong`, so that a seed can say which invariant it broke.
"""

# ruff: noqa: PT018 (an invariant is one sentence)

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from smile_async.engine.events import AttemptFailed, Event, ReplyRejected, RowAccepted, RowSetAside
from smile_async.engine.feed import BAD_ROW, DUPLICATE
from smile_async.engine.job import FailureKind, Usage
from smile_async.engine.run import RunReport
from smile_async.engine.window import STRIKES
from smile_async.settings import MOST_IN_FLIGHT, Prices
from tests.simulation.asking import check_orders, check_what_is_asked
from tests.simulation.batches import Office, check_batches
from tests.simulation.books import Attempt, Books, Flight
from tests.simulation.process import Process
from tests.simulation.scenario import DAY, MINUTE, NOTHING_FITS, UNREADABLE, Life, Scenario, Site
from tests.simulation.server import BUG, GONE, REPLY, Send
from tests.simulation.work import judge

UNSAVED = 0.0101  # seconds: a commit waits a hundredth of a second for company; what is younger a kill may take
CENT = 1e-9  # US dollars: sums of floats
ACCEPTED, SET_ASIDE, UNKNOWN, TASK_ERROR = "accepted", "set-aside", "unknown", "task-error"
TOKENS_ROUNDED = 0.01  # of the limit: a prompt's tokens are estimated by its characters
FEW = 10  # answers
TOKENS_OVER = 0.25  # of the limit: estimates of answers whose length is drawn may be so wrong in a small window


Record = Attempt | Flight


@dataclass(slots=True)
class Ending:
    """How a process ended: `killed`, `returned`, `cancelled` or `raised`."""

    how: str
    process: Process
    told: list[Event]
    most_under_way: int
    report: RunReport | None = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Before:
    """How things stood before a process: `closed` are the rows that it may not ask."""

    number: int
    life: Life
    books: Books
    sends: int
    closed: frozenset[int]


@dataclass
class Auditor:
    """Checks one seed."""

    scenario: Scenario
    log: list[Send]
    office: Office | None = None
    steps: list[int] = field(default_factory=list)  # numbers of lives before which the wall clock was moved
    forgot: bool = False  # batches were given up: what they brought may be unknown

    def before(self, life: Life, books: Books, number: int) -> Before:
        if life.clock_step:
            self.steps.append(number)
        closed = frozenset(
            ordinal for ordinal, end in books.outcomes.items() if not _may_reopen(end.state, end.reason, life)
        )
        waiting = {waiting.ordinal for waiting in books.batched.values()}
        return Before(number, life, books, len(self.log), closed | waiting)

    def after(self, before: Before, books: Books, ending: Ending) -> None:
        """All that must hold when the process has ended, however it did."""
        self._check_history(before, books, ending)
        check_orders(before.life, ending.process.began, self.log[before.sends :])
        if before.life.batch:
            assert len(self.log) == before.sends, "asked-again: who works on batches has asked row by row"
        else:
            self._check_requests(before, books, ending)
        if self.office is not None:
            self.forgot |= "forget" in before.life.batch
            hard = self._hard_ceilings()
            check_batches(before.books, books, self.office, hard_ceilings=hard, forgot=self.forgot)
        self._check_rows(books)
        self._check_replicas(books)
        self._check_budgets(before, books)
        _check_told(books, ending.told)
        if ending.report is not None:
            _check_report(books, ending.report, len(self.scenario.rows[: before.life.upto]))
        told = [what for _, what in before.life.steering if isinstance(what, int)]
        most = max([before.life.concurrency or MOST_IN_FLIGHT, *told])
        assert ending.most_under_way <= most, f"concurrency: {ending.most_under_way} in flight at once, {most} allowed"

    def at_the_end(self, books: Books, ending: Ending) -> None:
        """All that must hold when the run is done."""
        report = ending.report
        hopeless = any(site.server["limits"].get("tokens") == NOTHING_FITS for site in self.scenario.sites)
        assert report is not None and (report.state == "done" or hopeless), (
            f"not-done: after the last process: {report and (report.state, report.reason, report.message)}"
        )
        if report.state == "done":
            self._check_sums(books)
        self._check_windows()

    # After each process -----------------------------------------------------------------------------------------

    def _check_history(self, before: Before, books: Books, ending: Ending) -> None:
        """What was recorded stays as it was; what was in flight at a kill is unknown now, and costs what it may."""
        old = before.books
        for number, attempt in old.attempts.items():
            assert books.attempts.get(number) == attempt, f"history: attempt {number} was changed or lost"
        for number, reply in old.replies.items():
            assert books.replies.get(number) == reply, f"history: the reply of attempt {number} was changed or lost"
        for ordinal, row in old.rows.items():
            assert books.rows.get(ordinal) == row, f"history: row {ordinal} was changed or lost"
        for number, flight in old.flights.items():
            if number not in books.flights:
                found = books.attempts.get(number)
                assert found and (found.verdict, found.cost_usd) == (UNKNOWN, flight.cost_usd), (
                    f"history: attempt {number} was in flight at a kill and is now {found and found.verdict}"
                )
        if ending.how != "killed" and ending.process.trouble_at is None and books.attempts != old.attempts:
            assert not books.flights, f"flights: {len(books.flights)} are left after a process that {ending.how}"

    def _check_requests(self, before: Before, books: Books, ending: Ending) -> None:
        """Every request of this process against its record, row by row, in the order of asking."""
        sends: dict[str, list[Send]] = defaultdict(list)
        for send in self.log[before.sends :]:
            sends[send.row].append(send)
        records: dict[int, list[Record]] = defaultdict(list)
        found: list[Record] = [*books.attempts.values(), *books.flights.values()]
        for record in sorted(found, key=lambda record: record.number):
            if record.number > before.books.last:
                records[record.ordinal].append(record)
        words = {word: ordinal for ordinal, (word, _) in sorted(books.rows.items(), reverse=True) if word}
        young = _young(ending)
        for word, asked in sends.items():
            ordinal = words.get(word, -1)
            assert ordinal not in before.closed, f"asked-again: row {ordinal} had ended and was asked again"
            self._check_row(ordinal, asked, records.pop(ordinal, []), young, books, before.life)
        for ordinal, left in records.items():
            self._check_unsent(ordinal, left, ending)

    def _check_row(
        self, ordinal: int, asked: list[Send], records: list[Record], young: float, books: Books, life: Life
    ) -> None:
        rules = books.rules
        ended = 0.0
        steps = check_what_is_asked(self.scenario, rules, f"row {ordinal}, process {asked[0].life}", asked)
        for place, send in enumerate(asked):
            where = f"row {ordinal}, request {place + 1} of process {send.life}"
            assert send.got, f"left-behind: {where}: the process ended and had not given it up"
            assert send.at >= ended - CENT, f"asked-twice: {where}: sent while the one before was under way"
            ended = send.ended
            if place >= len(records):
                raise AssertionError(f"unrecorded: {where}: sent and answered ({send.got}), without a record")
            self._check_record(where, send, records[place], young, rules, life)
            noted = steps[place] if send.got == REPLY and isinstance(records[place], Attempt) else ""
            step = books.amended.get(records[place].number, "")
            assert step == noted, f"amended: {where}: noted as {step or 'plain'}, was {noted or 'plain'}"
            final = send.got == REPLY and not judge(rules, send.text, send.finish_reason, send.refusal)
            broke = isinstance(found := records[place], Attempt) and found.verdict == TASK_ERROR
            assert not final or broke or place == len(asked) - 1, f"asked-twice: {where}: its reply was good"
        for record in records[len(asked) :]:
            assert isinstance(record, Flight) or record.verdict == UNKNOWN, (
                f"invented: row {ordinal}: attempt {record.number} ({record.verdict}) was never sent"
            )

    def _check_record(self, where: str, send: Send, record: Record, young: float, rules: str, life: Life) -> None:
        number, prices = record.number, self._prices[send.endpoint]
        assert record.endpoint == send.endpoint, (
            f"endpoint: {where}: {send.endpoint!r}, recorded as {record.endpoint!r}"
        )
        if isinstance(record, Flight):
            known = send.got not in {GONE, BUG} and send.ended_awake < young
            assert not known, f"forgotten: {where}: attempt {number} brought {send.got} and is still noted as in flight"
        elif send.got == REPLY:
            code = judge(rules, send.text, send.finish_reason, send.refusal) or ACCEPTED
            wanted = {code, TASK_ERROR} if life.accept_breaks else {code}
            assert record.paid and record.verdict in wanted, (
                f"verdict: {where}: attempt {number} brought a reply ({code}), recorded as {record.verdict}"
            )
            assert send.usage is not None
            tokens = (send.usage.prompt_tokens, send.usage.completion_tokens)
            assert (record.prompt_tokens, record.completion_tokens) == tokens, (
                f"tokens: {where}: attempt {number} took {tokens}, recorded as "
                f"{record.prompt_tokens, record.completion_tokens}"
            )
            cost = prices.cost(*tokens)
            assert abs(record.cost_usd - cost) < CENT, f"cost: {where}: {cost} charged, {record.cost_usd} recorded"
            return
        else:
            wanted = {UNKNOWN} if send.got in {GONE, BUG} else {send.got}
            assert not record.paid and record.verdict in wanted, (
                f"verdict: {where}: attempt {number} brought {send.got}, recorded as {record.verdict}"
            )
        if send.billed is not None and self._hard_ceilings():
            cost = self._charged(send)
            assert record.cost_usd >= cost - CENT, (
                f"ceiling: {where}: attempt {number} ({send.got}) may have cost {record.cost_usd}, {cost} was charged"
            )

    def _check_unsent(self, ordinal: int, records: Iterable[Record], ending: Ending) -> None:
        """Attempts that never reached the network: given up before their first step, or the process was killed."""
        for record in records:
            unknown = isinstance(record, Flight) or record.verdict == UNKNOWN
            given_up = ending.how != "returned" or (ending.report and ending.report.reason == "interrupted")
            assert unknown and given_up, f"invented: row {ordinal}: attempt {record.number} was never sent"

    def _check_rows(self, books: Books) -> None:
        """Outcomes, values and replies agree, by the rules that the run is judged by now."""
        rules = books.rules
        for ordinal, outcome in books.outcomes.items():
            assert ordinal in books.rows, f"outcome: of row {ordinal}, which was never read"
            if outcome.state == ACCEPTED:
                reply = books.replies.get(outcome.attempt or 0)
                assert reply and reply.ordinal == ordinal, f"outcome: row {ordinal} was accepted without its reply"
                assert books.results.get(ordinal) == reply.text, (
                    f"value: row {ordinal} holds another text than its reply"
                )
        for number, reply in books.replies.items():
            if judge(rules, reply.text, reply.finish_reason, reply.refusal):
                continue
            end = books.outcomes.get(reply.ordinal)
            assert (end and end.state == ACCEPTED) or books.attempts[number].verdict == TASK_ERROR, (
                f"wasted: row {reply.ordinal} had a good reply (attempt {number}) and is {end or 'pending'}"
            )
        for number, attempt in books.attempts.items():
            assert (attempt.paid == 1) == (number in books.replies), f"reply: attempt {number} was paid and is not kept"

    def _check_budgets(self, before: Before, books: Books) -> None:
        """No row beyond its replies and failures since it was last given new ones; no money beyond the budget."""
        since = books.meta.get("budget_from") or 0
        replies, failures = Counter[int](), Counter[int]()
        for attempt in books.attempts.values():
            if attempt.number >= since:
                replies[attempt.ordinal] += attempt.paid and attempt.verdict != TASK_ERROR
                failures[attempt.ordinal] += attempt.charged
        most = self.scenario.retry["max_attempts"]
        assert most is None or not replies or max(replies.values()) <= most, (
            f"attempts: {max(replies.values())} of {most}"
        )
        most = self.scenario.retry["max_failures"]
        assert not failures or max(failures.values()) <= most, f"failures: {max(failures.values())} of {most}"
        budget = self.scenario.budget_usd
        if budget is not None and self._hard_ceilings() and before.number <= len(self.scenario.lives):
            spent = sum(self._charged(send) for send in self.log) + (self.office.charged() if self.office else 0.0)
            assert spent <= budget + CENT, f"budget: {spent:.6f} of {budget:.6f} US dollars were charged"

    def _check_replicas(self, books: Books) -> None:
        """A replica that is killed costs no row while another is up: none is set aside for nothing but its silence."""
        if all(site.outages for site in self.scenario.sites) or self.scenario.retry["max_failures"] < 2:
            return
        failed = defaultdict[int, set[str]](set)
        for attempt in books.attempts.values():
            if attempt.number >= (books.meta.get("budget_from") or 0) and attempt.charged:
                failed[attempt.ordinal].add(attempt.verdict)
        for ordinal, end in books.outcomes.items():
            assert end.state != SET_ASIDE or failed[ordinal] != {str(FailureKind.CONNECT)}, (
                f"replica: row {ordinal} was set aside because one of {len(self.scenario.sites)} servers was down"
            )

    def _hard_ceilings(self) -> bool:
        """Whether what a request costs at most can be told before."""
        return self.scenario.max_tokens is not None and self.scenario.even

    @cached_property
    def _prices(self) -> dict[str, Prices]:
        return {site.name: prices_of(site) or Prices() for site in self.scenario.sites}

    def _charged(self, send: Send) -> float:
        """US dollars, by the server's own count."""
        usage = send.billed or Usage(0, 0)
        return self._prices[send.endpoint].cost(usage.prompt_tokens, usage.completion_tokens)

    # At the end -------------------------------------------------------------------------------------------------

    def _check_sums(self, books: Books) -> None:
        """Accepted and set aside make up the input; every place in the source has one row."""
        rows = self.scenario.rows
        places = Counter(position for _, position in books.rows.values())
        assert places == Counter(range(len(rows))), f"rows: {len(books.rows)} rows for {len(rows)} of the source"
        assert books.outcomes.keys() == books.rows.keys(), "ends: rows without an end in a run that is done"
        reasons = Counter(end.reason for end in books.outcomes.values() if end.state == SET_ASIDE)
        bad = sum(row.startswith(UNREADABLE) for row in rows)
        same = len(rows) - bad - len({row for row in rows if not row.startswith(UNREADABLE)})
        assert (reasons[BAD_ROW], reasons[DUPLICATE]) == (bad, same), (
            f"sums: {bad} unreadable and {same} repeated rows, set aside: {dict(reasons)}"
        )

    def _check_windows(self) -> None:
        """No minute with more requests or tokens than the client was told, as the server saw them arrive.

        What lies before a step of the wall clock is left out, and what left late.
        """
        for site in self.scenario.sites:
            log = [send for send in self.log if send.endpoint == site.name]
            seen = [send for send in log if send.arrived is not None and not send.late]
            seen.sort(key=lambda send: (send.life, send.arrived))
            for name, per_minute in site.quota.items():
                what, _, period = name.partition("_per_")
                seconds = DAY if period == "day" else site.quota.get("window", MINUTE)
                if what == "requests" or (period and self._tokens_are_told_truly(site)):
                    limit = per_minute if period == "day" else per_minute * seconds / MINUTE
                    self._check_window(site, what, limit, seconds, seen)
            if not any(send.late for send in log):
                self._check_refusals(site, seen)

    def _tokens_are_told_truly(self, site: Site) -> bool:
        """Not where the server charges `max_tokens`; nor where answers time out: only the short ones are learned of."""
        late = any(send.got == FailureKind.TIMEOUT for send in self.log)
        return site.server["limits"]["charge"] == "actual" and not late

    def _check_window(self, site: Site, what: str, limit: float, seconds: float, seen: list[Send]) -> None:
        limits = site.server["limits"]
        # Where headers tell what remains, the server's count is the one that is kept to: it leaves out what it refused or
        # failed, and it may be read as that of a bucket. Then a wrong reading has to end after some refusals.
        bucket = limits["headers"] and seconds == limits["window"]
        sure = self._sure and seconds == MINUTE
        if what != "requests" and not sure and limit < FEW * self.scenario.length[1]:
            return  # a mean says little about a window that holds only a few answers
        law, life = (_Bucket if bucket else _Sliding), 0
        over = 1.0 if what == "requests" else 1.0 + (TOKENS_ROUNDED if sure else TOKENS_OVER)
        window: _Bucket | _Sliding = law(limit * over, seconds)
        anew = [outage.begin + outage.seconds for outage in site.outages if outage.forgets]
        for send in seen:
            assert send.arrived is not None
            amount = AMOUNTS[what](send.charge)
            if bucket and not send.charge.total:
                continue
            restarted = bucket and any(window.at < at <= send.arrived for at in anew)
            if restarted or any(life < step <= send.life for step in self.steps):
                window = law(limit * over, seconds)
            life = send.life
            excess = window.take(send.arrived, amount)
            assert excess <= 0 or amount > limit, (
                f"window: {excess:g} {what} too many at {send.arrived:.3f} (endpoint {site.name!r}, process {life}),"
                f" {limit:g} in {seconds:g} s allowed"
            )

    def _check_refusals(self, site: Site, seen: list[Send]) -> None:
        """Who was told the limit of requests is refused for it three times at most: then a bucket is none."""
        limits = site.server["limits"]
        told, window = site.quota.get("requests_per_minute"), site.quota.get("window", MINUTE)
        if (
            told is None
            or self.steps
            or told * window / MINUTE > limits["requests"]
            or "requests_per_day" in site.quota
        ):
            return
        refused = Counter(send.life for send in seen if send.refused == "requests")
        assert not refused or max(refused.values()) <= (STRIKES if limits["headers"] else 0), (
            f"refused: {dict(refused)} requests too many, by process, at endpoint {site.name!r}"
        )

    @property
    def _sure(self) -> bool:
        """All answers are as long as one another."""
        faults = any(any(site.server["faults"].values()) for site in self.scenario.sites) or self.scenario.amends
        return self.scenario.length[0] == self.scenario.length[1] and not faults


AMOUNTS: dict[str, Callable[[Usage], int]] = {
    "requests": lambda _charge: 1,
    "tokens": lambda charge: charge.total,
    "input_tokens": lambda charge: charge.prompt_tokens,
    "output_tokens": lambda charge: charge.completion_tokens,
}


def prices_of(site: Site) -> Prices | None:
    return None if site.prices is None else Prices(input=site.prices[0], output=site.prices[1])


class _Sliding:
    """No period holds more than the limit."""

    def __init__(self, limit: float, seconds: float) -> None:
        self.at = 0.0
        self._limit, self._seconds = limit, seconds
        self._inside = deque[tuple[float, int]]()
        self._used = 0

    def take(self, now: float, amount: int) -> float:
        """By how much it is exceeded."""
        while self._inside and self._inside[0][0] <= now - self._seconds:
            self._used -= self._inside.popleft()[1]
        self._inside.append((now, amount))
        self._used += amount
        self.at = now
        return self._used - self._limit - CENT


class _Bucket:
    """What the engine may use of a server whose headers show that it holds one: full at first, refilled steadily."""

    def __init__(self, limit: float, seconds: float) -> None:
        self.at = 0.0
        self._limit = self._level = limit
        self._rate = limit / seconds

    def take(self, now: float, amount: int) -> float:
        """By how much it is overdrawn."""
        self._level = min(self._limit, self._level + (now - self.at) * self._rate) - amount
        self.at = now
        return -self._level - CENT


def _may_reopen(state: str, reason: str, life: Life) -> bool:
    """Whether the process gives the row another chance."""
    if life.retry_reasons is None or reason in {BAD_ROW, DUPLICATE}:
        return False
    return life.rejudge is not None or (state == SET_ASIDE and (not life.retry_reasons or reason in life.retry_reasons))


def _young(ending: Ending) -> float:
    """The time awake since which what happened in the process need not be on the disk."""
    if ending.how == "returned":
        return float("inf")
    trouble = ending.process.trouble_at
    since = float("inf") if trouble is None else trouble - UNSAVED
    return min(since, ending.process.awake() - UNSAVED) if ending.how == "killed" else since


def _check_told(books: Books, told: Iterable[Event]) -> None:
    """What the listener was told is on the disk."""
    for event in told:
        if isinstance(event, RowAccepted | RowSetAside):
            end = books.outcomes.get(books.names.get(event.row, -1))
            state = ACCEPTED if isinstance(event, RowAccepted) else SET_ASIDE
            assert end and end.state == state, f"told: row {event.row} is {state}, and it is not on the disk"
        elif isinstance(event, AttemptFailed | ReplyRejected):
            found = books.attempts.get(event.attempt)
            verdict = event.kind if isinstance(event, AttemptFailed) else event.code
            assert found and found.verdict == verdict, (
                f"told: attempt {event.attempt} {verdict}, and it is not on the disk"
            )


def _check_report(books: Books, report: RunReport, rows: int) -> None:
    """The report's numbers are the ledger's; a run that is done has nothing left."""
    counts = report.counts
    ends = Counter(end.state for end in books.outcomes.values())
    paid = [attempt for attempt in books.attempts.values() if attempt.paid]
    wanted = (len(books.rows), ends[ACCEPTED], ends[SET_ASIDE], len(books.rows) - len(books.outcomes), len(paid))
    found = (counts.total, counts.accepted, counts.set_aside, counts.pending, counts.replies)
    assert found == wanted, f"report: total, accepted, set aside, pending, replies: {found}, in the ledger: {wanted}"
    spend = sum(attempt.cost_usd for attempt in paid)
    assert abs(counts.spend_usd - spend) < CENT, f"report: spend {counts.spend_usd}, in the ledger {spend}"
    assert (counts.attempts, counts.in_flight) == (
        len(books.attempts) + len(books.flights) + len(books.batched),
        len(books.flights),
    ), f"report: {counts.attempts} attempts, {counts.in_flight} in flight"
    assert counts.in_batches == len(books.batched), f"report: {counts.in_batches} in batches, {len(books.batched)} are"
    if report.state == "done":
        assert counts.pending == 0 and counts.exact and counts.total == rows, (
            f"report: done with {counts.pending} pending of {counts.total}, {rows} in the source"
        )
    else:
        assert report.reason and report.message, "report: stopped without a reason"
