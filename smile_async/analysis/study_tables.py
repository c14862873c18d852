"""A study's tables as values, with the titles under which a person reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smile_async.analysis.study_results import StudyResults, Transformed
from smile_async.analysis.table import Cell, Column, Table
from smile_async.analysis.topic_entropy import TopicTable
from smile_async.corpus.statistics import paper_table
from smile_async.run_folder import RunStatus

NAMES = {"psyqa": "PsyQA*", "smile": "SMILE"}  # as the paper calls them
MOST_TOPICS = 10  # that a person is shown


@dataclass(frozen=True, slots=True)
class Titled:
    """A table with its title and notes; `shown` rows of it are printed, a file holds all."""

    title: str
    table: Table
    notes: tuple[str, ...] = ()
    shown: int | None = None

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple("" if place == 0 else _head(one.key) for place, one in enumerate(self.table.columns))

    @property
    def cells(self) -> tuple[tuple[str, ...], ...]:
        """As text."""
        return tuple(
            tuple(_text(column, cell) for column, cell in zip(self.table.columns, row, strict=True))
            for row in self.table.rows[: self.shown]
        )


def _head(key: str) -> str:
    return key.replace("_", " ")


def _text(column: Column, cell: Cell) -> str:
    if cell is None or cell != cell:  # noqa: PLR0124 - nan
        return "-"
    if isinstance(cell, str):
        return cell
    if column.kind == "share":
        return f"{cell:.{column.digits}%}"
    if column.kind == "usd":
        return f"${cell:.4f}"
    whole = column.kind == "count" or (column.kind == "amount" and float(cell).is_integer())
    return f"{cell:,.0f}" if whole else f"{cell:,.{column.digits}f}"


def study_tables(found: StudyResults, steps: Mapping[str, RunStatus]) -> tuple[Titled, ...]:
    return (
        _lexical(found),
        _entropies(found.topics),
        _statistics(found),
        _transformation(found),
        _pairs(found),
        _topics(found.topics),
        _steps(steps),
    )


def named(name: str) -> str:
    return NAMES.get(name, name)


def _lexical(found: StudyResults) -> Titled:
    """Long, a row for each n: as wide as the paper's it fits no terminal."""
    columns = (
        Column("set", "text"), Column("texts"), Column("n"), Column("unique"), Column("total"),
        Column("distinct", "number", 3),
    )  # fmt: skip
    rows = tuple(
        (named(one.name), one.lexical.texts, gram.n, gram.unique, gram.total, gram.distinct)
        for one in found.comparison.sets
        for gram in one.lexical.ngrams
    )
    title = f"Table 1: distinct-n, counted in {found.comparison.sets[0].lexical.tokenizer}"
    return Titled(title, Table("table-1", columns, rows))


def _entropies(topics: Mapping[str, TopicTable]) -> Titled:
    columns = (Column("setting", "text"), *(Column(named(method), "number", 2) for method in topics))
    measures = {
        "Limited topics": [one.limited for one in topics.values()],
        "Unlimited topics": [one.unlimited for one in topics.values()],
        "Average": [one.average for one in topics.values()],
        "Limited, normalised": [one.limited_normalised for one in topics.values()],
        "Unlimited, normalised": [one.unlimited_normalised for one in topics.values()],
        "Topics a dialogue": [one.topics_each for one in topics.values()],
    }
    rows: tuple[tuple[Cell, ...], ...] = tuple((name, *values) for name, values in measures.items())
    note = "Bits. The first three are the paper's: sums over topics, a dialogue having several (Equation 4)."
    return Titled("Table 2: entropy of dialogue topics", Table("table-2", columns, rows), (note,))


def _statistics(found: StudyResults) -> Titled:
    columns = (
        Column("set", "text"), Column("category", "text"), *(Column(name, "amount", 1) for name in ("total", "client",
        "counselor")),
    )  # fmt: skip
    rows = tuple(
        (named(one.name), each.name, *each.values)
        for one in found.comparison.sets
        if one.statistics is not None
        for each in paper_table(one.statistics, "sentences")
    )
    return Titled("Table 3: statistics of each set", Table("table-3", columns, rows))


def _transformation(found: StudyResults) -> Titled:
    columns = (
        Column("dialogues", "text"), Column("qa", "text"), Column("count"), Column("mean", "number", 4),
        Column("deviation", "number", 4), Column("median", "number", 4), Column("least", "number", 4),
        Column("below_line", "share", 1),
    )  # fmt: skip
    rows = tuple(
        (
            named(one.method), qa_of(one), one.cosines.count, one.cosines.mean, one.cosines.deviation,
            one.cosines.median, one.cosines.least, one.below,
        )
        for one in found.transformed
    )  # fmt: skip
    note = f"The line is {found.line:.4f}: mean - 3 standard deviations of SMILE's with their own QAs."
    title = "Figure 4: cosines of QAs of PsyQA* with dialogues"
    return Titled(title, Table("figure-4", columns, rows), (note,))


def qa_of(one: Transformed) -> str:
    return "own" if one.own else "random"


def _pairs(found: StudyResults) -> Titled:
    columns = (
        Column("set", "text"), Column("pairs"), Column("mean", "number", 4), Column("deviation", "number", 4),
        Column("median", "number", 4), Column("least", "number", 4), Column("most", "number", 4),
    )  # fmt: skip
    rows = tuple(
        (
            named(one.name), one.pairs.count, one.pairs.mean, one.pairs.deviation, one.pairs.median, one.pairs.least,
            one.pairs.most,
        )
        for one in found.comparison.sets
        if one.pairs is not None
    )  # fmt: skip
    notes = tuple(
        f"{named(one.name)}: {one.lacking:,} texts have no vector and are in neither figure"
        for one in found.comparison.sets
        if one.lacking
    )
    return Titled("Figure 5: cosines of all pairs within a set", Table("figure-5", columns, rows), notes)


def _topics(topics: Mapping[str, TopicTable]) -> Titled:
    """The share of dialogues that bear each of the 60, the most frequent over all sets first."""
    columns = (Column("topic", "text"), Column("index"), *(Column(named(one), "share", 1) for one in topics))
    shares = {method: {row.index: row.share for row in one.rows} for method, one in topics.items()}
    names = {row.index: row.name for one in topics.values() for row in one.rows}
    frequent = sorted(names, key=lambda index: (-sum(share[index] for share in shares.values()), index))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (names[index], index, *[share[index] for share in shares.values()]) for index in frequent
    )
    crisis = ", ".join(f"{named(method)} {one.crisis:,}" for method, one in topics.items())
    read = tuple(f"{named(method)}: {one.note}" for method, one in topics.items() if one.note)
    notes = (f"Dialogues that bear a topic of a crisis (57 to 60): {crisis}", *read)
    return Titled("Topics: share of dialogues", Table("topics", columns, rows), notes, shown=MOST_TOPICS)


def _steps(steps: Mapping[str, RunStatus]) -> Titled:
    columns = (
        Column("step", "text"), Column("accepted"), Column("aside"), Column("replies"), Column("tokens_in"),
        Column("tokens_out"), Column("usd", "usd"),
    )  # fmt: skip
    rows = tuple(
        (
            name, one.counts.accepted, one.counts.set_aside, one.counts.replies, one.counts.prompt_tokens,
            one.counts.completion_tokens, one.counts.spend_usd,
        )
        for name, one in steps.items()
    )  # fmt: skip
    return Titled("What was asked and spent", Table("steps", columns, rows), _total(list(steps.values())))


def _total(steps: Sequence[RunStatus]) -> tuple[str, ...]:
    spent = sum(one.counts.spend_usd for one in steps)
    perhaps = sum(one.counts.perhaps_usd for one in steps)
    if not spent and not perhaps:
        return ()
    return (
        f"${spent:.4f} in all" + (f", at most ${perhaps:.4f} more for attempts without a reply" if perhaps else ""),
    )
