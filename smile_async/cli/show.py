"""Results as text for a person."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smile_async.batch.desk import BatchReport, BatchState
    from smile_async.engine.account import Counts, EndpointCounts, LimitChange, Remarks
    from smile_async.engine.revision import Revision
    from smile_async.engine.run import RunReport
    from smile_async.run_folder import RunStatus
    from smile_async.source.prepare import PrepareReport


NEVER_ASKED = frozenset({"bad-row", "duplicate"})
LAST_NUMBER = 5  # column of the endpoints' table
SLOW_START = "slow start"  # a reason (`engine/concurrency.py`)
MOST_SHOWN = 10  # rows set aside that are named one by one


FLAGS_FOR = {
    "auth": "  (the key comes from OPENAI_API_KEY, with --provider azure or anthropic from AZURE_OPENAI_API_KEY or"
    " ANTHROPIC_API_KEY, or from the variable that --api-key-env names)",
    "unknown-model": "  (--base-url says where to ask; another --model needs a new run)",
    "bad-request": "  (check --base-url and --max-tokens)",
    "source": "  (when the source is mended)",
    "connect": "  (--base-url says where to ask)",
    "budget": " --budget USD  (more than is spent; --max-tokens makes the most that a request may cost smaller)",
}
"""What the command line can do about a reason to stop."""


def _rows(counts: "Counts", remarks: "Remarks | None" = None) -> list[str]:
    from smile_async.cli.figures import amount

    lines = [f"  rows       {counts.total:,}{'' if counts.exact else ' read so far'}"]
    share = f"  ({counts.accepted / (counts.accepted + counts.set_aside):.1%})" if counts.accepted else ""
    lines.append(f"  accepted   {counts.accepted:,}{share}")
    lines += _mended(remarks) if remarks is not None else []
    lines.append(f"  set aside  {counts.set_aside:,}")
    lines += [f"    {reason:<16} {rows:,}" for reason, rows in counts.reasons.items()]
    if counts.pending:
        waits = f", {counts.in_batches:,} of them in batches" if counts.in_batches else ""
        lines.append(f"  pending    {counts.pending:,}{waits}")
    failed = ", ".join(f"{kind} {times:,}" for kind, times in counts.failures.items())
    lines.append(
        f"  attempts   {counts.attempts:,}, {counts.replies:,} brought a reply" + (f" ({failed})" if failed else "")
    )
    if counts.perhaps_billed:
        lines.append(f"             {counts.perhaps_billed:,} without a reply may have been billed all the same")
    lines.append(f"  tokens     {amount(counts.prompt_tokens)} in, {amount(counts.completion_tokens)} out")
    return lines + _money(counts)


def _money(counts: "Counts") -> list[str]:
    """What was spent, and what may yet have been."""
    if not (counts.spend_usd or counts.perhaps_usd or counts.reserved_usd):
        return []
    told = f"  spent      ${counts.spend_usd:.4f}"
    if counts.reserved_usd:
        told += f", at most ${counts.reserved_usd:.4f} more for what is in flight"
    if counts.perhaps_usd:
        told += f", at most ${counts.perhaps_usd:.4f} more for attempts without a reply"
    return [told]


def endpoints_lines(endpoints: Mapping[str, "EndpointCounts"]) -> list[str]:
    """A table of what each endpoint did; one that is alone needs none, but for the model that it named."""
    from smile_async.cli.figures import amount

    if len(endpoints) < 2:
        named = [model for one in endpoints.values() for model in one.models]
        return [f"  answered   by {', '.join(named)}"] if named else []
    rows = [("  endpoint", "attempts", "replies", "tokens in", "out", "spent", "failures", "models")]
    for name, one in endpoints.items():
        failures = ", ".join(f"{kind} {count:,}" for kind, count in one.failures.items())
        tokens = amount(one.prompt_tokens), amount(one.completion_tokens)
        spent = f"${one.spend_usd:.4f}" if one.spend_usd else ""
        row = f"{one.attempts:,}", f"{one.replies:,}", *tokens, spent, failures, ", ".join(one.models)
        rows.append((f"  {name}", *row))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    kept = [column for column in range(len(widths)) if any(row[column] for row in rows[1:])]
    return ["  ".join(_cell(row[column], widths[column], column) for column in kept).rstrip() for row in rows]


def _cell(text: str, width: int, column: int) -> str:
    return text.rjust(width) if 1 <= column <= LAST_NUMBER else text.ljust(width)


def changes_lines(changes: Sequence["LimitChange"], most: int = 5) -> list[str]:
    """The last changes of limits, with their reasons."""
    from datetime import UTC, datetime

    if not changes:
        return []
    several = len({change.endpoint for change in changes}) > 1
    times = "once" if len(changes) == 1 else f"{len(changes):,} times"
    steps = _steps(changes)
    lines = [f"  limits     changed {times}" + (", last:" if len(steps) > most else ":")]
    for change in steps[-most:]:
        at = datetime.fromtimestamp(change.at, UTC).astimezone().strftime("%H:%M:%S")
        where = f"{change.endpoint} " if several else ""
        what = change.what.replace("in-flight", "in flight")
        lines.append(f"    {at} {where}{what}: {_limit(change.before)} -> {_limit(change.after)} ({change.reason})")
    return lines


def _steps(changes: Sequence["LimitChange"]) -> list["LimitChange"]:
    """Changes of one limit that follow each other for one reason (a slow start) are one, when the last of them was."""
    from dataclasses import replace

    steps: list[LimitChange] = []
    latest: dict[tuple[str, str], int] = {}
    for change in changes:
        key = (change.endpoint, change.what)
        before = latest.get(key)
        if before is not None and steps[before].reason == change.reason == SLOW_START:
            steps[before] = replace(change, before=steps[before].before)
        else:
            latest[key] = len(steps)
            steps.append(change)
    return steps


def _limit(value: float | None) -> str:
    return "none" if value is None else f"{value:,.1f}".removesuffix(".0")


def _mended(remarks: "Remarks") -> list[str]:
    """What salvage came to, where it came to anything."""
    salvaged = ", ".join(f"{step} {rows:,}" for step, rows in remarks.salvaged.items())
    lines = [f"    salvaged         {salvaged}"] if salvaged else []
    for step, (replies, good) in remarks.amended.items():
        lines.append(f"    {step:<16} {good:,} of {replies:,} asked")
    return lines


def report_text(report: "RunReport", status: "RunStatus") -> str:
    """How a run ended, where its corpus is, and what to do next; `status` was read after its end."""
    head = "done" if report.state == "done" else f"stopped ({report.reason})"
    lines = [f"{report.folder}: {head}", *_rows(report.counts, status.remarks)]
    lines += [*endpoints_lines(status.endpoints), *changes_lines(status.changes)]
    lines += _results(status)
    if report.state != "done":
        lines += ["", *report.message.splitlines(), status.go_on or _how_to_go_on(report.folder, report.reason)]
    return "\n".join(lines) + "\n"


def _results(status: "RunStatus") -> list[str]:
    """Where the results are, and how what was set aside is asked again."""
    folder, counts = status.folder, status.counts
    named = [name for name in status.files or ("corpus.jsonl",) if name != "set-aside.jsonl"]
    lines = [f"  {'results' if status.files else 'corpus':<9}  {folder / name}" for name in named]
    if counts.set_aside:
        again = "; ask again: " + ("the same with --retry" if status.go_on else f"smile retry {folder}")
        asked = set(counts.reasons) - NEVER_ASKED
        lines.append(f"             {folder / 'set-aside.jsonl'}{again if asked else ''}")
    return lines


def _how_to_go_on(run: Path, reason: str) -> str:
    if reason == "collected":
        return f"Go on with: smile batch submit {run}, or at once: smile resume {run}"
    if reason == "exported":
        return f"Bring the results with: smile batch import {run} RESULTS.jsonl"
    if reason == "batch":
        return f"Go on with: smile batch status {run} --wait"
    return f"Go on with: smile resume {run}{FLAGS_FOR.get(reason, '')}"


def status_text(status: "RunStatus", live: Mapping[str, Any] | None = None) -> str:
    """How a run stands; `live`: what its process says of itself."""
    from smile_async.cli.figures import amount, duration

    head = f"{status.folder}: {status.state}" + (f" ({status.stopped_by})" if status.stopped_by else "")
    what = f"recipe {status.recipe}" if status.recipe else f"for {status.task}" if status.go_on else ""
    asked = "  asked      " + ", ".join(part for part in (status.model, what, status.source) if part)
    lines = [head, asked, *_rows(status.counts, status.remarks)]
    if status.expected:
        lines[2] += f", about {status.expected:,} in all"
    lines += [*endpoints_lines(status.endpoints), *changes_lines(status.changes)]
    if status.state == "running":
        lines.append(f"  in flight  {status.counts.in_flight:,}")
        lines.append(
            f"  a minute   {status.requests_per_minute:,.0f} replies, {amount(status.tokens_per_minute)} tokens; "
            f"{duration(status.seconds_left)} left"
        )
        lines += live_lines(live, status.folder) if live else []
    elif status.state == "stopped":
        lines.append(status.go_on or _how_to_go_on(status.folder, status.stopped_by))
    return "\n".join(lines) + "\n"


def live_lines(live: Mapping[str, Any], run: Path) -> list[str]:
    """What a live run waits for, and how much of each limit is in use."""
    from smile_async.cli.figures import amount, label, waited_for

    lines = []
    if live["paused"]:
        lines.append(f"  paused     smile control {run} resume lets it go on")
    elif live["binding"]:
        lines.append(
            f"  waits for  {waited_for(live['binding'])}" + (f", {live['held']:.0f} s yet" if live["held"] else "")
        )
    several = len({gauge["endpoint"] for gauge in live["gauges"]}) > 1
    for gauge in live["gauges"]:
        where = f" at {gauge['endpoint']}" if several else ""
        used = f"{amount(gauge['used'])} of {amount(gauge['limit'])}"
        lines.append(f"             {label(gauge['what'], gauge['period'])}: {used}{where}")
    return lines


def control_text(run: Path, asked: str, answer: Mapping[str, Any]) -> str:
    """What a run answered."""
    stands = answer.get("run")
    if stands is None:
        return f"{run}: has not begun to ask yet\n"
    flight = f"{stands['in_flight']:,} in flight"
    if asked == "concurrency":
        return f"{run}: at most {answer['most']:,} in flight from now on; {flight} now\n"
    if asked == "pause":
        return f"{run}: paused; {flight} come home, nothing more starts until: smile control {run} resume\n"
    if asked == "resume":
        return f"{run}: goes on\n"
    lines = [f"{run}: {'paused' if stands['paused'] else 'at work'}, {flight} of {stands['concurrency']:,}"]
    return "\n".join([*lines, *live_lines(stands, run)]) + "\n"


def batches_text(report: "BatchReport", now: float) -> str:
    """How the batches stand, what was brought home, and what to do next."""
    lines = [
        f"{report.folder}: {len(report.batches):,} batch{'' if len(report.batches) == 1 else 'es'}",
        *[_batch(one, now) for one in report.batches],
    ]
    done = report.collected
    if brought := done.accepted + done.set_aside + done.again + done.not_run:
        lines.append(
            f"  collected  {brought:,}: accepted {done.accepted:,}, set aside {done.set_aside:,}, "
            f"to be asked again {done.again:,}, not run {done.not_run:,}"
        )
    if done.strange:
        lines.append(f"  left out   {done.strange:,} lines of no row that waits (collected before, or another run's)")
    if done.torn:
        lines.append("  torn       the last line was cut off: import the file again when it is whole")
    lines += _rows(report.counts)
    if done.stopped:
        lines += ["", *done.stopped.message.splitlines()]
    if report.stopped_by:
        lines += ["", STAYED_BACK[report.stopped_by]]
    return "\n".join([*lines, *_next(report)]) + "\n"


STAYED_BACK = {
    "budget": "The budget has no room for more rows in batches: they are pending (--budget).",
    "tokens": "No more tokens may wait at once (--enqueued): the other rows are pending.",
    "bytes": "One row is larger than a file may be (--most-mb).",
}


def _batch(one: "BatchState", now: float) -> str:
    from smile_async.cli.figures import duration

    note = one.note
    told = f"{note.state}, {note.completed + note.failed:,} of {note.requests:,} done" if note.remote else note.state
    waits = f"{one.waiting:,} rows wait" if one.waiting else "collected"
    age = f"{duration(max(now - note.made_at, 0.0))} old"
    left = f", expires in {duration(max(note.expires_at - now, 0.0))}" if one.waiting and note.expires_at else ""
    where = f" ({note.remote})" if note.remote else f" ({note.place})"
    detail = f": {note.detail}" if note.detail else ""
    return f"  batch {note.number:<4} {told}; {waits}; {age}{left}{where}{detail}"


def _next(report: "BatchReport") -> list[str]:
    run, counts = report.folder, report.counts
    if report.done:
        return [f"  corpus     {run / 'corpus.jsonl'}"]
    lines = []
    if report.at_server:
        lines.append(f"Collect with: smile batch status {run} --wait")
    elif report.waiting and all(one.note.state == "offline" for one in report.waiting):
        lines.append(f"Bring the results with: smile batch import {run} RESULTS.jsonl")
    elif report.waiting:
        lines.append(f"Finish handing over with: smile batch submit {run}")
    if counts.pending > counts.in_batches or not counts.exact:
        which = "Other rows" if report.waiting else "Rows"
        lines.append(f"{which} are pending: smile batch submit {run}, or at once: smile resume {run}")
    return lines


def revision_text(revision: "Revision", counts: "Counts", remarks: "Remarks") -> str:
    lines = [
        (
            f"judged again: {revision.accepted:,} accepted ({revision.newly_accepted:,} of them newly), "
            f"{revision.set_aside:,} set aside ({revision.newly_set_aside:,} newly)"
        ),
        *_rows(counts, remarks),
    ]
    if revision.unjudged:
        lines.insert(1, f"  {revision.unjudged:,} rows never had a reply and stay as they are")
    return "\n".join(lines) + "\n"


def prepare_text(report: "PrepareReport") -> str:
    """What was cleaned, what waits for a person, and what to do then."""
    lines = [f"{report.rows:,} rows read, {report.written:,} written" + (f" to {report.out}" if report.out else "")]
    if report.replaced:
        lines.append("  replaced   " + ", ".join(f"{old} {count:,}" for old, count in report.replaced.items()))
    if report.truncated:
        lines.append(f"  truncated  {report.truncated:,} rows, {report.characters_cut:,} characters cut")
    lines += [f"  set aside  row {aside.row}: {aside.code} ({aside.detail})" for aside in report.set_aside[:MOST_SHOWN]]
    if len(report.set_aside) > MOST_SHOWN:
        lines.append(f"             and {len(report.set_aside) - MOST_SHOWN:,} more")
    if report.hugs:
        decided = ", ".join(f"{name or 'undecided'} {count:,}" for name, count in report.decisions.items())
        lines.append(f"  review     {report.hugs:,} snippets to review" + (f": {decided}" if decided else ""))
    if report.review_written:
        lines += [
            "",
            f"Now decide: open {report.review_written}, write accept, edit or keep into the decision column",
            "(edit takes the text of the replacement column), and run the same command again.",
        ]
    elif report.hugs and not report.decisions:
        lines.append("             list them for a person's decision with --review FILE.csv")
    return "\n".join(lines) + "\n"


def print_json(values: Mapping[str, object]) -> None:
    """One JSON line on stdout, for programs."""
    import orjson

    sys.stdout.write(orjson.dumps(values, default=str).decode() + "\n")
