"""What a run will take, before it is paid for: tokens, money, time, and the limit that binds. Numbers to numbers.

`planning.py` gathers what goes in. Everything here is a mean over many rows; how far one run may lie from it is said
where it comes from few replies.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from smile_async.engine.experience import Fates
from smile_async.settings import Limits, Prices, RetryPolicy

CPU_A_REQUEST = 0.0005  # seconds of one core: README, "Cheap"; slow shared cores
DAY = 86_400.0  # seconds
CATCHES_UP = 0.13  # of the time at a rate: what is lost at the start is made up for, at 1.15 times the mean rate
FIRST_IN_FLIGHT = 8  # where the number is found from the answers
DOUBLING = 0.7  # seconds that doubling it takes at least
MOST_ATTEMPTS = 1_000  # replies a row, in place of no limit

ASSUMED_PER_ASCII = 0.25  # tokens a character: English at today's tokenizers
ASSUMED_PER_OTHER = 0.75  # Chinese: 0.6 to 1.1
ASSUMED_ANSWER = 940  # characters of a dialogue in the released corpus
ASSUMED_SPEED = 50.0  # tokens a second of one answer
ASSUMED_ACCEPTANCE = 0.985  # section 4: 55,165 of 56,032 at one try each
FEW = 5  # replies: from fewer only a ratio is taken
SURE = 2.0  # standard errors: slopes that are not as far from 0 are taken for 0
PRIOR = 2.0  # replies that the first acceptance rate weighs in the later one


@dataclass(frozen=True, slots=True)
class Size:
    """Characters of prompts, in ASCII and others: tokenizers treat them differently, and the two together stand for
    the part that all prompts of a recipe share and the part that is a row's own."""

    ascii: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        return self.ascii + self.other

    def __add__(self, more: "Size") -> "Size":
        return Size(self.ascii + more.ascii, self.other + more.other)

    def scaled(self, factor: float) -> "Size":
        return Size(self.ascii * factor, self.other * factor)


def size_of(texts: Sequence[str]) -> Size:
    ascii_ = sum(len(text.encode("ascii", "ignore")) for text in texts)
    return Size(ascii_, sum(map(len, texts)) - ascii_)


@dataclass(frozen=True, slots=True)
class Work:
    """Rows that will be asked and the sum of their prompts, each counted once. `sampled`: prompts that were rendered,
    where not all were. `left_out`: rows that are not asked, by reason (bad-row, duplicate, ended)."""

    rows: int
    size: Size
    sampled: int | None = None
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """One reply of a run: its prompt, what the server counted, and how many seconds it took."""

    size: Size
    prompt_tokens: int
    completion_tokens: int
    took: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What cannot be known without asking. `basis` says where it comes from, `replies` from how many (0: assumed).

    `completion` tokens at a prompt of `at` characters, and `slope` more for each character above that. `latency` is
    that of a reply, `busy` that of any request, failed ones included (None: the same); both in seconds.
    """

    basis: str
    per_ascii: float
    per_other: float
    completion: float
    latency: float
    first: float = ASSUMED_ACCEPTANCE
    later: float = ASSUMED_ACCEPTANCE
    final: float = 0.0
    refused: float = 0.0
    failed: float = 0.0
    slope: float = 0.0
    at: float = 0.0
    replies: int = 0
    deviation: float = 0.0
    busy: float | None = None
    assumptions: tuple[str, ...] = ()

    def prompt_tokens(self, size: Size) -> float:
        return self.per_ascii * size.ascii + self.per_other * size.other

    def completion_tokens(self, characters: float, max_tokens: int | None) -> float:
        """Mean, for prompts of so many characters on average."""
        mean = max(self.completion + self.slope * (characters - self.at), 1.0)
        return mean if max_tokens is None else min(mean, float(max_tokens))


def assumed(language: str, max_tokens: int | None) -> Rates:
    """Rates for a model of which nothing is known."""
    chinese = language.startswith("zh")
    completion = ASSUMED_ANSWER * ASSUMED_PER_OTHER
    latency = min(completion, max_tokens or completion) / ASSUMED_SPEED
    about = "a Chinese character" if chinese else "a character outside ASCII"
    return Rates(
        basis="assumptions",
        per_ascii=ASSUMED_PER_ASCII,
        per_other=ASSUMED_PER_OTHER,
        completion=completion,
        latency=latency,
        assumptions=(
            f"{ASSUMED_PER_OTHER} tokens {about} (0.6 to 1.1), {ASSUMED_PER_ASCII} an ASCII one (0.2 to 0.3)",
            f"{completion:.0f} tokens an answer (the released dialogues have about {ASSUMED_ANSWER} characters)",
            f"{latency:.0f} s an answer ({ASSUMED_SPEED:.0f} tokens a second)",
            f"{ASSUMED_ACCEPTANCE:.1%} of replies accepted (the paper's share)",
        ),
    )


def learned(basis: str, seen: Sequence[Seen], fates: Fates, otherwise: Rates) -> Rates:
    """Rates of a run that had replies; what the server did not count is taken from `otherwise`."""
    first = fates.first_good / fates.answered if fates.answered else otherwise.first
    replies = max(fates.answered + fates.later, 1)
    fared = replace(
        otherwise,
        basis=basis,
        latency=sum(one.took for one in seen) / len(seen) if seen else otherwise.latency,
        first=first,
        later=(fates.later_good + PRIOR * first) / (fates.later + PRIOR),
        final=fates.first_final / max(fates.answered, 1),
        refused=fates.refused / max(fates.answered + fates.refused, 1),
        failed=fates.failed / replies,
        busy=fates.busy,
        assumptions=otherwise.assumptions[:2],
    )
    counted = [one for one in seen if one.completion_tokens > 0 or one.prompt_tokens > 0]
    return _with_sizes(fared, counted) if counted else fared


def _with_sizes(rates: Rates, seen: Sequence[Seen]) -> Rates:
    per_ascii, per_other = _per_character(seen)
    sizes = [one.size.total for one in seen]
    lengths = [float(one.completion_tokens) for one in seen]
    mean = sum(lengths) / len(lengths)
    return replace(
        rates,
        per_ascii=per_ascii,
        per_other=per_other,
        completion=mean,
        slope=_slope(sizes, lengths),
        at=sum(sizes) / len(sizes),
        replies=len(seen),
        deviation=math.sqrt(sum((length - mean) ** 2 for length in lengths) / max(len(lengths) - 1, 1)),
        assumptions=(),
    )


def _per_character(seen: Sequence[Seen]) -> tuple[float, float]:
    """Tokens of an ASCII character and of another, by least squares; one ratio for both where that says nothing."""
    tokens = sum(one.prompt_tokens for one in seen)
    ratio = tokens / max(sum(one.size.total for one in seen), 1.0)
    aa = sum(one.size.ascii**2 for one in seen)
    oo = sum(one.size.other**2 for one in seen)
    ao = sum(one.size.ascii * one.size.other for one in seen)
    determinant = aa * oo - ao * ao
    if len(seen) < FEW or determinant <= 1e-6 * aa * oo:
        return ratio, ratio
    at = sum(one.size.ascii * one.prompt_tokens for one in seen)
    ot = sum(one.size.other * one.prompt_tokens for one in seen)
    per_ascii, per_other = (at * oo - ot * ao) / determinant, (ot * aa - at * ao) / determinant
    return (per_ascii, per_other) if per_ascii >= 0 and per_other >= 0 else (ratio, ratio)


def _slope(sizes: Sequence[float], lengths: Sequence[float]) -> float:
    """Tokens that an answer is longer for each character of its prompt; 0 where chance would do as well."""
    count = len(sizes)
    if count < FEW:
        return 0.0
    middle, mean = sum(sizes) / count, sum(lengths) / count
    spread = sum((size - middle) ** 2 for size in sizes)
    if spread <= 0:
        return 0.0
    pairs = list(zip(sizes, lengths, strict=True))
    slope = sum((size - middle) * (length - mean) for size, length in pairs) / spread
    rest = sum((length - mean - slope * (size - middle)) ** 2 for size, length in pairs)
    error = math.sqrt(rest / (count - 2) / spread)
    return slope if abs(slope) > SURE * error else 0.0


@dataclass(frozen=True, slots=True)
class Bound:
    """How many seconds the run takes at least because of one limit, without what the first and the last requests add;
    `limit` is in the limit's own unit."""

    name: str
    limit: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`bounds`: the slowest first; that one binds, and `seconds` is what it comes to with the first and last requests.
    `uncertain`: share by which tokens may be off (two standard errors), None where they rest on assumptions. Money is
    None without prices."""

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
) -> Plan:
    """`spent_usd`: what the run has cost so far, which counts against its budget."""
    most = policy.max_attempts or MOST_ATTEMPTS
    asked = work.rows * (1 - rates.refused)
    replies = asked * _replies_a_row(rates, most)
    accepted = asked * (rates.first + _retried(rates) * (1 - (1 - rates.later) ** (most - 1)))
    requests = replies * (1 + rates.failed) + work.rows * rates.refused
    times = replies / work.rows if work.rows else 0.0
    prompt = rates.prompt_tokens(work.size) * times
    completion = replies * rates.completion_tokens(work.size.total / max(work.rows, 1), max_tokens)
    bounds = _bounds(limits, rates, requests, prompt, completion)
    return Plan(
        work=work,
        rates=rates,
        requests=requests,
        replies=replies,
        accepted=accepted,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost_usd=None if prices is None else prices.cost(prompt, completion),
        budget_usd=None if limits.budget_usd is None else max(limits.budget_usd - spent_usd, 0.0),
        seconds=max(bound.seconds + _edges(bound, rates, requests, most) for bound in bounds),
        bounds=tuple(sorted(bounds, key=lambda bound: -bound.seconds)),
        uncertain=_uncertain(rates, most, prompt, completion),
    )


def _retried(rates: Rates) -> float:
    """Share of first replies after which the row is asked again."""
    return max(1 - rates.first - rates.final, 0.0)


def _replies_a_row(rates: Rates, most: int) -> float:
    """Of rows that are answered at all. Asked again while it fails, at most `most` times in all."""
    later = most - 1 if rates.later <= 0 else (1 - (1 - rates.later) ** (most - 1)) / rates.later
    return 1 + _retried(rates) * later


def _bounds(limits: Limits, rates: Rates, requests: float, prompt: float, completion: float) -> list[Bound]:
    """Each limit alone, as if the others were none, without what the first and the last request add."""
    amounts = {
        "requests": requests,
        "tokens": prompt + completion,
        "input_tokens": prompt,
        "output_tokens": completion,
    }
    bounds = [Bound("CPU of this machine", 1 / CPU_A_REQUEST, requests * CPU_A_REQUEST)]
    for what, amount in amounts.items():
        words = what.replace("_", " ")
        if (per_minute := getattr(limits, f"{what}_per_minute")) is not None:
            bounds.append(Bound(f"{words} a minute", per_minute, amount / per_minute * 60))
    fastest = max(bound.seconds for bound in bounds)
    flight = _in_flight(limits, rates, requests)
    bounds.append(flight)
    days = {"requests": limits.requests_per_day, "tokens": limits.tokens_per_day}
    slowest = max(fastest, flight.seconds)
    return bounds + [
        _by_day(f"{what} a day", per_day, amounts[what], slowest) for what, per_day in days.items() if per_day
    ]


def _by_day(name: str, per_day: float, amount: float, otherwise: float) -> Bound:
    """A day's worth goes as fast as the other limits let it, then the next day is waited for."""
    days = max(math.ceil(amount / per_day) - 1, 0)
    rest = (amount - days * per_day) / amount if amount else 0.0
    return Bound(name, per_day, days * DAY + otherwise * rest if days else 0.0)


def _in_flight(limits: Limits, rates: Rates, requests: float) -> Bound:
    """Little's law. Where the number is found from the answers, it doubles from `FIRST_IN_FLIGHT` on."""
    latency, most = rates.latency if rates.busy is None else rates.busy, limits.most_in_flight
    if limits.concurrency is not None or latency <= 0:
        return Bound("requests in flight", most, requests * latency / most)
    seconds, sent, now = 0.0, 0.0, min(FIRST_IN_FLIGHT, most)
    while now < most and sent + now * max(latency, DOUBLING) / latency < requests:
        sent += now * max(latency, DOUBLING) / latency
        seconds += max(latency, DOUBLING)
        now = min(now * 2, most)
    return Bound("requests in flight", most, seconds + (requests - sent) * latency / now)


def _edges(bound: Bound, rates: Rates, requests: float, most: int) -> float:
    """Seconds that the first request, sent alone, and the last ones add: their answers, and those to rows that are
    asked again at the very end."""
    if not requests:
        return 0.0
    if not bound.seconds:  # a server that answers at once
        return rates.latency
    by_rate = requests / bound.seconds * rates.latency + 1
    under_way = min(requests, bound.limit if "flight" in bound.name else by_rate)
    rounds = 0.0
    for asked_again in range(min(most, 50) - 1):
        still_bad: float = _retried(rates) * (1 - rates.later) ** asked_again
        rounds += 1 - math.pow(1 - still_bad, under_way)
    if "flight" in bound.name:
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
