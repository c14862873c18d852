"""What a run will take, before it is paid for: tokens, money, time, and the limit that binds. Numbers to numbers.

`planning.py` gathers what goes in. Everything here is a mean over many rows; how far one run may lie from it is said
where it comes from few replies.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from smile_async.engine.concurrency import DOUBLING, FIRST
from smile_async.engine.lane import FIRST_PACED
from smile_async.rates import Rates, Size
from smile_async.settings import Limits, Prices, Quota, RetryPolicy

CPU_A_REQUEST = 0.0005  # seconds of one core: README, "Cheap"; slow shared cores
DAY = 86_400.0  # seconds
CATCHES_UP = 0.13  # of the time at a rate: what is lost at the start is made up for, at 1.15 times the mean rate
HALVINGS = 40  # of an interval, to find a share
CPU = "CPU of this machine"
NOTED = 0.02  # seconds in which a place is neither asked nor free: its request, then its reply, is brought to the disk
IN_FLIGHT = "requests in flight"
MOST_ATTEMPTS = 1_000  # replies a row, in place of no limit


@dataclass(frozen=True, slots=True)
class Work:
    """Rows that will be asked and the sum of their prompts, each counted once. `sampled`: prompts that were rendered,
    where not all were. `left_out`: rows that are not asked, by reason (bad-row, duplicate, ended)."""

    rows: int
    size: Size
    sampled: int | None = None
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bound:
    """How many seconds the run takes at least because of one limit, without what the first and the last requests add;
    `limit` is in the limit's own unit."""

    name: str
    limit: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint. `quota` and `prices` None: the run's."""

    name: str = ""
    quota: Quota | None = None
    prices: Prices | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the requests an endpoint will answer, and the limit that keeps it from more."""

    name: str
    share: float
    binds: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`bounds`: of all endpoints together, the slowest first; that one binds, and `seconds` is what it comes to with
    the first and last requests. `uncertain`: share by which tokens may be off (two standard errors), None where they
    rest on assumptions. Money is None where an endpoint has no prices. `shares`: one for each endpoint."""

    work: Work
    rates: Rates
    requests: float
    replies: float
    accepted: float
    prompt_tokens: float
    completion_tokens: float
    cost_usd: float | None
    budget_usd: float | None
    seconds: float
    bounds: tuple[Bound, ...]
    uncertain: float | None
    shares: tuple[Share, ...] = ()

    @property
    def binds(self) -> str:
        return self.bounds[0].name if self.bounds else ""

    @property
    def budget_rows(self) -> int | None:
        """Rows that the budget is enough for; None without one."""
        if self.budget_usd is None or not self.cost_usd:
            return None
        return min(self.work.rows, math.floor(self.work.rows * self.budget_usd / self.cost_usd + 1e-9))


def predict(
    work: Work,
    rates: Rates,
    *,
    limits: Limits,
    prices: Prices | None,
    policy: RetryPolicy,
    max_tokens: int | None = None,
    spent_usd: float = 0.0,
    places: Sequence[Place] = (Place(),),
) -> Plan:
    """`spent_usd`: what the run has cost so far, which counts against its budget. `limits` and `prices` are those of
    each of `places` that names none of its own."""
    most = policy.max_attempts or MOST_ATTEMPTS
    asked = work.rows * (1 - rates.refused)
    replies = asked * _replies_a_row(rates, most)
    accepted = asked * (rates.first + _retried(rates) * (1 - (1 - rates.later) ** (most - 1)))
    requests = replies * (1 + rates.failed) + work.rows * rates.refused
    times = replies / work.rows if work.rows else 0.0
    prompt = rates.prompt_tokens(work.size) * times
    completion = replies * rates.completion_tokens(work.size.total / max(work.rows, 1), max_tokens)
    load = _Load(requests, prompt, completion)
    shares = _shares([place.quota or limits for place in places], rates, load)
    done = [
        _Done(place.name, share, _bounds(place.quota or limits, rates, load.scaled(share)), place.prices or prices)
        for place, share in zip(places, shares, strict=True)
    ]
    bounds = _together(done, requests)
    return Plan(
        work=work,
        rates=rates,
        requests=requests,
        replies=replies,
        accepted=accepted,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost_usd=_cost(done, load),
        budget_usd=None if limits.budget_usd is None else max(limits.budget_usd - spent_usd, 0.0),
        seconds=max(bound.seconds + _edges(bound, rates, requests, most) for bound in bounds),
        bounds=tuple(sorted(bounds, key=lambda bound: -bound.seconds)),
        uncertain=_uncertain(rates, most, prompt, completion),
        shares=tuple(Share(one.name, one.share, max(one.bounds, key=lambda bound: bound.seconds).name) for one in done),
    )


def _retried(rates: Rates) -> float:
    """Share of first replies after which the row is asked again."""
    return max(1 - rates.first - rates.final, 0.0)


def _replies_a_row(rates: Rates, most: int) -> float:
    """Of rows that are answered at all. Asked again while it fails, at most `most` times in all."""
    later = most - 1 if rates.later <= 0 else (1 - (1 - rates.later) ** (most - 1)) / rates.later
    return 1 + _retried(rates) * later


@dataclass(frozen=True, slots=True)
class _Load:
    """What is to be done: requests and tokens."""

    requests: float
    prompt: float
    completion: float

    def scaled(self, share: float) -> "_Load":
        return _Load(self.requests * share, self.prompt * share, self.completion * share)


@dataclass(frozen=True, slots=True)
class _Done:
    """An endpoint's part, and what it pays for it."""

    name: str
    share: float
    bounds: list[Bound]
    prices: Prices | None


def _cost(done: Sequence[_Done], load: _Load) -> float | None:
    cost = 0.0
    for one in done:
        if one.prices is None:
            return None
        cost += one.share * one.prices.cost(load.prompt, load.completion)
    return cost


def _shares(quotas: Sequence[Quota], rates: Rates, load: _Load) -> list[float]:
    """How much of the load each endpoint does: as much as it can while the others do theirs, since whoever has room is
    given the next request. Found by halving: the time after which all together have done it."""
    if len(quotas) == 1 or not load.requests:
        return [1 / len(quotas)] * len(quotas)
    short, enough = 0.0, min(_slowest(quota, rates, load) for quota in quotas)
    for _ in range(HALVINGS):
        seconds = (short + enough) / 2
        if sum(_part_within(seconds, quota, rates, load) for quota in quotas) < 1:
            short = seconds
        else:
            enough = seconds
    parts = [_part_within(enough, quota, rates, load) for quota in quotas]
    return [part / sum(parts) for part in parts]


def _part_within(seconds: float, quota: Quota, rates: Rates, load: _Load) -> float:
    """How much of the load an endpoint can do in so many seconds, from 0 to 1."""
    some, more = 0.0, 1.0
    for _ in range(HALVINGS):
        part = (some + more) / 2
        if _slowest(quota, rates, load.scaled(part)) <= seconds:
            some = part
        else:
            more = part
    return some


def _slowest(quota: Quota, rates: Rates, load: _Load) -> float:
    return max(load.requests * CPU_A_REQUEST, *(bound.seconds for bound in _bounds(quota, rates, load)))


def _together(done: Sequence[_Done], requests: float) -> list[Bound]:
    """Limits of a kind added up; each takes as long as at the endpoint where it takes longest."""
    sums = {CPU: Bound(CPU, 1 / CPU_A_REQUEST, requests * CPU_A_REQUEST)}
    for bound in [bound for one in done for bound in one.bounds]:
        other = sums.get(bound.name, Bound(bound.name, 0.0, 0.0))
        sums[bound.name] = Bound(bound.name, other.limit + bound.limit, max(other.seconds, bound.seconds))
    return list(sums.values())


def _bounds(quota: Quota, rates: Rates, load: _Load) -> list[Bound]:
    """Each limit of an endpoint alone, as if the others were none, without what the first and the last request add."""
    amounts = {
        "requests": load.requests,
        "tokens": load.prompt + load.completion,
        "input_tokens": load.prompt,
        "output_tokens": load.completion,
    }
    bounds = []
    for what, amount in amounts.items():
        words = what.replace("_", " ")
        if (per_minute := getattr(quota, f"{what}_per_minute")) is not None:
            bounds.append(Bound(f"{words} a minute", per_minute, amount / per_minute * 60))
    days = {"requests": quota.requests_per_day, "tokens": quota.tokens_per_day}
    first = FIRST_PACED if bounds or any(days.values()) else FIRST
    bounds.append(_in_flight(quota, rates, load.requests, first))
    slowest = max(load.requests * CPU_A_REQUEST, *(bound.seconds for bound in bounds))
    return bounds + [
        _by_day(f"{what} a day", per_day, amounts[what], slowest) for what, per_day in days.items() if per_day
    ]


def _by_day(name: str, per_day: float, amount: float, otherwise: float) -> Bound:
    """A day's worth goes as fast as the other limits let it, then the next day is waited for."""
    days = max(math.ceil(amount / per_day) - 1, 0)
    rest = (amount - days * per_day) / amount if amount else 0.0
    return Bound(name, per_day, days * DAY + otherwise * rest if days else 0.0)


def _in_flight(quota: Quota, rates: Rates, requests: float, first: int) -> Bound:
    """Little's law. Where the number is found from the answers, it doubles from `first` on, as long as that pays."""
    latency, most = (rates.latency if rates.busy is None else rates.busy) + NOTED, quota.most_in_flight
    if quota.concurrency is not None or latency <= 0:
        return Bound(IN_FLIGHT, most, requests * latency / most)
    seconds, sent, now = 0.0, 0.0, min(first, most)
    while now < most and sent + now * max(latency, DOUBLING) / latency < requests:
        sent += now * max(latency, DOUBLING) / latency
        seconds += max(latency, DOUBLING)
        now = min(now * 2, most)
    return Bound(IN_FLIGHT, most, seconds + (requests - sent) * latency / now)


def _edges(bound: Bound, rates: Rates, requests: float, most: int) -> float:
    """Seconds that the first request, sent alone, and the last ones add: their answers, and those to rows that are
    asked again at the very end."""
    if not requests:
        return 0.0
    if not bound.seconds:  # a server that answers at once
        return rates.latency
    by_rate = requests / bound.seconds * rates.latency + 1
    under_way = min(requests, bound.limit if bound.name == IN_FLIGHT else by_rate)
    rounds = 0.0
    for asked_again in range(min(most, 50) - 1):
        still_bad: float = _retried(rates) * (1 - rates.later) ** asked_again
        rounds += 1 - math.pow(1 - still_bad, under_way)
    if bound.name == IN_FLIGHT:
        return rates.latency * (1 + rounds)
    first = 0.0 if "day" in bound.name else max(rates.latency - CATCHES_UP * bound.seconds, 0.0)
    return first + rates.latency * (1 + rounds)


def _uncertain(rates: Rates, most: int, prompt: float, completion: float) -> float | None:
    """Two standard errors of the sum of tokens, as a share of it: of the answers' mean length, of how often rows are
    asked again, and of how many are refused."""
    if not rates.replies:
        return None
    length = rates.deviation / math.sqrt(rates.replies) / max(rates.completion, 1.0)
    of_answers = length * completion / max(prompt + completion, 1.0)
    # A rate of 0 or 1 among few is none that is certain (Agresti and Coull).
    share = (rates.first * rates.replies + 2) / (rates.replies + 4)
    error = math.sqrt(share * (1 - share) / (rates.replies + 4))
    low, high = (_replies_a_row(_with_first(rates, rates.first + sign * error), most) for sign in (1, -1))
    of_asking = (high - low) / 2 / _replies_a_row(rates, most)
    of_refusals = math.sqrt(rates.refused * (1 - rates.refused) / rates.replies) / max(1 - rates.refused, 0.1)
    return 2 * math.sqrt(of_answers**2 + of_asking**2 + of_refusals**2)


def _with_first(rates: Rates, first: float) -> Rates:
    return replace(rates, first=min(max(first, 0.0), 1.0 - rates.final))
