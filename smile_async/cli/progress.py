"""The live display of a run in a terminal, drawn four times a second from its tally.

Each line fits the terminal's width: a display that wraps cannot redraw itself.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from smile_async.cli.figures import amount, dollars, duration, label, reasons_line, waited_for
from smile_async.cli.tally import Tally, binding
from smile_async.engine.events import Gauge, Pulse

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

MOST_LIMITS = 4  # lines of limits of one endpoint: in flight, and the three that are used most
MOST_ENDPOINTS = 6  # lines of endpoints; of more, the busiest
WIDE = 100  # columns from which a table tells amounts, not shares
FULL = 0.95  # of a limit: it is as good as used up
ALIGNED = 80  # columns from which what is told begins in one column, after names of ...
COLUMN = 17  # ... so many
STATE = 14  # columns for how an endpoint is
SHORT = {"requests a minute": "req/min", "tokens a minute": "tok/min", "input tokens a minute": "in/min",
         "output tokens a minute": "out/min", "requests a day": "req/day", "tokens a day": "tok/day",
         "server's rate": "rate"}  # fmt: skip


class LiveDisplay:
    """Use as a context manager; what is printed to `console` meanwhile stands above it."""

    def __init__(self, console: "Console", tally: Tally, title: str, run: Path) -> None:
        from rich.live import Live

        self._tally = tally
        self._title = title
        self._run = run
        self._live = Live(self, console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        drawing = Drawing(self._tally, options.max_width, plain=options.ascii_only)
        for line in drawing.lines(self._title, self._run):
            line.truncate(options.max_width, overflow="crop" if options.ascii_only else "ellipsis")
            line.no_wrap = True
            yield line


class Drawing:
    """One picture of the tally, `width` columns wide; `plain`: without what only UTF-8 can say."""

    def __init__(self, tally: Tally, width: int, *, plain: bool = False) -> None:
        from rich.text import Text

        self._new = Text
        self._tally = tally
        self._width = width
        self._plain = plain
        self._column = COLUMN if width >= ALIGNED else 0
        self._binding = binding(tally)

    def lines(self, title: str, run: Path) -> list["Text"]:
        pulse = self._tally.pulse
        lines = [self._new(title, style="bold"), self._head(), self._rows(), self._speed()]
        if pulse is not None:
            endpoints = list(dict.fromkeys(gauge.endpoint for gauge in pulse.gauges))
            lines += self._limits(pulse.gauges) if len(endpoints) == 1 else self._table(pulse.gauges, endpoints)
            lines += self._money(pulse)
            lines.append(self._waits(pulse, run))
        return lines + self._trouble()

    def _bar(self, share: float, width: int, style: str) -> "Text":
        """So much of `width` columns, in halves."""
        halves = min(max(round(share * width * 2), 1 if share > 0 else 0), width * 2)
        whole, half = divmod(halves, 2)
        done, tip, rest = ("#", "#", "-") if self._plain else ("━", "╸", "─")
        bar = self._new(done * whole + tip * half, style=style)
        return bar.append(rest * (width - whole - half), style="bright_black")

    def _head(self) -> "Text":
        tally = self._tally
        goal, elapsed = tally.goal, duration(tally.clock() - tally.started)
        share = tally.done / goal if goal else 0.0
        told = f"{share:.1%}  " if goal else ""
        told += f"{elapsed} gone, {duration(tally.seconds_left())} left"
        line = self._bar(share, max(self._width - len(told) - 2, 4), "green" if goal and share >= 1 else "cyan")
        return line.append(f"  {told}", style="default")

    def _rows(self) -> "Text":
        tally = self._tally
        about = "" if tally.total is not None else "about "
        line = self._field("rows", f"{tally.done:,}" + (f" of {about}{tally.goal:,}" if tally.goal else ""))
        share = f" ({tally.accepted / tally.done:.1%})" if tally.done else ""
        line.append("   accepted  ", style="dim").append(f"{tally.accepted:,}{share}", style="green")
        aside = reasons_line(tally.reasons)
        line.append("   set aside  ", style="dim")
        return line.append(f"{tally.set_aside:,}{': ' + aside if aside else ''}", "yellow" if tally.set_aside else "")

    def _speed(self) -> "Text":
        replies, tokens, _ = self._tally.rates()
        line = self._field("a minute", f"{amount(replies)} replies, {amount(tokens)} tokens")
        told = f"{amount(self._tally.prompt_tokens)} tokens in, {amount(self._tally.completion_tokens)} out"
        return line.append("   in all  ", style="dim").append(f"{told}", style="not dim")

    def _field(self, name: str, value: str = "", style: str = "dim") -> "Text":
        """A line that begins with a name."""
        return self._new(f"  {name:<{self._column}}  ", style=style).append(value, style="not dim")

    # Limits ------------------------------------------------------------------------------------------------------

    def _limits(self, gauges: Sequence[Gauge]) -> list["Text"]:
        """A line for each limit of the only endpoint."""
        shown = _most_used(gauges, MOST_LIMITS, self._binding)
        names = [label(gauge.what, gauge.period) for gauge in shown]
        column = max(self._column, *[len(name) for name in names])
        width = min(max((self._width - column - 30) // 2, 6), 30)
        lines = []
        for name, gauge in zip(names, shown, strict=True):
            binds = name == self._binding
            share = self._share(gauge)
            line = self._new(f"  {name:<{column}}  ", style="not dim" if binds else "dim")
            line.append_text(self._bar(share, width, self._style(share, binds=binds)))
            line.append(f"  {self._used(gauge)}", style="default")
            lines.append(line.append("  < binds", style="yellow") if binds else line)
        if hidden := len(gauges) - len(shown):
            lines[-1].append(f"   and {hidden} limits used less", style="dim")
        return lines

    def _share(self, gauge: Gauge) -> float:
        return self._amount_used(gauge) / gauge.limit if gauge.limit else 0.0

    def _amount_used(self, gauge: Gauge) -> float:
        return self._tally.rates()[0] if gauge.what == "server's rate" else gauge.used

    def _used(self, gauge: Gauge) -> str:
        about = "about " if gauge.what == "server's rate" else ""
        return f"{amount(self._amount_used(gauge))} of {about}{amount(gauge.limit)}"

    def _style(self, share: float, *, binds: bool = False) -> str:
        return "yellow" if binds or share >= FULL else "cyan"

    def _table(self, gauges: Sequence[Gauge], endpoints: list[str]) -> list["Text"]:
        """A line for each endpoint, a column for each kind of limit that there is room for."""
        by_place = {(gauge.endpoint, label(gauge.what, gauge.period)): gauge for gauge in gauges}
        shown = self._busiest(gauges, endpoints)
        name_width = min(max(len(name) for name in [*shown, "endpoint"]), self._width // 4, 32)
        wide = self._width >= WIDE
        cell = 24 if wide else 12
        kinds = _most_shared(by_place, self._share)[: max((self._width - name_width - STATE - 4) // cell, 1)]
        head = self._new(f"  {'endpoint':<{name_width}}", style="dim")
        for kind in kinds:
            binds = kind == self._binding
            head.append(
                f"  {kind if wide else SHORT.get(kind, kind):<{cell - 2}.{cell - 2}}", "yellow" if binds else ""
            )
        lines = [head]
        for endpoint in shown:
            line = self._new(f"  {_middle(endpoint, name_width):<{name_width}}")
            for kind in kinds:
                line.append("  ").append_text(self._cell(by_place.get((endpoint, kind)), cell - 2, wide=wide))
            lines.append(line.append_text(self._state(endpoint)))
        if rest := [name for name in endpoints if name not in shown]:
            flights = [gauge for gauge in gauges if gauge.endpoint in set(rest) and gauge.period is None]
            used, limit = sum(gauge.used for gauge in flights), sum(gauge.limit for gauge in flights)
            resting = sum(self._tally.rest(name) is not None for name in rest)
            told = f"  and {len(rest)} more: {used:,.0f} of {limit:,.0f} in flight"
            lines.append(self._new(told + (f", {resting} of them rest or wait" if resting else ""), style="dim"))
        return lines

    def _busiest(self, gauges: Sequence[Gauge], endpoints: list[str]) -> list[str]:
        if len(endpoints) <= MOST_ENDPOINTS:
            return endpoints
        load = {name: max(self._share(gauge) for gauge in gauges if gauge.endpoint == name) for name in endpoints}
        busiest = set(sorted(endpoints, key=lambda name: -round(load[name], 1))[:MOST_ENDPOINTS])
        return [name for name in endpoints if name in busiest]

    def _cell(self, gauge: Gauge | None, width: int, *, wide: bool) -> "Text":
        if gauge is None:
            return self._new(f"{'-':<{width}}", style="dim")
        share = self._share(gauge)
        told = self._used(gauge) if wide else f"{share:.0%}"
        bar = 7 if wide else 5
        return self._bar(share, bar, self._style(share)).append(f" {told:<{width - bar - 1}}", style="default")

    def _state(self, endpoint: str) -> "Text":
        rest = self._tally.rest(endpoint)
        if rest is None:
            return self._new("")
        if math.isinf(rest.until):
            return self._new(f"  given up: {rest.reason}", style="red")
        left = math.ceil(rest.until - self._tally.clock())
        return self._new(f"  {'waits' if rest.cooldown else 'rests'} {left} s: {rest.reason}", style="yellow")

    # Money, waiting, trouble -------------------------------------------------------------------------------------

    def _money(self, pulse: Pulse) -> list["Text"]:
        spent, reserved, perhaps = pulse.spent_usd, pulse.reserved_usd, pulse.perhaps_usd
        if not (spent or reserved or perhaps or pulse.budget_usd):
            return []
        line = self._field("spent")
        if pulse.budget_usd:
            share = (spent + reserved + perhaps) / pulse.budget_usd
            width = min(max(self._width // 5, 6), 24)
            line.append_text(self._bar(share, width, self._style(share, binds=self._binding == "budget"))).append("  ")
        line.append(dollars(spent) + (f" of {dollars(pulse.budget_usd)}" if pulse.budget_usd else ""), style="not dim")
        line.append(f"   reserved  {dollars(reserved)}", style="not dim")
        if perhaps:
            line.append(f"   perhaps billed  {dollars(perhaps)}", style="yellow")
        return [line]

    def _waits(self, pulse: Pulse, run: Path) -> "Text":
        if pulse.paused:
            told = f"{pulse.in_flight:,} in flight; go on with: smile control {{}} resume"
            line = self._field("paused", told.format(run), style="bold yellow")
            fits = line.cell_len <= self._width
            return line if fits else self._field("paused", told.format("RUN"), style="bold yellow")
        waits = self._tally.waits()
        told = ", ".join(f"{waited_for(what)} {min(share, 1.0):.0%}" for what, share in waits[:3])
        line = self._field("waiting for", told or "nothing")
        cooldowns = [rest for rest in self._tally.rests.values() if rest.cooldown]
        if pulse.held > 0:
            reason = f" ({cooldowns[-1].reason})" if cooldowns else ""
            line.append(f"   everybody waits {math.ceil(pulse.held)} s{reason}", style="yellow")
        return line

    def _trouble(self) -> list["Text"]:
        tally = self._tally
        if tally.draining:
            waiting = f"{tally.pulse.in_flight} in flight" if tally.pulse else "what is in flight"
            told = f"  stopping ({tally.draining}): waiting for {waiting}; Ctrl-C again stops now"
            return [self._new(told, style="bold yellow")]
        if not tally.trouble:
            return []
        kinds = reasons_line(tally.failures, most=3)
        failed = f"{sum(tally.failures.values()):,} ({kinds})" if kinds else "none"
        return [self._field("failed attempts").append(f"{failed}, last: {tally.trouble}", style="dim")]


def _most_used(gauges: Sequence[Gauge], most: int, binding_limit: str) -> list[Gauge]:
    """In their order: those in flight, what binds, and those of which most is used."""
    if len(gauges) <= most:
        return list(gauges)

    def rank(gauge: Gauge) -> tuple[bool, float]:
        first = gauge.period is None or label(gauge.what, gauge.period) == binding_limit
        return not first, -(gauge.used / gauge.limit if gauge.limit else 0.0)

    kept = sorted(gauges, key=rank)[:most]
    return [gauge for gauge in gauges if gauge in kept]


def _most_shared(by_place: dict[tuple[str, str], Gauge], share: Callable[[Gauge], float]) -> list[str]:
    """Kinds of limits: in flight first, then those of which most is used anywhere."""
    most: dict[str, float] = {}
    for (_, kind), gauge in by_place.items():
        most[kind] = max(most.get(kind, 0.0), share(gauge) if gauge.period is not None else math.inf)
    return sorted(most, key=lambda kind: -round(most[kind], 1))


def _middle(name: str, width: int) -> str:
    """A name cut in its middle: what tells two apart is at either end."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[-tail:]}"
