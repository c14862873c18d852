"""The display: every width, every state, one line each; the numbers behind it."""

import io
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from smile_async.cli.figures import dollars, label
from smile_async.cli.progress import LiveDisplay
from smile_async.cli.tally import LastMinute, Tally, plain_line
from smile_async.engine import events
from smile_async.engine.events import Gauge
from smile_async.engine.job import Usage

RUN = Path("runs/first")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.25

    def __call__(self) -> float:
        return self.now


def gauges(*names: str) -> tuple[Gauge, ...]:
    return tuple(
        gauge
        for name in names
        for gauge in (
            Gauge(name, "in flight", 31, 64, None),
            Gauge(name, "requests", 598, 600, 60.0),
            Gauge(name, "tokens", 244_000, 300_000, 60.0),
        )
    )


def pulse(shown: tuple[Gauge, ...], waited: dict[str, float] | None = None, **changes: Any) -> events.Pulse:
    values: dict[str, Any] = {
        "in_flight": 31, "concurrency": 64, "gauges": shown, "binding": "", "waited": waited or {}, "spent_usd": 1.2,
        "reserved_usd": 0.03, "perhaps_usd": 0.0, "budget_usd": 20.0, "held": 0.0,
    }  # fmt: skip
    return events.Pulse(**values | changes)


def running(clock: Clock, *names: str, **changes: Any) -> Tally:
    """A run that has waited for tokens for nine of the last ten seconds."""
    tally = Tally(clock, expected=55_165)
    tally.hear(events.RunStarted(17_000, 270, 0, {"too-few-turns": 171, "bad-start": 99}))
    for _ in range(50):
        tally.hear(accepted(names[0]))
    tally.hear(pulse(gauges(*names), {"tokens a minute": 1.0}))
    clock.now += 10
    tally.hear(pulse(gauges(*names), {"tokens a minute": 10.0, "in flight": 0.5}, **changes))
    return tally


def accepted(endpoint: str = "") -> events.RowAccepted:
    return events.RowAccepted("a" * 32, 1, (), Usage(400, 600), 0.001, endpoint, 2.0)


def drawn(tally: Tally, width: int = 120, title: str = "smile generate psyqa.json -> runs/first") -> list[str]:
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system=None, width=width, height=50, legacy_windows=False
    )
    console.print(LiveDisplay(console, tally, title, RUN))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_one_endpoint_has_a_line_for_each_limit_and_says_which_binds() -> None:
    text = drawn(running(Clock(), "api.example.com"))
    told = "\n".join(text)
    assert (
        "rows               17,320 of about 55,165   accepted  17,050 (98.4%)   set aside  270: too-few-turns 171"
        in told
    )
    [tokens] = [line for line in text if "244k of 300k" in line]
    assert "< binds" in tokens
    # 81 percent of 30 columns, in halves: 24 whole ones and a half
    assert "━" * 24 + "╸" + "─" * 5 in tokens
    [requests] = [line for line in text if "598 of 600" in line]
    assert "binds" not in requests
    assert "waiting for        tokens a minute 90%, a place in flight 5%" in told
    assert "$1.20 of $20.00   reserved  $0.0300" in told
    assert len(text) <= 10


@pytest.mark.parametrize("width", range(20, 201, 9))
@pytest.mark.parametrize("count", [1, 4, 40])
def test_no_line_is_wider_than_the_terminal_and_there_are_not_too_many(width: int, count: int) -> None:
    clock = Clock()
    tally = running(clock, *[f"deployment-{number}.region.example.com" for number in range(count)], perhaps_usd=3.0)
    tally.hear(events.EndpointRested("deployment-0.region.example.com", 60.0, "timeout: no answer within 600 seconds"))
    tally.hear(events.AttemptFailed("b" * 32, 3, "timeout", None, "no answer " * 30, 1.0))
    text = drawn(tally, width, title="smile generate " + "very-" * 60 + "long.json -> run")
    assert max(len(line) for line in text) <= width
    assert len(text) <= (10 if count == 1 else 16)


def test_of_many_endpoints_the_busiest_are_shown_and_the_others_counted() -> None:
    tally = Tally(Clock())
    idle = tuple(Gauge(f"idle-{number}", "in flight", 1, 64, None) for number in range(5))
    busy = tuple(Gauge(f"busy-{number}", "in flight", 60, 64, None) for number in range(6))
    tally.hear(pulse(idle[:2] + busy + idle[2:]))
    tally.hear(events.EndpointRested("idle-4", 60.0, "timeout"))
    text = "\n".join(drawn(tally))
    assert [f"busy-{number}" in text for number in range(6)] == [True] * 6
    assert "  idle-" not in text  # (the last line tells what went wrong last)
    assert "and 5 more: 5 of 320 in flight, 1 of them rest or wait" in text


def test_a_resting_endpoint_says_so_until_it_answers() -> None:
    clock = Clock()
    tally = running(clock, "a", "b")
    tally.hear(events.EndpointRested("b", 60.0, "timeout"))
    tally.hear(events.Held(5.0, "rate-limited", "a"))
    text = drawn(tally)
    assert any(line.startswith("  a ") and line.rstrip().endswith("waits 5 s: rate-limited") for line in text)
    assert any(line.startswith("  b ") and line.rstrip().endswith("rests 60 s: timeout") for line in text)
    tally.hear(accepted("b"))
    clock.now += 6
    assert not [line for line in drawn(tally) if "rests" in line or "waits" in line]
    tally.hear(events.EndpointRested("b", math.inf, "auth: the key is wrong"))
    assert any("given up: auth" in line for line in drawn(tally))


def test_paused_says_how_to_go_on() -> None:
    told = "\n".join(drawn(running(Clock(), "a", paused=True)))
    assert "paused             31 in flight; go on with: smile control runs/first resume" in told


def test_a_cooldown_is_counted_down() -> None:
    tally = running(Clock(), "a", held=11.2)
    tally.hear(events.Held(12.0, "rate-limited", "a"))
    assert "everybody waits 12 s (rate-limited)" in "\n".join(drawn(tally))


def test_before_anything_has_happened_it_can_be_drawn() -> None:
    assert len(drawn(Tally(Clock()))) == 4


def test_where_there_is_no_utf_8_bars_are_of_other_signs() -> None:
    console = Console(
        file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), force_terminal=True, color_system=None, width=80
    )
    console.print(LiveDisplay(console, running(Clock(), "a"), "title", RUN))
    console.file.flush()
    told = console.file.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "####" in told
    assert "----" in told


def test_the_last_minute_forgets_what_is_older() -> None:
    minute = LastMinute()
    minute.add(100.9, replies=1, tokens=10, ended=1)
    minute.add(101.0, replies=1, tokens=5)
    assert minute.sums(101.5) == (2, 15, 1)
    assert minute.sums(160.9) == (1, 5, 0)  # seconds 101 to 160
    minute.add(161.0, replies=1, tokens=1)  # the same place as second 101
    assert minute.sums(161.0) == (1, 1, 0)


def test_rates_are_a_minutes_from_the_first_seconds_on() -> None:
    clock = Clock()
    tally = Tally(clock)
    for _ in range(30):
        tally.hear(accepted())
    clock.now += 10
    replies, tokens, ended = tally.rates()
    assert (replies, tokens, ended) == (180.0, 180_000.0, 180.0)  # 30 in ten seconds
    assert plain_line(tally)["replies_per_minute"] == 180


def test_the_plain_line_says_what_binds() -> None:
    assert plain_line(running(Clock(), "a"))["binding"] == "tokens a minute"
    assert plain_line(running(Clock(), "a", paused=True))["binding"] == "paused"
    assert plain_line(Tally(Clock()))["binding"] == ""


def test_figures() -> None:
    assert [label("tokens", 60.0), label("requests", 86_400.0), label("tokens", 10.0), label("in flight", None)] == [
        "tokens a minute", "requests a day", "tokens a 10 s", "in flight",
    ]  # fmt: skip
    assert [dollars(0.0), dollars(-1e-17), dollars(0.0123), dollars(1234.5)] == [
        "$0.00",
        "$0.00",
        "$0.0123",
        "$1,234.50",
    ]
