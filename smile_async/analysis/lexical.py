"""How varied the words are: distinct-n of a corpus (Table 1), and of each response by itself (Table 5).

An n-gram is packed into one integer of 64 bits, 21 a token, so that counting the different ones is sorting integers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from smile_async.analysis.arrays import NDArray, np
from smile_async.analysis.tokenization import Characters, Tokenizer, Tokens, blocks
from smile_async.dialogue.model import Dialogue, QAPair
from smile_async.errors import UsageError

ORDERS = (1, 2, 3)
TOKEN_BITS = 21  # Unicode has 0x110000 code points, the largest vocabularies 260,000 entries; three fit into 64
BLOCK_CHARACTERS = 1 << 21  # a block's keys and their sorting take about 100 MB


@dataclass(frozen=True, slots=True)
class Ngrams:
    """Table 1: the `unique` among all `total` n-grams of `n` tokens in a corpus."""

    n: int
    unique: int
    total: int

    @property
    def distinct(self) -> float:
        """nan where no text has `n` tokens."""
        return self.unique / self.total if self.total else float("nan")


@dataclass(frozen=True, slots=True)
class Lexical:
    """Table 1's row of one set: `texts` of it, cut by the tokenizer called `tokenizer`."""

    texts: int
    tokenizer: str
    ngrams: tuple[Ngrams, ...]

    def as_json(self) -> dict[str, object]:
        table: dict[str, object] = {"texts": self.texts, "tokenizer": self.tokenizer}
        for one in self.ngrams:
            table |= {f"unique_{one.n}": one.unique, f"total_{one.n}": one.total, f"distinct_{one.n}": one.distinct}
        return table


@dataclass(frozen=True, slots=True)
class OwnDistinct:
    """Table 5's D-n: the mean of each text's own unique / all n-grams, over the `counted` texts that have any; the
    other `without` have fewer than `n` tokens."""

    n: int
    mean: float
    counted: int
    without: int


def dialogue_text(dialogue: Dialogue) -> str:
    """All utterances in one string without speakers, one behind the other (Equation 2)."""
    return "".join(one.content for one in dialogue.utterances)


def pair_text(pair: QAPair) -> str:
    """A single-turn QA likewise: question, description and answer (PsyQA* in Table 1)."""
    return pair.question + pair.description + pair.answer


def distinct(texts: Iterable[str], tokenizer: Tokenizer | None = None, orders: Sequence[int] = ORDERS) -> Lexical:
    """Table 1 over `texts`, one a dialogue: n-grams do not reach from one text into the next.

    `tokenizer` None: characters. `orders` are of 1 to 3. Memory follows the number of different n-grams (8 bytes each,
    several times that while they are merged), not of texts.
    """
    tokenizer = tokenizer or Characters()
    found = {n: _Distinct(n) for n in _checked(orders)}
    count = 0
    for block in blocks(texts, BLOCK_CHARACTERS):
        count += len(block)
        tokens = _encoded(tokenizer, block)
        for n, each in found.items():
            each.add(ngram_keys(tokens, n)[0])
    return Lexical(count, tokenizer.name, tuple(Ngrams(n, each.unique(), each.total) for n, each in found.items()))


def own_distinct(
    texts: Iterable[str], tokenizer: Tokenizer | None = None, orders: Sequence[int] = ORDERS
) -> tuple[OwnDistinct, ...]:
    """Table 5's variant over `texts`, one a response; the paper's tokens are characters (`tokenizer` None)."""
    tokenizer = tokenizer or Characters()
    ratios: dict[int, list[float]] = {n: [] for n in _checked(orders)}
    count = 0
    for block in blocks(texts, BLOCK_CHARACTERS):
        count += len(block)
        tokens = _encoded(tokenizer, block)
        for n, each in ratios.items():
            found = own_ratios(tokens, n)
            each.extend(found[~np.isnan(found)].tolist())
    return tuple(
        OwnDistinct(n, float(np.mean(each)) if each else float("nan"), len(each), count - len(each))
        for n, each in ratios.items()
    )


def ngram_keys(tokens: Tokens, n: int) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """(a number for each n-gram inside a text, equal for equal n-grams; the places where they begin)."""
    ids = tokens.ids
    if ids.size < n:
        return np.empty(0, np.uint64), np.empty(0, np.intp)
    within = np.ones(ids.size - n + 1, np.bool_)
    ends = np.cumsum(tokens.lengths)
    for back in range(1, n):  # an n-gram that begins so few tokens before a text's end reaches beyond it
        reaching = ends - back
        within[reaching[(reaching >= 0) & (reaching < within.size)]] = False
    starts = np.flatnonzero(within)
    keys = ids[starts].astype(np.uint64)
    for step in range(1, n):
        keys |= ids[starts + step].astype(np.uint64) << np.uint64(TOKEN_BITS * step)
    return keys, starts


@dataclass(slots=True)
class _Distinct:
    """The different keys so far, as sorted runs each more than twice as long as the next: each key is merged only a
    logarithmic number of times."""

    n: int
    total: int = 0
    runs: list[NDArray[np.uint64]] = field(default_factory=list)

    def add(self, keys: NDArray[np.uint64]) -> None:
        self.total += keys.size
        run = _sorted_once(keys)
        while self.runs and self.runs[-1].size <= 2 * run.size:
            run = _merged(self.runs.pop(), run)
        self.runs.append(run)

    def unique(self) -> int:
        while len(self.runs) > 1:
            self.runs.append(_merged(self.runs.pop(), self.runs.pop()))
        return self.runs[0].size if self.runs else 0


def _merged(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return _sorted_once(np.concatenate((a, b)))


def _sorted_once(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sorted in place, each kept once. (`np.unique` hashes them since numpy 2.3: forty times slower here.)"""
    keys.sort()
    return keys[_firsts(keys)]


def _firsts(ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    first = np.ones(ordered.size, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return first


def own_ratios(tokens: Tokens, n: int) -> NDArray[np.float64]:
    """Each text's own different n-grams / all; nan where it is shorter than `n` tokens."""
    keys, starts = ngram_keys(tokens, n)
    owner = np.repeat(np.arange(tokens.lengths.size), tokens.lengths)[starts]
    order = np.lexsort((keys, owner))
    keys, owner = keys[order], owner[order]
    first = _firsts(keys)
    first[1:] |= owner[1:] != owner[:-1]
    totals = np.bincount(owner, minlength=tokens.lengths.size)
    uniques = np.bincount(owner[first], minlength=tokens.lengths.size)
    ratios = np.full(totals.size, np.nan)
    np.divide(uniques, totals, out=ratios, where=totals > 0)
    return ratios


def _encoded(tokenizer: Tokenizer, block: Sequence[str]) -> Tokens:
    tokens = tokenizer.encode(block)
    if tokens.ids.size and int(tokens.ids.max()) >> TOKEN_BITS:
        raise UsageError(
            f"The tokenizer {tokenizer.name} gave the number {int(tokens.ids.max()):,}; n-grams are counted for "
            f"vocabularies of up to {1 << TOKEN_BITS:,} tokens.",
            hint="Count with another tokenizer, or over a part of the corpus.",
        )
    return tokens


def _checked(orders: Sequence[int]) -> Sequence[int]:
    if not orders or any(n not in ORDERS for n in orders):
        raise UsageError(f"n-grams of {', '.join(map(str, orders)) or 'no'} tokens.", hint="n is 1, 2 or 3.")
    return orders
