"""Training, validation and test rows, drawn by seed so that all answers to one question are in the same part."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from smile_async.corpus.formats import Record
from smile_async.errors import UsageError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of 1 that go into validation and test; the rest is for training."""

    validation: float = 0.05
    test: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 0 or not self.validation + self.test < 1:
            raise UsageError(
                f"Shares of {self.validation:g} for validation and {self.test:g} for test leave nothing to train on.",
                hint="Both are parts of 1, together less than 1: 0.05 and 0.05.",
            )


def question_of(record: Record) -> bytes:
    """What keeps rows together, as a digest: the question with its description, else the source's id of it, else the
    row alone."""
    pair = record.pair
    if pair is not None:
        told = ("question", pair.question, pair.description)
    else:
        told = ("source", record.source_id, "") if record.source_id else ("row", record.row_id, "")
    return blake2b("\0".join(told).encode(errors="surrogatepass"), digest_size=16).digest()


def split_questions(rows: Mapping[bytes, int], shares: Shares) -> dict[bytes, Split]:
    """The part of each question, given its number of rows. Which questions go where depends on the seed and on which
    questions there are, not on their order. A part is filled until it has its share of the rows: by less than one
    question's rows too full, and never empty unless its share is 0 or nothing would be left to train on."""
    key = shares.seed.to_bytes(16, signed=True)
    order = sorted(rows, key=lambda question: blake2b(question, key=key, digest_size=8).digest())
    total, parts = sum(rows.values()), dict[bytes, Split]()
    wanted: tuple[tuple[Split, float], ...] = (("test", shares.test), ("validation", shares.validation))
    for name, share in wanted:
        left = round(share * total, 6)  # 0.07 * 100 is 7.000000000000001
        while left > 0 and len(parts) < len(order) - 1:
            question = order[len(parts)]
            parts[question] = name
            left -= rows[question]
    return parts | dict.fromkeys(order[len(parts) :], "train")
