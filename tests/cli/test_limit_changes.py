"""The last changes of limits, as `smile status` tells them."""

from smile_async.cli.show import changes_lines
from smile_async.engine.account import LimitChange


def change(before: float | None, after: float, reason: str, what: str = "in-flight") -> LimitChange:
    return LimitChange(0.0, "a", what, before, after, reason)


def test_a_slow_start_is_one_line_and_leaves_room_for_what_was_found() -> None:
    """From 8 to 512 in six steps, and a limit that was found before the last two: both are told."""
    steps = [change(8.0 * 2**n, 16.0 * 2**n, "slow start") for n in range(6)]
    found = change(None, 600.0, "refused", "requests a minute")
    lines = changes_lines([*steps[:4], found, *steps[4:]])

    assert lines[0] == "  limits     changed 7 times:"
    assert [line.split(" ", 5)[5] for line in lines[1:]] == [
        "in flight: 8 -> 512 (slow start)",
        "requests a minute: none -> 600 (refused)",
    ]


def test_a_slow_start_after_a_refusal_is_another() -> None:
    lines = changes_lines([change(8, 16, "slow start"), change(16, 4, "refused"), change(4, 8, "slow start")])
    assert [line.rpartition("(")[2] for line in lines[1:]] == ["slow start)", "refused)", "slow start)"]


def test_one_change_is_once() -> None:
    assert changes_lines([change(None, 600, "refused")])[0] == "  limits     changed once:"
