"""What happens in one seed: rows, a server with its troubles, and the lives of the processes that work on the run.

Each aspect is drawn from a generator of its own, named after it: a new aspect leaves what other seeds draw for the
others as it was. To add one, add a field and a `_draw_...` for it.
"""

import random
from dataclasses import dataclass
from typing import Any

from smile_async.simulate.settings import Breach, Fault

MINUTE, DAY = 60.0, 86_400.0  # seconds
UNREADABLE = "?"  # a row of the source that begins so cannot be read
DIGITS = str.maketrans("0123456789", "零一二三四五六七八九")
NOTHING_FITS = 5  # tokens a minute
LONG_ENOUGH = 20  # characters: a token more or less by rounding is then a twentieth
RE_ASK, MORE_TOKENS = "re-ask", "more-tokens"
"""How a request is changed after a rejected reply: the broken rule is named, or twice the tokens are allowed."""
RULES = ("usual", "lax", "strict")
"""What a reply is judged by: `lax` lets a wrong beginning pass, `strict` refuses a third of what the others accept."""


@dataclass(frozen=True, slots=True)
class Outage:
    """The server is down from `begin` for `seconds` of its own time. `forgets`: its limits start anew afterwards."""

    begin: float
    seconds: float
    forgets: bool


@dataclass(frozen=True, slots=True)
class Death:
    """How a process is killed: at the `at`-th `step` (callback of the loop), before or after the `at`-th `statement`
    or `commit` of SQLite, counted from 1. What never comes kills nobody."""

    what: str
    at: int
    after: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk refuses from the `at`-th transaction on (0: at once, so that the run cannot be opened), for `times`
    attempts to write: `full` as SQLite says it when no page is left, `broken` when the commit itself fails."""

    how: str
    at: int
    times: int


@dataclass(frozen=True, slots=True)
class Life:
    """One process that works on the run.

    `upto`: the source has that many rows by then. `concurrency` None: it is to be found. `steering`: what somebody tells
    the run meanwhile: seconds from its begin, pause, go-on or a number for its concurrency. `wrong_key`: of the site
    with that number. `stop`: drain, abort or cancel after so many seconds. `stalls`: at
    these steps of the loop the whole process stands still for so many seconds. `away` are seconds since the last
    process ended, `clock_step` what the wall clock was moved meanwhile. `*_breaks` count from 1: the row at which the
    source raises, the call at which the task's `accept` does, and so on. `older`: its ledger was written by the version with that
    schema. `batch`: it asks nothing row by row, it works on batches: submit, collect, cancel or forget.
    """

    upto: int
    concurrency: int | None
    death: Death | None = None
    disk: Disk | None = None
    stop: tuple[str, float] | None = None
    stalls: tuple[tuple[int, float], ...] = ()
    away: float = 1.0
    clock_step: float = 0.0
    wrong_key: int | None = None
    steering: tuple[tuple[float, str | int], ...] = ()
    source_breaks: int | None = None
    accept_breaks: int | None = None
    render_breaks: int | None = None
    provider_breaks: int | None = None
    listener_breaks: int | None = None
    seconds_a_row: float = 0.0
    retry_reasons: tuple[str, ...] | None = None
    rejudge: str | None = None
    pulse: float | None = None
    older: int | None = None
    batch: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """One endpoint: `server` are its settings, `quota` is what the client is told of its limits, `prices` are US dollars
    for a million tokens in and out."""

    name: str
    server: dict[str, Any]
    outages: tuple[Outage, ...]
    quota: dict[str, float]
    prices: tuple[float, float] | None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Batches:
    """What batches meet: `server` are the endpoint's settings for them, `size` the most requests of a file. Of the
    exchanges about them, `lost` is the share that is done and not answered, `refused` the share that is answered 503."""

    server: dict[str, Any]
    size: int
    lost: float
    refused: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that is drawn. `even`: all rows have about as many tokens a character. `length`: the least and the
    greatest length of an answer in characters. `amends`: how requests are changed after a rejected reply. `batches`:
    what batches meet, where there are any."""

    seed: int
    rows: tuple[str, ...]
    even: bool
    sites: tuple[Site, ...]
    length: tuple[int, int]
    uplink: float
    timeout: float
    max_tokens: int | None
    budget_usd: float | None
    retry: dict[str, Any]
    lives: tuple[Life, ...]
    amends: tuple[str, ...] = ()
    batches: Batches | None = None


def chance(seed: int, aspect: str) -> random.Random:
    """The randomness of one aspect of one seed."""
    return random.Random(f"{seed}/{aspect}")


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    even = chance(seed, "even").random() < 0.7
    rows = _draw_rows(chance(seed, "rows"), even=even)
    length = _draw_length(chance(seed, "length"))
    max_tokens = chance(seed, "max_tokens").choice([None, length[1] + 100, length[1] + 2_000, length[0] // 2 + 5])
    retry = _draw_retry(chance(seed, "retry"))
    if max_tokens and max_tokens < length[1] + 100:  # a run that asks until an answer is not cut would have no end
        retry["max_attempts"] = retry["max_attempts"] or 3
    prices, budget = _draw_money(chance(seed, "money"), len(rows))
    count = chance(seed, "sites").choice([1, 1, 1, 1, 1, 2, 2, 3])
    answer = length[1] + (max_tokens or 0)
    return Scenario(
        seed=seed,
        rows=rows,
        even=even,
        sites=tuple(_draw_site(seed, number, len(rows), length[1], answer, prices) for number in range(count)),
        length=length,
        uplink=chance(seed, "uplink").choice([0.0, 0.0, 0.001, 0.03]),
        timeout=chance(seed, "timeout").choice([None, 5.0, 30.0, 120.0, 600.0]) or 300.0,
        max_tokens=max_tokens,
        budget_usd=budget,
        retry=retry,
        lives=_draw_lives(seed, len(rows), count),
        amends=chance(seed, "amends").choice([(), (), (RE_ASK,), (MORE_TOKENS,), (RE_ASK, MORE_TOKENS)]),
        batches=_draw_batches(chance(seed, "batches")) if _has_batches(seed) else None,
    )


def _draw_site(
    seed: int, number: int, rows: int, longest: int, answer: int, prices: tuple[float, float] | None
) -> Site:
    """The first one is drawn as the only one is."""
    of = f" of site {number}" if number else ""
    limits, quota = _draw_limits(chance(seed, "limits" + of), chance(seed, "windows" + of), answer)
    quota |= _draw_day(chance(seed, "day" + of), limits, longest, answer)
    dear = chance(seed, "dearer" + of).choice([1.0, 1.0, 3.0]) if number else 1.0
    return Site(
        name="abc"[number] if number else "",
        server={"seed": seed + number * 10**9, "limits": limits, **_draw_server(chance(seed, "server" + of), rows)},
        outages=_draw_outages(chance(seed, "outages" + of)),
        quota=quota,
        prices=prices and (prices[0] * dear, prices[1] * dear),
        weight=chance(seed, "weight" + of).choice([1.0, 1.0, 4.0]),
    )


def _draw_rows(chance: random.Random, *, even: bool) -> tuple[str, ...]:
    """5 to 60 rows; some are unreadable, some repeat an earlier one, now and then one is very long."""
    count = int(5 * 12 ** chance.random())
    bad, same = chance.choice([0.0, 0.1, 0.5]), chance.choice([0.0, 0.1, 0.5])
    longest = chance.choice([20, 200, 200, 1_500])
    rows: list[str] = []
    for number in range(count):
        dice = chance.random()
        if dice < bad * 0.5:
            rows.append(f"{UNREADABLE}row{number % 40:02}")
        elif rows and dice < (bad + same) * 0.5:
            rows.append(chance.choice(rows))
        else:
            rows.append(_word(number, chance.randrange(longest), even=even))
    return tuple(rows)


def _word(number: int, longer: int, *, even: bool) -> str:
    """`even`: nearly as many tokens a character in each, so that what a prompt costs at most can be told."""
    digits = f"{number:02}".translate(DIGITS) if even else f"{number:02}"
    return digits + "字" * (longer + (LONG_ENOUGH if even else 0))


def _draw_length(chance: random.Random) -> tuple[int, int]:
    shortest = chance.choice([5, 40, 300])
    return shortest, shortest + chance.choice([0, 0, 20, 600])


def _draw_limits(chance: random.Random, windows: random.Random, answer: int) -> tuple[dict[str, Any], dict[str, float]]:
    """The server's limits, and what the client is told of them: the same, less, more, or nothing.

    Seldom, the whole window holds less than one request; else it holds some of about `answer` tokens. Some servers
    enforce in windows shorter than a minute, some limit prompt and answer apart, some clients are told of a day's limit.
    """
    limits: dict[str, Any] = {
        "kind": chance.choice(["sliding", "bucket"]),
        "headers": chance.random() < 0.7,
        "headers_at": chance.choice(["answer", "admission"]),
        "retry_after": chance.random() < 0.7,
        "charge": chance.choice(["actual", "actual", "max_tokens"]),
    }
    amounts = {"requests": chance.choice([None, 3, 10, 30, 120, 1_000])}
    tokens = chance.choice([None, None, 1, 3, 10, 100])
    told = chance.choice([1.0, 1.0, 1.0, 0.8, 1.5, None])
    fits = chance.random() < 0.98
    window = windows.choice([MINUTE, MINUTE, MINUTE, 10.0, 1.0])
    if tokens is not None and windows.random() < 0.2:
        amounts |= {"input_tokens": tokens * 2_500, "output_tokens": tokens * (answer + 100)}
    elif tokens is not None:
        amounts["tokens"] = tokens * (answer + 1_500) if fits else NOTHING_FITS
    named = {what: amount for what, amount in amounts.items() if amount is not None}
    quota: dict[str, float] = {}
    if told is not None:
        quota = {f"{what}_per_minute": max(amount * told, 1.0) * MINUTE / window for what, amount in named.items()}
    if told is not None and window != MINUTE:
        quota["window"] = window
    if windows.random() < 0.03:
        quota["requests_per_day"] = windows.choice([20, 100])
    return {**limits, **named, "window": window}, quota


def _draw_day(chance: random.Random, limits: dict[str, Any], longest: int, answer: int) -> dict[str, float]:
    """A day's limit of tokens that only the client is told, or (then `limits` are changed) the server's own."""
    dice, many = chance.random(), chance.choice([15, 40])
    if dice < 0.03:
        return {"tokens_per_day": float(many * (longest + 100))}
    if dice < 0.04:
        requests, tokens = 3 * many, many * (answer + 1_500)
        for what in ("input_tokens", "output_tokens"):
            limits.pop(what, None)
        limits.update(requests=requests, tokens=tokens, window=DAY, kind="sliding")
        return {"requests_per_day": float(requests), "tokens_per_day": float(tokens)}
    return {}


def _draw_server(chance: random.Random, rows: int) -> dict[str, Any]:
    """Latency, faults, rule-breaking answers, room for requests in flight, credit."""
    trouble = chance.choice([0.0, 0.05, 0.3, 0.6, 0.9])
    faults = chance.sample(list(Fault), chance.randint(1, 6))
    shares = [chance.random() + 0.01 for _ in range(len(faults) + 1)]
    scale = trouble / sum(shares)
    return {
        "latency": {
            "base": chance.choice([0.0, 0.05, 0.5, 3.0]),
            "per_token": chance.choice([0.0, 0.001, 0.02]),
            "jitter": chance.choice([0.0, 0.3, 1.0]),
        },
        "faults": {str(fault): share * scale for fault, share in zip(faults, shares[1:], strict=True)},
        "breaches": {str(Breach.BAD_START): shares[0] * scale},
        "fault_asks": chance.choice([None, 1, 2, 5]),
        "fault_retry_after": chance.choice([0.0, 1.0, 20.0, 100.0]),
        "max_concurrency": chance.choice([None, None, None, 1, 4, 20]),
        "quota_requests": chance.randrange(1, 2 * rows) if chance.random() < 0.1 else None,
    }


def _draw_outages(chance: random.Random) -> tuple[Outage, ...]:
    if chance.random() < 0.6:
        return ()
    outages, at = [], 0.0
    for _ in range(chance.randint(1, 3)):
        at += chance.choice([0.0, chance.uniform(0, 5), chance.uniform(0, 120)])
        seconds = chance.choice([0.5, 5.0, 20.0, 90.0, 700.0])
        outages.append(Outage(at, seconds, forgets=chance.random() < 0.5))
        at += seconds
    return tuple(outages)


def _draw_money(chance: random.Random, rows: int) -> tuple[tuple[float, float] | None, float | None]:
    """US dollars for a million tokens in and out, and a budget for some."""
    if chance.random() < 0.4:
        return None, None
    prices = chance.choice([(1.0, 2.0), (0.0, 10.0), (15.0, 0.0)])
    row = sum(prices) * 400 / 1_000_000
    return prices, row * rows * chance.choice([0.2, 1.0, 10.0]) if chance.random() < 0.4 else None


def _draw_retry(chance: random.Random) -> dict[str, Any]:
    return {
        "max_attempts": chance.choice([1, 2, 3, 3, None]),
        "max_failures": chance.choice([1, 2, 6, 6]),
        "first_wait": chance.choice([0.1, 1.0, 1.0, 5.0]),
        "max_wait": chance.choice([5.0, 60.0]),
        "patience": chance.choice([20.0, 120.0, 600.0]),
        "first_patience": chance.choice([5.0, 30.0]),
    }


def _draw_lives(seed: int, rows: int, sites: int) -> tuple[Life, ...]:
    """One to five processes; the source may have grown from one to the next."""
    count = chance(seed, "lives").choice([1, 1, 2, 2, 3, 5])
    grows = chance(seed, "grows").random() < 0.2
    lives: list[Life] = []
    for number in range(count):
        upto = rows if not grows or number == count - 1 else max(1, rows * (number + 1) // count)
        lives.append(_draw_life(seed, number, upto, rows, sites))
    return tuple(lives)


def _draw_life(seed: int, number: int, upto: int, rows: int, sites: int) -> Life:
    ends, odd = chance(seed, f"end of {number}"), chance(seed, f"oddities of {number}")
    how = ends.random()
    steps = int(ends.choice([5, 60, 60 * rows, 60 * rows]) * ends.random()) + 1
    pauses = chance(seed, f"stalls of {number}")
    clock = chance(seed, f"clock of {number}")
    breaks = {"source_breaks": rows, "accept_breaks": rows, "render_breaks": rows, "provider_breaks": rows}
    broken = odd.choice([*breaks, "listener_breaks"]) if odd.random() < 0.2 else None
    age, works = chance(seed, f"age of {number}"), chance(seed, f"batches of {number}")
    return Life(
        upto=upto,
        concurrency=chance(seed, f"concurrency of {number}").choice([1, 2, 5, 20, 100, None]),
        steering=_draw_steering(chance(seed, f"steering of {number}")),
        death=_draw_death(ends, steps, rows) if how < 0.5 else None,
        disk=_draw_disk(chance(seed, f"disk of {number}"), rows),
        stop=(ends.choice(["drain", "abort", "cancel", "twice"]), _seconds(ends)) if how > 0.7 else None,
        stalls=tuple((pauses.randrange(1, 60 * rows), pauses.choice([0.02, 3.0, 100.0])) for _ in range(2))
        if pauses.random() < 0.15
        else (),
        away=clock.choice([0.2, 0.2, 5.0, 30.0, 61.0, 4_000.0]),
        clock_step=clock.choice([-7_000.0, -30.0, -1.0, 10.0, 5_000.0]) if clock.random() < 0.15 else 0.0,
        wrong_key=odd.randrange(sites) if odd.random() < 0.03 else None,
        seconds_a_row=odd.choice([0.01, 0.3, 4.0]) if odd.random() < 0.3 else 0.0,
        retry_reasons=_draw_reasons(odd) if number and odd.random() < 0.25 else None,
        rejudge=odd.choice(RULES) if number and odd.random() < 0.2 else None,
        pulse=odd.choice([0.5, 10.0]) if odd.random() < 0.2 else None,
        older=age.choice([1, 2, 3]) if number and age.random() < 0.1 else None,
        batch=works.choice(BATCH_WORK) if _has_batches(seed) and works.random() < 0.7 else (),
        **{broken: odd.randrange(1, rows + 2)} if broken else {},
    )


BATCH_WORK = (
    ("submit",), ("submit",), ("collect",), ("collect",), ("submit", "collect"), ("collect", "submit"), ("cancel",), ("forget",),
)  # fmt: skip


def _has_batches(seed: int) -> bool:
    return chance(seed, "batches at all").random() < 0.15


def _draw_batches(chance: random.Random) -> Batches:
    """Some are done at once, some within the time away, some expire half done."""
    server = {
        "validation": chance.choice([0.0, 2.0]),
        "duration": chance.choice([0.0, 10.0, 100.0, 5_000.0]),
        "window": chance.choice([40.0, 86_400.0, 86_400.0]),
        "enqueued_tokens": chance.choice([None, None, None, 2_000]),
        "metadata": chance.random() < 0.8,
    }
    return Batches(server, chance.choice([2, 10, 100]), chance.choice([0.0, 0.0, 0.3]), chance.choice([0.0, 0.0, 0.3]))


def _seconds(chance: random.Random) -> float:
    return chance.choice([0.0, chance.uniform(0, 0.5), chance.uniform(0, 5), chance.uniform(0, 100)])


def _draw_steering(chance: random.Random) -> tuple[tuple[float, str | int], ...]:
    if chance.random() < 0.85:
        return ()
    at, pause = _seconds(chance), chance.choice([0.1, 20.0, 300.0])
    return (at, "pause"), (at + pause, "go-on"), (_seconds(chance), chance.choice([1, 3, 50]))


def _draw_death(chance: random.Random, steps: int, rows: int) -> Death:
    what = chance.choice(["step", "step", "statement", "commit"])
    at = {"step": steps, "statement": chance.randrange(1, 30 + 8 * rows), "commit": chance.randrange(1, 2 + 3 * rows)}
    return Death(what, at[what], after=chance.random() < 0.5)


def _draw_disk(chance: random.Random, rows: int) -> Disk | None:
    if chance.random() < 0.9:
        return None
    return Disk(chance.choice(["full", "broken"]), chance.randrange(2 * rows), chance.choice([1, 2, 3, 1_000]))


def _draw_reasons(chance: random.Random) -> tuple[str, ...]:
    return chance.choice([(), ("bad-start",), ("server-error", "timeout", "disconnected")])
