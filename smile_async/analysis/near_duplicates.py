"""Dialogues that nearly repeat an earlier one of the corpus: MinHash finds candidates, exact Jaccard decides.

MinHash and its index are rensa's (Rust, 1 MB, depends on nothing; datasketch needs scipy and hashes in Python).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from smile_async.errors import MissingExtraError, UsageError

SHINGLE = 5  # tokens
THRESHOLD = 0.8  # Jaccard similarity of the sets of shingles
PERMUTATIONS = 128
BANDS = 32  # of four rows: at a similarity of 0.8 a pair is missed once in 2 * 10**7, at 0.6 once in 90
LEAST_THRESHOLD = 0.5  # below it the bands miss one pair in eight
SEED = 1234

_TOKEN = re.compile(
    r"[^\W_\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff\U00020000-\U0003ffff]+|[\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """The text at `place` (from 0) repeats the earlier one at `first`, with this Jaccard similarity (1.0: wholly)."""

    place: int
    first: int
    similarity: float


def shingles(text: str) -> frozenset[str]:
    """Sets of `SHINGLE` tokens in a row: a Chinese character is a token, a word of letters or digits is one.

    Width, case, white space and punctuation do not count. A text of fewer tokens is one shingle.
    """
    tokens = _TOKEN.findall(unicodedata.normalize("NFKC", text).lower())
    if not tokens:
        return frozenset()
    return frozenset(["\0".join(tokens[at : at + SHINGLE]) for at in range(max(len(tokens) - SHINGLE + 1, 1))])


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """|A and B| / |A or B|; two empty sets are alike."""
    both = len(one & other)
    return both / (len(one) + len(other) - both) if one or other else 1.0


def near_duplicates(texts: Iterable[str], threshold: float = THRESHOLD) -> Iterator[NearDuplicate]:
    """Each text that is `threshold` alike or more to an earlier one that is kept, in order.

    The first of those alike is kept, the later ones are compared with it and not with each other. Memory: the texts
    that are kept, and 1 KB for each. Raises `UsageError` for a threshold that the index cannot serve.
    """
    if not LEAST_THRESHOLD <= threshold <= 1:
        raise UsageError(f"A threshold of {threshold:g} cannot be used.", hint=f"From {LEAST_THRESHOLD} to 1.")
    try:
        from rensa import RMinHash, RMinHashLSH
    except ImportError as error:
        raise MissingExtraError("Finding near-duplicates", "analysis") from error
    index = RMinHashLSH(threshold, PERMUTATIONS, BANDS)
    kept: list[tuple[int, str]] = []
    exact: dict[bytes, int] = {}
    for place, text in enumerate(texts):
        parts = shingles(text)
        if not parts:
            continue  # nothing is said: that is another finding
        digest = blake2b("\n".join(sorted(parts)).encode(), digest_size=16).digest()
        if (first := exact.get(digest)) is not None:
            yield NearDuplicate(place, first, 1.0)
            continue
        sketch = RMinHash(PERMUTATIONS, SEED)
        sketch.update(parts)
        alike = [(jaccard(parts, shingles(kept[one][1])), -kept[one][0]) for one in index.query(sketch)]
        similarity, first = max(alike, default=(0.0, 0))
        if similarity >= threshold:
            yield NearDuplicate(place, -first, similarity)
            continue
        index.insert(len(kept), sketch)
        exact[digest] = place
        kept.append((place, text))
