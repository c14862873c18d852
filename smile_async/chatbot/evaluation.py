"""Table 5: several systems' responses to the same cases beside each other, with bootstrap confidence intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smile_async.chatbot import metrics
from smile_async.chatbot.answer_lines import REFERENCE, read_texts
from smile_async.errors import UsageError

RESAMPLES = 1_000
SEED = 1234
LEVEL = 0.95
SHOWN = 3  # ids in an error
PER_CASE = ("meteor", "bleu-1", "bleu-2", "bleu-3", "rouge-l", "distinct-1", "distinct-2", "distinct-3")

Missing = Literal["refuse", "empty", "skip"]
Scorer = Callable[[Sequence[str], Sequence[str]], Sequence[float]]
"""From references and responses to one score a case."""


@dataclass(frozen=True, slots=True)
class Figure:
    """The mean over the `counted` cases that have a score, and its bootstrap interval (percentiles, `LEVEL`)."""

    mean: float
    low: float
    high: float
    counted: int

    def as_json(self) -> dict[str, float]:
        return {"mean": self.mean, "low": self.low, "high": self.high, "counted": self.counted}


@dataclass(frozen=True, slots=True)
class System:
    """One system's row of Table 5. `differences` are to the first system, case by case, with their intervals: one that
    does not hold 0 is a difference that more cases would hardly change."""

    name: str
    figures: Mapping[str, Figure]
    differences: Mapping[str, Figure]
    corpus_bleu: float
    length: float
    """Mean length of a response in characters."""

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "corpus_bleu_4": self.corpus_bleu,
            "mean_characters": self.length,
            **{name: figure.as_json() for name, figure in self.figures.items()},
            "differences": {name: figure.as_json() for name, figure in self.differences.items()},
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All systems over the same `cases`; `formulas` says what each figure is."""

    cases: int
    tokens: str
    systems: tuple[System, ...]
    formulas: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {
            "cases": self.cases,
            "tokens": self.tokens,
            "systems": [one.as_json() for one in self.systems],
            "formulas": dict(self.formulas),
        }


def evaluate(
    references: Sequence[str],
    responses: Mapping[str, Sequence[str]],
    *,
    tokens: str | None = None,
    more: Mapping[str, Scorer] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Evaluation:
    """`references` has a text a case, `responses` as many by each system, in the same order.

    `tokens` is one of `metrics.TOKENS`; None: characters or words, by the script of the references. `more` are
    metrics beside those of `PER_CASE` (BERTScore, cosine), by their name. Raises `UsageError` where lengths differ
    or nothing is there.
    """
    if not references or not responses:
        raise UsageError("There is nothing to evaluate.", hint="Give cases with references, and a system's responses.")
    for name, texts in responses.items():
        if len(texts) != len(references):
            raise UsageError(f"{name} has {len(texts):,} responses to {len(references):,} cases.")
    tokens = tokens or metrics.tokens_for(references)
    tokenize = metrics.TOKENS[tokens]
    # Metrics of the caller's first: an encoder that cannot be had is told before the others are computed.
    theirs = {
        name: {metric: list(scorer(references, texts)) for metric, scorer in (more or {}).items()}
        for name, texts in responses.items()
    }
    scored = {name: _scores(references, texts, tokenize) | theirs[name] for name, texts in responses.items()}
    first = next(iter(scored.values()))
    systems = []
    for name, scores in scored.items():
        figures = {metric: figure(each, resamples, seed) for metric, each in scores.items()}
        differences = (
            {}
            if scores is first
            else {
                metric: figure([a - b for a, b in zip(each, first[metric], strict=True)], resamples, seed)
                for metric, each in scores.items()
            }
        )
        bleu = metrics.corpus_bleu(references, responses[name], tokenize)
        length = sum(map(len, responses[name])) / len(references)
        systems.append(System(name, figures, differences, bleu, length))
    formulas = {name: metrics.FORMULAS.get(name.partition(" ")[0], "") for name in first}
    return Evaluation(len(references), tokens, tuple(systems), formulas)


def _scores(references: Sequence[str], responses: Sequence[str], tokenize: metrics.Tokenize) -> dict[str, list[float]]:
    """Each metric's score a case; nan where a case has none."""
    from smile_async.analysis.lexical import own_ratios
    from smile_async.analysis.tokenization import numbered

    scores: dict[str, list[float]] = {name: [] for name in PER_CASE}
    cut = [tokenize(response) for response in responses]
    for reference, told in zip(references, cut, strict=True):
        wanted = tokenize(reference)
        scores["meteor"].append(metrics.meteor(wanted, told))
        for order, score in enumerate(metrics.bleu(wanted, told), 1):
            scores[f"bleu-{order}"].append(score)
        scores["rouge-l"].append(metrics.rouge_l(wanted, told))
    tokens = numbered(cut, {})
    for order in (1, 2, 3):
        scores[f"distinct-{order}"] = own_ratios(tokens, order).tolist()
    return scores


def figure(scores: Sequence[float], resamples: int = RESAMPLES, seed: int = SEED) -> Figure:
    """Mean and percentile bootstrap interval over cases; those without a score (nan) do not count."""
    known = [score for score in scores if not math.isnan(score)]
    if not known:
        return Figure(math.nan, math.nan, math.nan, 0)
    low, high = bootstrap(known, resamples, seed)
    return Figure(math.fsum(known) / len(known), low, high, len(known))


def bootstrap(scores: Sequence[float], resamples: int = RESAMPLES, seed: int = SEED) -> tuple[float, float]:
    """The interval in which the middle `LEVEL` of the means of `resamples` samples lie, drawn with replacement."""
    from smile_async.analysis.arrays import np

    values, draw = np.asarray(scores, float), np.random.default_rng(seed)
    means = [values[draw.integers(0, values.size, values.size)].mean() for _ in range(resamples)]
    cut = (1 - LEVEL) / 2
    low, high = np.quantile(means, [cut, 1 - cut])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Answered:
    """Cases that are evaluated, in the order of their file: references, and each system's responses."""

    ids: tuple[str, ...]
    references: tuple[str, ...]
    responses: Mapping[str, tuple[str, ...]]
    left_out: int = 0


def read_answered(cases: Path, responses: Mapping[str, Path], *, missing: Missing = "refuse") -> Answered:
    """`cases`: JSONL of {id, reference, ...}; `responses`: by system, JSONL of {id, response, ...} in any order.

    A case without a system's response is refused (`UsageError` names some), counts as an empty response, or is left out
    for all systems. Responses to other cases are refused: they belong to another test set.
    """
    wanted = read_texts(cases, REFERENCE)
    if not wanted:
        raise UsageError(f"{cases} holds no case.")
    told = {name: read_texts(path) for name, path in responses.items()}
    for name, found in told.items():
        if foreign := [one for one in found if one not in wanted]:
            raise UsageError(f"{responses[name]} answers cases that are not in {cases}: {_named(foreign)}.")
    gaps = {one for found in told.values() for one in wanted if one not in found}
    if gaps and missing == "refuse":
        name = next(name for name, found in told.items() if gaps - set(found))
        lacking = [one for one in wanted if one not in told[name]]
        raise UsageError(
            f"{name} has no response to {len(lacking):,} of {len(wanted):,} cases: {_named(lacking)}.",
            hint="Have them answered, or say --missing empty (counts as no words) or --missing skip (for all systems).",
        )
    ids = tuple(one for one in wanted if missing != "skip" or one not in gaps)
    return Answered(
        ids,
        tuple(wanted[one] for one in ids),
        {name: tuple(found.get(one, "") for one in ids) for name, found in told.items()},
        len(wanted) - len(ids),
    )


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
