"""What a person sees while a run goes on: a display in a terminal, a line now and then elsewhere.

`Tally` turns events into numbers and knows no terminal; the faces read it.
"""

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from smile_async.engine import events

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType

WINDOW = 60.0  # seconds over which rates are taken
PLAIN_EVERY = 5.0  # seconds between two plain lines


@dataclass(slots=True)
class Tally:
    """A run in numbers, kept up with its events. `clock` gives seconds."""

    clock: Callable[[], float]
    expected: int | None = None
    accepted: int = 0
    set_aside: int = 0
    pending: int = 0
    total: int | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    started: float = field(init=False)
    began_with: int = 0
    pulse: events.Pulse | None = None
    trouble: str = ""
    draining: str = ""
    replies: deque[tuple[float, int]] = field(default_factory=deque)
    ended: deque[float] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def hear(self, event: events.Event) -> None:
        """Count an event."""
        match event:
            case events.RunStarted():
                self.accepted, self.set_aside, self.pending = event.accepted, event.set_aside, event.pending
                self.began_with, self.started = event.accepted + event.set_aside, self.clock()
                self.reasons.update(event.reasons)
            case events.SourceRead():
                self.total = event.rows
            case events.RowAccepted():
                self.accepted += 1
                self._replied(event)
                self.ended.append(self.clock())
            case events.ReplyRejected():
                self._replied(event)
            case events.RowSetAside():
                self.set_aside += 1
                self.reasons[event.reason] += 1
                self.ended.append(self.clock())
            case events.AttemptFailed():
                self.failures[event.kind] += 1
                self.trouble = f"row {event.row[:8]}: {event.kind}{_told(event.detail)}"
            case events.Held():
                self.trouble = f"everybody waits {event.seconds:.1f} s: {event.reason}"
            case events.Draining():
                self.draining = event.reason
            case events.Pulse():
                self.pulse = event
            case _:
                pass

    def _replied(self, event: events.RowAccepted | events.ReplyRejected) -> None:
        tokens = 0
        if event.usage is not None:
            self.prompt_tokens += event.usage.prompt_tokens
            self.completion_tokens += event.usage.completion_tokens
            tokens = event.usage.total
        self.cost_usd += event.cost_usd
        self.replies.append((self.clock(), tokens))

    @property
    def done(self) -> int:
        return self.accepted + self.set_aside

    @property
    def goal(self) -> int | None:
        """Rows in all: exact once the source has been read, else as expected; never less than is done."""
        known = self.total if self.total is not None else self.expected
        return None if known is None else max(known, self.done)

    def rates(self) -> tuple[float, float, float]:
        """Replies, tokens and ended rows a minute, over the last minute or since the start."""
        now = self.clock()
        while self.replies and self.replies[0][0] < now - WINDOW:
            self.replies.popleft()
        while self.ended and self.ended[0] < now - WINDOW:
            self.ended.popleft()
        minutes = max(min(WINDOW, now - self.started), 1.0) / 60
        return (
            len(self.replies) / minutes,
            sum(tokens for _, tokens in self.replies) / minutes,
            len(self.ended) / minutes,
        )

    def seconds_left(self) -> float | None:
        """From the rate of the last minute; None while nothing can be said."""
        rows_a_minute = self.rates()[2]
        if self.goal is None or not rows_a_minute:
            return None
        return (self.goal - self.done) / rows_a_minute * 60


def _told(detail: str) -> str:
    return f" ({detail})" if detail else ""


def duration(seconds: float | None) -> str:
    """`1:02:03`; `--:--` when unknown."""
    if seconds is None:
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def amount(number: float) -> str:
    """`950`, `12.3k`, `4.56M`: three digits are enough to look at."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            scaled = number / (1e3 if letter == "k" else size)
            return f"{scaled:.3g}{letter}" if scaled < 1000 else f"{scaled:,.0f}{letter}"
    return f"{number:,.0f}"


def reasons_line(reasons: Counter[str], most: int = 5) -> str:
    """`too-few-turns 9, refused 2, 3 others 4`, most frequent first."""
    common = reasons.most_common()
    told = [f"{reason} {count:,}" for reason, count in common[:most]]
    if rest := common[most:]:
        told.append(f"{len(rest)} others {sum(count for _, count in rest):,}")
    return ", ".join(told)


def _of(used: float, limit: float | None) -> str:
    return f"{amount(used)} of {amount(limit)}" if limit else amount(used)


class LiveDisplay:
    """The display in a terminal: drawn four times a second from the tally, at most one screen wide."""

    def __init__(self, console: "Console", tally: Tally, title: str, *, budget: float | None) -> None:
        from rich.live import Live

        self._tally = tally
        self._title = title
        self._budget = budget
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=4, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def render(self) -> "Group":
        from rich.console import Group
        from rich.text import Text

        tally = self._tally
        lines: list[RenderableType] = [Text(self._title, style="bold", overflow="ellipsis", no_wrap=True), self._bar()]
        lines += [self._rows(), self._speed(), self._cost()]
        if tally.draining:
            waiting = f"{tally.pulse.in_flight} in flight" if tally.pulse else "what is in flight"
            lines.append(
                Text(
                    f"  stopping ({tally.draining}): waiting for {waiting}; Ctrl-C again stops now", style="bold yellow"
                )
            )
        elif tally.trouble:
            failed = sum(tally.failures.values())
            lines.append(Text(f"  failed attempts  {failed:,}, last: {tally.trouble}", style="dim"))
        for line in lines:
            if isinstance(line, Text):  # one line each, however narrow the terminal: a display that wraps cannot redraw
                line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*lines)

    def _bar(self) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        tally = self._tally
        goal = tally.goal
        elapsed, left = duration(tally.clock() - tally.started), duration(tally.seconds_left())
        share = f"{tally.done / goal:.1%}  " if goal else ""
        line = Table.grid(padding=(0, 1), expand=True)
        line.add_column(ratio=1)
        line.add_column(justify="right", no_wrap=True)
        bar = ProgressBar(total=goal, completed=tally.done, pulse=goal is None)
        line.add_row(bar, Text(f"{share}{elapsed} gone, {left} left"))
        return line

    def _rows(self) -> "RenderableType":
        from rich.text import Text

        tally = self._tally
        about = "" if tally.total is not None else "about "
        line = Text("  rows  ", style="dim").append(f"{tally.done:,}", style="default not dim")
        line.append(f" of {about}{tally.goal:,}" if tally.goal is not None else "")
        share = f" ({tally.accepted / tally.done:.1%})" if tally.done else ""
        line.append("   accepted  ").append(f"{tally.accepted:,}{share}", style="green not dim")
        aside = reasons_line(tally.reasons)
        line.append("   set aside  ")
        style = "yellow not dim" if tally.set_aside else "not dim"
        return line.append(f"{tally.set_aside:,}{': ' + aside if aside else ''}", style=style)

    def _speed(self) -> "RenderableType":
        from rich.text import Text

        requests, tokens, _ = self._tally.rates()
        pulse = self._tally.pulse
        line = Text("  ")
        line.append("replies a minute  ", style="dim").append(_of(requests, _limit(pulse, "requests")))
        line.append("   tokens a minute  ", style="dim").append(_of(tokens, _limit(pulse, "tokens")))
        if pulse is not None:
            line.append("   in flight  ", style="dim").append(f"{pulse.in_flight} of {pulse.concurrency}")
            if pulse.held > 0:
                line.append(f"   waiting {math.ceil(pulse.held)} s", style="yellow")
        return line

    def _cost(self) -> "RenderableType":
        from rich.text import Text

        tally = self._tally
        line = Text("  ")
        line.append("tokens  ", style="dim").append(
            f"{amount(tally.prompt_tokens)} in, {amount(tally.completion_tokens)} out"
        )
        if tally.cost_usd or self._budget:
            spent = tally.pulse.spent_usd if tally.pulse else tally.cost_usd
            line.append("   spent  ", style="dim").append(f"${spent:.2f}")
            line.append(f" of ${self._budget:.2f}" if self._budget else "")
        return line


def _limit(pulse: events.Pulse | None, what: str) -> float | None:
    """The limit a minute of all endpoints together; None where one of them has none."""
    if pulse is None:
        return None
    endpoints = {gauge.endpoint for gauge in pulse.gauges}
    found = [gauge.limit for gauge in pulse.gauges if gauge.what == what and gauge.period == 60]
    return sum(found) if len(found) == len(endpoints) else None


def plain_line(tally: Tally) -> dict[str, object]:
    """The fields of the line that is logged every few seconds where there is no terminal."""
    requests, tokens, _ = tally.rates()
    left = tally.seconds_left()
    return {
        "done": tally.done,
        "of": tally.goal,
        "accepted": tally.accepted,
        "set_aside": tally.set_aside,
        "failed_attempts": sum(tally.failures.values()),
        "in_flight": tally.pulse.in_flight if tally.pulse else 0,
        "replies_per_minute": round(requests),
        "tokens_per_minute": round(tokens),
        "spent_usd": round(tally.cost_usd, 4),
        "left_s": None if left is None else round(left),
    }
