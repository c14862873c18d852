"""Numbers as a person reads them."""

from collections import Counter

PERIODS = {1.0: "second", 60.0: "minute", 3_600.0: "hour", 86_400.0: "day"}  # by seconds

WAITED_FOR = {"in flight": "a place in flight", "rows": "rows in flight to end", "source": "the source",
              "budget": "the budget", "first reply": "the first reply", "cooldown": "a cooldown"}  # fmt: skip


def waited_for(what: str) -> str:
    """What the engine waits for, after "waits for"."""
    return WAITED_FOR.get(what, what)


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


def dollars(sum_usd: float) -> str:
    """Cents, or four digits where cents say nothing."""
    sum_usd = max(sum_usd, 0.0)  # a sum of many that were added and taken off may end below nothing
    return f"${sum_usd:,.2f}" if sum_usd >= 1 or sum_usd == 0 else f"${sum_usd:.4f}"


def every(period: float) -> str:
    """` a minute`, ` a day`, ` a 10 s`: what follows the name of a limit."""
    return f" a {PERIODS.get(period) or f'{period:g} s'}"


def label(what: str, period: float | None) -> str:
    """A limit by its name, as the engine says what it waits for."""
    return what if period is None or what == "server's rate" else what + every(period)


def reasons_line(reasons: Counter[str], most: int = 5) -> str:
    """`too-few-turns 9, refused 2, 3 others 4`, most frequent first."""
    common = reasons.most_common()
    told = [f"{reason} {count:,}" for reason, count in common[:most]]
    if rest := common[most:]:
        told.append(f"{len(rest)} others {sum(count for _, count in rest):,}")
    return ", ".join(told)


def printable(told: str) -> str:
    """A row's id, a role, a label: text from outside may not steer the terminal."""
    return "".join([sign if sign.isprintable() else "?" for sign in told])
