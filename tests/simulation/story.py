"""One seed, played from its first process to the end of the run: process after process on one folder and one server."""

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smile_async.engine import account, schema
from smile_async.engine.batches import WRITING
from smile_async.engine.lane import Served
from smile_async.engine.ledger import Ledger
from smile_async.engine.revision import rejudge
from smile_async.engine.run import RunReport, run
from smile_async.engine.switch import StopSwitch
from smile_async.errors import SmileError, StoppedError
from smile_async.settings import Limits, Quota, RetryPolicy
from tests.simulation import books
from tests.simulation.batches import Office, Wire, check_nothing_is_left, count_of, wall_clock, work_on_batches
from tests.simulation.checks import Auditor, Ending, prices_of
from tests.simulation.older import turn_back
from tests.simulation.process import Killed, NoEndError, Process, forget, scratch
from tests.simulation.scenario import DAY, MINUTE, Life, Scenario, draw
from tests.simulation.server import KEY, Line, ProviderBrokeError, Send, Server
from tests.simulation.work import (
    Listener,
    ListenerBrokeError,
    Rows,
    SourceBrokeError,
    TaskBrokeError,
    make_task,
)

CALM_LIVES = 15  # after its troubles a run has to come to its end within so many processes
CALM_BATCHES = 6
CALM = {"patience": 3_600.0, "first_patience": 600.0}  # seconds
WANTED = (SourceBrokeError, TaskBrokeError, ProviderBrokeError, ListenerBrokeError)

Note = tuple[Any, ...]


@dataclass(slots=True)
class Told:
    """What one seed came to. `happened` counts what it met, `trace` is empty unless it was asked for."""

    scenario: Scenario
    broken: str = ""
    message: str = ""
    happened: Counter[str] = field(default_factory=Counter)
    trace: list[Note] = field(default_factory=list)


def play(seed: int | Scenario, *, traced: bool = False) -> Told:
    """Play a seed to its end, or to the first invariant that does not hold."""
    scenario = draw(seed) if isinstance(seed, int) else seed
    folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=scratch()))
    try:
        return _Story(scenario, folder, traced=traced).tell()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Story:
    def __init__(self, scenario: Scenario, folder: Path, *, traced: bool) -> None:
        self.scenario = scenario
        self.told = Told(scenario)
        self.folder = folder
        self.process: Process | None = None
        self.books = books.Books()  # as the last process left them
        self.lives = 0
        self.now = 0.0  # the server's clock, seconds
        self.skew = 0.0
        self.log: list[Send] = []
        self.tell_about = self.note if traced else _silent
        self.servers = [Server(site, scenario, self.log, self.tell_about) for site in scenario.sites]
        self.office = None if scenario.batches is None else Office(self.servers[0], scenario)
        self.auditor = Auditor(scenario, self.log, self.office)

    def note(self, *facts: Any) -> None:
        now = self.process.now() if self.process else self.now
        self.told.trace.append((round(now, 6), self.lives, *facts))

    def tell(self) -> Told:
        try:
            for life in self.scenario.lives:
                self._live(life)
            for server in self.servers:
                server.calm_down()
            if self.office is not None:
                self.office.calm_down()
                self._bring_batches_home()
            self._finish()
        except AssertionError as error:
            code, _, message = str(error).partition(": ")
            self.told.broken, self.told.message = code, message
        return self.told

    def _bring_batches_home(self) -> None:
        """What a person does who has batches: looks whether they have ended, has those sent that never were."""
        for number in range(CALM_BATCHES):
            if not (self.books.batched or WRITING in self.books.batches.values()):
                break
            what = ("collect",) if number % 2 == 0 else ("submit", "collect")
            self._live(Life(upto=len(self.scenario.rows), concurrency=5, away=2 * DAY, batch=what), calm=True)
        assert not self.books.batched, f"not-done: {len(self.books.batched)} rows still wait in batches"

    def _finish(self) -> None:
        """Processes without trouble, until the run is done."""
        calm = Life(upto=len(self.scenario.rows), concurrency=5)
        longest = max(MINUTE, *[site.server["limits"]["window"] for site in self.scenario.sites])
        for number in range(CALM_LIVES):
            ending = self._live(replace(calm, away=longest + 1.0 if number else 1.0), calm=True)
            report = ending.report
            if report is not None and (report.state == "done" or (report.reason == "rate-limited" and longest < DAY)):
                break  # the latter: no window of the server holds any of the rows
        self.auditor.at_the_end(books.read(self.folder, check=True), ending)
        if self.office is not None:
            self.told.happened.update(count_of(self.office))
        if self.scenario.seed % 4 == 0 and ending.report is not None and ending.report.state == "done":
            asked = len(self.log)
            again = self._live(calm, calm=True)
            assert again.report == ending.report, f"idempotent: {again.report} after {ending.report}"
            assert len(self.log) == asked, "idempotent: a run that is done asked again"

    def _live(self, life: Life, *, calm: bool = False) -> Ending:
        """One process, and the checks after it."""
        self.lives += 1
        self.now += life.away
        self.skew += life.clock_step
        process = self.process = Process(life, began=self.now, skew=self.skew)
        lines = self._lines(process, life)
        listener = Listener(self.tell_about, lambda: process.dead, breaks_at=life.listener_breaks)
        self.tell_about("begins", _short(life))
        if life.older is not None and turn_back(self.folder, self.books, life.older):
            self.tell_about("turned back to schema", life.older)
            self.told.happened["ledgers of older versions"] += 1
        before = self.auditor.before(life, self.books, self.lives)
        ending = self._run(process, life, lines, listener, calm=calm)
        self.now = process.now()
        self.tell_about("ends", ending.how, ending.report and (ending.report.state, ending.report.reason))
        self.process = None
        ending.most_under_way = max(line.most_under_way for line in lines)
        for line in lines if ending.how == "killed" else ():
            line.cut()
        self._count(ending, process)
        self.books = books.read(self.folder)
        self.auditor.after(before, self.books, ending)
        if life.batch and ending.how == "returned":
            check_nothing_is_left(self.folder, self.books)
        self._between(ending)
        return ending

    def _lines(self, process: Process, life: Life) -> list[Line]:
        """The process's connections, one to each server."""
        return [
            Line(
                server,
                self.lives,
                now=process.now,
                awake=process.awake,
                late=process.just_woke,
                dead=lambda: process.dead,
                key="another-key" if life.wrong_key == number else KEY,
                breaks_at=life.provider_breaks if number == 0 else None,
            )
            for number, server in enumerate(self.servers)
        ]

    def _run(self, process: Process, life: Life, lines: list[Line], listener: Listener, *, calm: bool) -> Ending:
        ending = Ending("killed", process=process, told=listener.told, most_under_way=0)
        try:
            with wall_clock(process.loop.time):
                task = process.run(self._main(life, lines, listener, calm=calm))
        except Killed:
            return ending
        except NoEndError as error:
            raise AssertionError(f"no-end: process {self.lives}: {error}") from error
        if task.cancelled():
            ending.how = "cancelled"
            assert life.stop is not None, f"raised: process {self.lives}: cancelled by nobody"
        elif (raised := task.exception()) is None:
            ending.how, ending.report = "returned", task.result()
        else:
            ending.how, ending.error = "raised", raised
            _check_raised(life, raised, self.lives)
        return ending

    async def _main(self, life: Life, lines: list[Line], listener: Listener, *, calm: bool) -> RunReport | None:
        """What the process does."""
        scenario, stop = self.scenario, StopSwitch()
        rows = scenario.rows[: life.upto]
        rules = self.books.rules
        if life.rejudge is not None and self.books.meta.get("identity") is not None:
            rules = life.rejudge
            await _judge_again(self.folder, rules)
        task = make_task(
            rules,
            max_tokens=scenario.max_tokens,
            amends=scenario.amends,
            accept_breaks=life.accept_breaks,
            render_breaks=life.render_breaks,
        )
        source = Rows(rows, seconds=life.seconds_a_row, breaks_at=life.source_breaks)
        if life.batch:
            batch = asyncio.ensure_future(self._batch(life, task, source, None if calm else scenario.budget_usd))
            _press_later(life, stop, batch)
            await batch
            return None
        running = asyncio.ensure_future(
            run(
                task,
                source,
                self.folder,
                **self._endpoints(life, lines, None if calm else scenario.budget_usd),
                retry=RetryPolicy(**{**scenario.retry, **(CALM if calm else {})}),
                listener=listener,
                stop=stop,
                pulse=None
                if any(name.endswith("_per_day") for site in scenario.sites for name in site.quota)
                else life.pulse,
                retry_reasons=life.retry_reasons,
                deterministic=random.Random(f"{scenario.seed}/engine/{self.lives}"),
            )
        )
        _press_later(life, stop, running)
        return await running

    async def _batch(self, life: Life, task: Any, source: Rows, budget_usd: float | None) -> None:
        """Works on batches instead."""
        assert self.office is not None
        assert self.process is not None
        wire = Wire(self.office, self.process.now, self.tell_about)
        await work_on_batches(self.folder, life.batch, self.office, wire, task, source, self.scenario.retry, budget_usd)

    def _endpoints(self, life: Life, lines: list[Line], budget_usd: float | None) -> dict[str, Any]:
        """The only endpoint with the run's own limits and prices, or several with theirs."""
        sites = self.scenario.sites
        if len(sites) == 1:
            limits = Limits(concurrency=life.concurrency, budget_usd=budget_usd, **sites[0].quota)
            return {"provider": lines[0], "limits": limits, "prices": prices_of(sites[0])}
        served = [
            Served(
                line,
                site.name,
                quota=Quota(concurrency=life.concurrency, **site.quota),
                prices=prices_of(site),
                weight=site.weight,
            )
            for line, site in zip(lines, sites, strict=True)
        ]
        return {"provider": served, "limits": Limits(budget_usd=budget_usd)}

    def _between(self, ending: Ending) -> None:
        """What a person does who sees that the run has stopped."""
        report = ending.report
        if report is not None and report.reason == "quota-exhausted":
            for server in self.servers:
                server.top_up()

    def _count(self, ending: Ending, process: Process) -> None:
        happened = self.told.happened
        happened["processes"] += 1
        happened[ending.how] += 1
        happened["steps"] += process.loop.steps.taken
        happened["disk refused"] += process.trouble_at is not None
        if ending.report is not None:
            happened[f"{ending.report.state} {ending.report.reason}".strip()] += 1
        if ending.error is not None:
            happened[type(ending.error).__name__] += 1


def _press_later(life: Life, stop: StopSwitch, running: "asyncio.Task[Any]") -> None:
    """What somebody does to the run while it goes on."""
    presses: dict[str, list[Callable[[], object]]] = {
        "drain": [stop.drain],
        "twice": [stop.drain, stop.drain],
        "abort": [stop.abort],
        "cancel": [running.cancel],
        "pause": [stop.pause],
        "go-on": [stop.go_on],
    }
    later = asyncio.get_running_loop().call_later
    for seconds, what in life.steering:
        if isinstance(what, int):
            later(seconds, stop.limit_concurrency, what)
        else:
            later(seconds, presses[what][0])
    if life.stop is not None:
        what, seconds = life.stop
        for number, press in enumerate(presses[what]):
            later(seconds + number * 0.3, press)


async def _judge_again(folder: Path, rules: str) -> None:
    """As `smile revalidate` does."""
    with schema.reading(folder) as reader:
        identity = account.read_meta(reader, "identity")
        ledger = Ledger.open(folder, identity, threaded=False)
        try:
            await rejudge(ledger, reader, make_task(rules, max_tokens=None), {"rules": rules})
        finally:
            await ledger.close()


def _check_raised(life: Life, error: BaseException, number: int) -> None:
    """A process may raise what the scenario made it raise."""
    if isinstance(error, SmileError) and life.disk is not None:
        return
    if life.batch and isinstance(error, StoppedError):  # the office refuses, is down, or does not say
        return
    assert isinstance(error, WANTED), f"raised: process {number}: {type(error).__name__}: {error}"


def _short(life: Life) -> dict[str, Any]:
    """What is unusual about a life."""
    usual = Life(upto=life.upto, concurrency=life.concurrency)
    names = ("upto", "concurrency", *(name for name in Life.__slots__ if getattr(life, name) != getattr(usual, name)))
    return {name: getattr(life, name) for name in dict.fromkeys(names)}


def _silent(*_facts: Any) -> None:
    """Notes nothing."""


__all__ = ["Told", "forget", "play"]
