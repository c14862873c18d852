"""What other analyses say of a corpus, as the report shows it: Table 1, Figures 4 and 5."""

from collections.abc import Callable, Sequence
from pathlib import Path

from smile_async.analysis.comparison import Compared, compare, vectors_of
from smile_async.analysis.report import Curve, Figure, Findings, Look
from smile_async.analysis.sets import TextSet
from smile_async.analysis.table import Cell, Column, Table
from smile_async.analysis.tokenization import Tokenizer
from smile_async.corpora import Corpus


def measuring_look(
    tokenizer: Tokenizer | None = None,
    vectors: str | Path | None = None,
    *,
    seed: int = 0,
    notify: Callable[[str], None] = lambda _text: None,
) -> Look:
    """Table 1, and with the folder of `vectors` that `smile embed` wrote of this corpus Figures 4 and 5, whose
    random partners `seed` draws. Needs numpy. `notify` is told of vectors of texts that have changed. Raises
    `UsageError` for vectors of another corpus."""

    def look(corpus: Corpus) -> Findings:
        members = TextSet(corpus.name, corpus.path, corpus.read, corpus.roles)
        held = {} if vectors is None else vectors_of([members], {corpus.name: vectors}, notify)
        [found] = compare([members], tokenizer=tokenizer, vectors=held, seed=seed).sets
        return Findings(tables=(diversity_table([found]), *cosine_tables([found])), figures=figures(found))

    return look


def diversity_table(sets: Sequence[Compared]) -> Table:
    columns = (
        Column("set", "text"), Column("tokenizer", "text"), Column("texts"), Column("n"), Column("unique"),
        Column("total"), Column("distinct", "number", 4),
    )  # fmt: skip
    rows = tuple(
        (one.name, one.lexical.tokenizer, one.lexical.texts, gram.n, gram.unique, gram.total, gram.distinct)
        for one in sets
        for gram in one.lexical.ngrams
    )
    return Table("diversity", columns, rows)


def cosine_tables(sets: Sequence[Compared]) -> tuple[Table, ...]:
    """What Figures 4 and 5 show, in numbers; none without vectors."""
    columns = (
        Column("set", "text"), Column("curve", "code"), Column("count"), Column("mean", "number", 4),
        Column("deviation", "number", 4), Column("median", "number", 4), Column("line", "number", 4),
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = [
        (one.name, name, each.count, each.mean, each.deviation, each.median, one.line if name == "own" else None)
        for one in sets
        for name, each in (("own", one.own), ("other", one.other), ("pairs", one.pairs))
        if each is not None
    ]
    return (Table("cosines", columns, tuple(rows)),) if rows else ()


def figures(found: Compared) -> tuple[Figure, ...]:
    drawn = []
    if found.own is not None and found.other is not None:
        drawn.append(Figure("figure-4", (Curve("own", found.own), Curve("other", found.other)), found.line))
    if found.pairs is not None:
        drawn.append(Figure("figure-5", (Curve("pairs", found.pairs),)))
    return tuple(drawn)
