"""What cannot be known of a model without asking it: assumed, or learned from replies. Numbers to numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from smile_async.engine.experience import Fates

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
