"""What measuring a corpus of the released size takes: distinct-n by characters, and the cosines of all pairs.

    python benchmarks/analysis.py                                   # 55,165 dialogues; 55,165 vectors of 384 numbers
    python benchmarks/analysis.py --only lexical --tokenizer jieba
    python benchmarks/analysis.py --only pairs --rows 10000

Each runs in a process of its own. Time is what the measuring takes, without making its input, and CPU is user + system
of all threads; memory is the process's peak, input included (100 MB of texts, 85 MB of vectors).

The dialogues are made up: phrases of random characters, some of them again and again. Of 55,165, by characters, 5.2
million trigrams differ: rather more than the growth within 2,000 released dialogues lets expect of the whole corpus.
"""

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measuring import measured, today, used

ROWS = 55_165
CHARACTERS = 923  # of a dialogue, on average
FIRST = 0x4E00  # Chinese characters begin here
KINDS = 3_400  # of characters
PHRASES = 120_000
NEW = 0.05  # share of phrases that nobody said before


def dialogues(rows: int, seed: int = 1) -> Iterator[str]:
    """Texts of phrases that are drawn from a stock, the first ones of it more often, and now and then a new one."""
    chance = random.Random(seed)
    stock = [_phrase(chance) for _ in range(PHRASES)]
    for _ in range(rows):
        parts: list[str] = []
        left = round(chance.gauss(CHARACTERS, CHARACTERS / 4))
        while left > 0:
            fresh = chance.random() < NEW
            parts.append(_phrase(chance) if fresh else stock[int(PHRASES * chance.random() ** 4)])
            left -= len(parts[-1])
        yield "".join(parts)


def _phrase(chance: random.Random) -> str:
    length = chance.randint(3, 12)
    return "".join(chr(FIRST + int(KINDS * chance.random() ** 3)) for _ in range(length)) + "，"


def lexical(rows: int, tokenizer: str) -> dict[str, Any]:
    from smile_async.analysis.lexical import distinct
    from smile_async.analysis.tokenization import load_tokenizer

    texts = list(dialogues(rows))
    before, start = used()["cpu_s"], time.perf_counter()
    found = distinct(texts, load_tokenizer(tokenizer))
    told = {"seconds": time.perf_counter() - start, "cpu_s": used()["cpu_s"] - before, "peak_mb": used()["peak_mb"]}
    return {**told, "table": found.as_json()}


def pairs(rows: int, dimensions: int) -> dict[str, Any]:
    """Vectors as alike as embeddings of one subject are."""
    import numpy as np

    from smile_async.analysis.pairs import pair_cosines

    chance = np.random.default_rng(1)
    vectors = chance.standard_normal((rows, dimensions), dtype=np.float32)
    vectors *= 0.45
    vectors += chance.standard_normal(dimensions, dtype=np.float32)
    before, start = used()["cpu_s"], time.perf_counter()
    found = pair_cosines(vectors)
    told = {"seconds": time.perf_counter() - start, "cpu_s": used()["cpu_s"] - before, "peak_mb": used()["peak_mb"]}
    return {**told, "count": found.count, "mean": found.mean, "deviation": found.deviation, "median": found.median}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--tokenizer", default="characters")
    parser.add_argument("--only", choices=("lexical", "pairs"))
    parser.add_argument("--measure", choices=("lexical", "pairs"), help=argparse.SUPPRESS)  # in the measured process
    asked = parser.parse_args()
    if asked.measure:
        found = (
            lexical(asked.rows, asked.tokenizer) if asked.measure == "lexical" else pairs(asked.rows, asked.dimensions)
        )
        print(json.dumps(found))
        return
    print(f"{today()}, {platform.machine()}, Python {platform.python_version()}, {asked.rows:,} rows")
    flags = ["--rows", str(asked.rows), "--tokenizer", asked.tokenizer, "--dimensions", str(asked.dimensions)]
    for one in (asked.only,) if asked.only else ("lexical", "pairs"):
        found = measured("analysis.py", "--measure", one, *flags, pinned=False)
        print(
            f"{one:8} {found['seconds']:8.1f} s {found['cpu_s']:8.1f} s CPU {found['peak_mb']:8,.0f} MB  {_said(found)}"
        )


def _said(found: dict[str, Any]) -> str:
    table = found.get("table")
    if table is None:
        return f"{found['count']:,} pairs: mean {found['mean']:.4f}, deviation {found['deviation']:.4f}"
    orders = ", ".join(f"{table[f'unique_{n}']:,} of {table[f'total_{n}']:,}" for n in (1, 2, 3))
    return f"{table['tokenizer']}: {orders}"


if __name__ == "__main__":
    main()
