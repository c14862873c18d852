"""The report's tables: what stands behind its figures, each also a CSV and a JSON file."""

from collections.abc import Sequence

from smile_async.analysis.distribution import Distribution
from smile_async.analysis.shape import Shape
from smile_async.analysis.table import Cell, Column, Table
from smile_async.analysis.timeline import Timeline
from smile_async.corpus.statistics import CorpusStatistics, paper_table
from smile_async.engine import history
from smile_async.run_folder import UNNAMED, RunStatus


def run_tables(
    status: RunStatus, verdicts: Sequence[history.VerdictCount], over_time: Timeline | None
) -> tuple[Table, ...]:
    told = [_rows(status), _rejections(verdicts), _failures(verdicts), _endpoints(status), _changes(status)]
    told.append(_salvage(status))
    if over_time is not None:
        told.append(_rates(over_time))
    return tuple(table for table in told if table.rows)


def corpus_tables(form: Shape, counted: CorpusStatistics) -> tuple[Table, ...]:
    return (
        _statistics(counted),
        _histogram("turns", "turns", form.turns),
        _histogram("dialogue-lengths", "characters", form.length),
        _two_histograms("utterance-lengths", form.client, form.counselor),
        _summary(form),
    )


def _rows(status: RunStatus) -> Table:
    counts = status.counts
    ends: list[tuple[Cell, ...]] = [("accepted", counts.accepted)]
    ends += [(reason, rows) for reason, rows in counts.reasons.items()]
    ends.append(("pending", counts.pending))
    rows = tuple((*end, _share(end[1], counts.total)) for end in ends if end[1])
    return Table("rows", (Column("end", "code"), Column("rows"), Column("share", "share", 1)), rows)


def _share(part: Cell, whole: int) -> float:
    return part / whole if isinstance(part, int | float) and whole else float("nan")


def _rejections(verdicts: Sequence[history.VerdictCount]) -> Table:
    """Replies by what was thought of them."""
    sums: dict[str, int] = {}
    for one in verdicts:
        if one.paid:
            sums[one.verdict] = sums.get(one.verdict, 0) + one.attempts
    replies = sum(sums.values())
    ordered = sorted(sums.items(), key=lambda one: -one[1])
    rows = tuple((verdict, count, count / replies) for verdict, count in ordered)
    return Table("replies", (Column("verdict", "code"), Column("replies"), Column("share", "share", 1)), rows)


def _failures(verdicts: Sequence[history.VerdictCount]) -> Table:
    columns = (
        Column("kind", "code"), Column("endpoint", "text"), Column("http_status", "text"), Column("attempts"),
        Column("detail", "text"),
    )  # fmt: skip
    rows = tuple(
        (
            one.verdict,
            one.endpoint or UNNAMED,
            None if one.status is None else str(one.status),
            one.attempts,
            one.detail,
        )
        for one in verdicts
        if not one.paid
    )
    return Table("failures", columns, rows)


def _endpoints(status: RunStatus) -> Table:
    columns = (
        Column("endpoint", "text"), Column("models", "text"), Column("attempts"), Column("replies"),
        Column("prompt_tokens"), Column("completion_tokens"), Column("spend_usd", "usd"), Column("perhaps_usd", "usd"),
    )  # fmt: skip
    rows = tuple(
        (
            name or UNNAMED, ", ".join(one.models), one.attempts, one.replies, one.prompt_tokens,
            one.completion_tokens, one.spend_usd, one.perhaps_usd,
        )
        for name, one in status.endpoints.items()
    )  # fmt: skip
    return Table("endpoints", columns, rows)


def _changes(status: RunStatus) -> Table:
    columns = (
        Column("at", "text"), Column("endpoint", "text"), Column("what", "code"), Column("before"),
        Column("after"), Column("reason", "text"),
    )  # fmt: skip
    rows = tuple(
        (_iso(one.at), one.endpoint or UNNAMED, one.what, one.before, one.after, one.reason) for one in status.changes
    )
    return Table("changes", columns, rows)


def _iso(at: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _salvage(status: RunStatus) -> Table:
    """Steps that mended a reply (rows), and those that asked again (replies, of which accepted)."""
    mended: list[tuple[Cell, ...]] = [(step, rows, rows) for step, rows in status.remarks.salvaged.items()]
    asked = [(step, replies, good) for step, (replies, good) in status.remarks.amended.items()]
    return Table("salvage", (Column("step", "code"), Column("tried"), Column("accepted")), (*mended, *asked))


def _rates(found: Timeline) -> Table:
    columns = (
        Column("second", "number", 2), Column("endpoint", "text"), Column("requests_per_minute", "number", 1),
        Column("requests_in_a_minute_at_most"), Column("tokens_per_minute", "number", 1),
        Column("tokens_in_a_minute_at_most"), Column("input_in_a_minute_at_most"),
        Column("output_in_a_minute_at_most"), Column("in_flight_at_most"),
    )  # fmt: skip
    rows = tuple(
        (
            place * found.width, one.name or UNNAMED, one.requests.mean[place], one.requests.peak[place],
            one.tokens.mean[place], one.tokens.peak[place], one.input.peak[place], one.output.peak[place],
            one.in_flight[place],
        )
        for one in found.endpoints
        for place in range(found.bins)
    )  # fmt: skip
    return Table("rates", columns, rows)


def _statistics(found: CorpusStatistics) -> Table:
    """Table 3, and the lines of Table 6 that it lacks: units are named."""
    lines = paper_table(found, "sentences")
    more = [line for line in paper_table(found, "utterances") if line not in lines]
    columns = (Column("measure", "code"), *(Column(name, "amount", 1) for name in ("all", "client", "counselor")))
    return Table("statistics", columns, tuple((line.name, *line.values) for line in (*lines, *more)))


def _histogram(name: str, unit: str, values: Distribution) -> Table:
    edges, counts = values.histogram.edges, values.histogram.counts
    columns = (Column(f"{unit}_from", "number"), Column(f"{unit}_below", "number"), Column("dialogues"))
    rows = tuple((edges[place], edges[place + 1], count) for place, count in enumerate(counts) if count)
    return Table(name, columns, rows)


def _two_histograms(name: str, client: Distribution, counselor: Distribution) -> Table:
    edges = client.histogram.edges
    columns = (
        Column("characters_from", "number"), Column("characters_below", "number"), Column("client_utterances"),
        Column("counselor_utterances"),
    )  # fmt: skip
    both = zip(client.histogram.counts, counselor.histogram.counts, strict=True)
    rows = tuple((edges[place], edges[place + 1], *counts) for place, counts in enumerate(both) if any(counts))
    return Table(name, columns, rows)


def _summary(form: Shape) -> Table:
    columns = (
        Column("measure", "code"), Column("count"), Column("mean", "number", 1), Column("deviation", "number", 1),
        Column("q05", "number"), Column("median", "number", 1), Column("q95", "number"), Column("least", "number"),
        Column("most", "number"),
    )  # fmt: skip
    measures = {
        "turns": form.turns,
        "dialogue-characters": form.length,
        "client-characters": form.client,
        "counselor-characters": form.counselor,
    }
    rows = tuple(
        (name, one.count, one.mean, one.deviation, one.quantiles[1], one.median, one.quantiles[5], one.least, one.most)
        for name, one in measures.items()
    )
    return Table("shape", columns, rows)
