"""PsyQA*: section 4.1, QA Sampling."""

from collections.abc import Callable
from itertools import islice
from random import Random

from smile_async.dialogue.model import QAPair
from smile_async.errors import UsageError
from smile_async.source.readers import Source
from smile_async.source.rows import BadRow, SourceRow

PAPER_QUESTIONS = 500
PAPER_FIRST = 5000  # QAs, each one question with one answer


def sample(
    source: Source,
    *,
    n: int = PAPER_QUESTIONS,
    first: int = PAPER_FIRST,
    seed: int,
    skipped: Callable[[BadRow], object] = lambda _row: None,
) -> list[QAPair]:
    """`n` distinct questions out of the first `first` QAs, one answer of each drawn at random, in the source's order.

    Two QAs are of one question when they have the same `source_id`, or, without one, the same question and
    description. The same seed gives the same sample on every machine. `skipped` is told of the
    rows that cannot be read, where the source skips them. `UsageError` when there are fewer questions.
    """
    if n < 1 or first < n:
        raise UsageError(f"Cannot draw {n} questions out of the first {first} QAs.", hint="It takes 1 <= n <= first.")
    groups = list(_answers_by_question(source, first, skipped).values())
    if len(groups) < n:
        raise UsageError(
            f"{source.name}: the first {first} QAs hold {len(groups)} distinct questions, fewer than {n}.",
            hint=f"Draw at most {len(groups)}, or look further than the first {first}.",
        )
    chance = Random(seed)
    chosen = sorted(chance.sample(range(len(groups)), n))
    return [chance.choice(groups[place]) for place in chosen]


def _answers_by_question(
    source: Source, first: int, skipped: Callable[[BadRow], object]
) -> dict[tuple[str, ...], list[QAPair]]:
    groups: dict[tuple[str, ...], list[QAPair]] = {}
    for row in islice(source, first):
        if isinstance(row, SourceRow):
            pair = row.pair
            key = (pair.source_id,) if pair.source_id else (pair.question, pair.description)
            groups.setdefault(key, []).append(pair)
        else:
            skipped(row)
    return groups
