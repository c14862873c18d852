"""What the report of a run or a corpus says, gathered into one frozen value; `page/` draws it, `plots.py` prints it."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

import orjson

from smile_async.analysis.digests import text_digest
from smile_async.analysis.distribution import Distribution
from smile_async.analysis.report_tables import corpus_tables, run_tables
from smile_async.analysis.samples import Label, Samples, Wanted, corpus_samples, run_samples
from smile_async.analysis.shape import Shape, shape
from smile_async.analysis.table import Cell, Table
from smile_async.analysis.timeline import Timeline, timeline
from smile_async.corpora import Corpus, open_corpus
from smile_async.corpus.formats import RoleMap
from smile_async.corpus.statistics import corpus_statistics
from smile_async.engine import account, history, schema
from smile_async.prompt.recipe import Recipe
from smile_async.run_folder import UNNAMED, RunStatus, read_status
from smile_async.settings import Quota

NO_ROLES = RoleMap("", "")


@dataclass(frozen=True, slots=True)
class Curve:
    """One histogram of a figure: `name` is a code (`own`, `other`, `pairs`) or the name of a set."""

    name: str
    values: Distribution


@dataclass(frozen=True, slots=True)
class Figure:
    """Curves over one axis, with a `line` across where there is one (Figure 4's mean - 3 standard deviations)."""

    name: str
    curves: tuple[Curve, ...]
    line: float | None = None


@dataclass(frozen=True, slots=True)
class TopicShare:
    """How many of the dialogues hold a topic; a dialogue may have several. `number` is the topic's among the paper's
    60, None for a label that is none of them; `crisis`: one of 57 to 60."""

    zh: str
    en: str
    dialogues: int
    number: int | None = None
    crisis: bool = False


@dataclass(frozen=True, slots=True)
class Topics:
    """Figure 11."""

    shares: tuple[TopicShare, ...]
    of: int


@dataclass(frozen=True, slots=True)
class Findings:
    """What other analyses know of the corpus: their tables (1 and 2), figures (4 and 5) and topics."""

    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    topics: Topics | None = None


@dataclass(frozen=True, slots=True)
class RunPart:
    """`asked`: what the run was told, by key; `prompt`: the recipe's system and user message, as templates."""

    status: RunStatus
    asked: Mapping[str, Cell]
    prompt: tuple[str, str]
    timeline: Timeline | None
    verdicts: Sequence[history.VerdictCount]


@dataclass(frozen=True, slots=True)
class Report:
    """`kind` is run or corpus; `of` a digest of where it lies, which tells two of one name apart; `roles` who asks and
    who answers; parts that there are none of are None or empty."""

    name: str
    kind: str
    made_at: float
    version: str
    roles: RoleMap
    run: RunPart | None = None
    shape: Shape | None = None
    tables: tuple[Table, ...] = ()
    findings: Findings = field(default_factory=Findings)
    samples: Samples = field(default_factory=Samples)
    of: str = ""

    @property
    def every_table(self) -> tuple[Table, ...]:
        return (*self.tables, *self.findings.tables)


Look = Callable[[Corpus], Findings]
"""Another analysis of the same corpus."""


def gather(
    path: str | Path,
    *,
    roles: RoleMap | None = None,
    wanted: Wanted | None = None,
    looks: Iterable[Look] = (),
    labelling: Callable[[RoleMap], Label] = lambda _roles: lambda record: record,
    now: float | None = None,
) -> Report:
    """Of a run, also while it goes on, or of anything that `open_corpus` opens. `looks` add what they find, `labelling`
    gives samples their topics. Where no sample is `wanted`, the page is for others: of the source it keeps the name.

    A run of another task (topics, embeddings) has no dialogues: its report tells what was asked and spent. Raises as
    `open_corpus` does.
    """
    path, wanted, now = Path(path), wanted or Wanted(), time.time() if now is None else now
    if not (path / schema.DATABASE).is_file():
        corpus = open_corpus(path, roles=roles)
        bare = Report(corpus.name, "corpus", now, version("smile-async"), corpus.roles, of=place_digest(path))
        samples = corpus_samples(corpus, wanted, labelling(corpus.roles))
    else:
        run, recipe = _run(path, now, bare=not (wanted.accepted or wanted.rejected))
        tables = run_tables(run.status, run.verdicts, run.timeline)
        name = path.resolve().name
        bare = Report(name, "run", now, version("smile-async"), NO_ROLES, run, tables=tables, of=place_digest(path))
        if recipe is None:
            return bare
        corpus = open_corpus(path, roles=roles)
        with schema.reading(path) as reader:
            samples = run_samples(reader, recipe.format, wanted, labelling(corpus.roles))
    return _with_corpus(bare, corpus, samples, looks)


def place_digest(path: str | Path) -> str:
    return text_digest(str(Path(path).resolve()))


def _with_corpus(bare: Report, corpus: Corpus, samples: Samples, looks: Iterable[Look]) -> Report:
    form = shape(corpus, corpus.roles)
    tables = (*bare.tables, *corpus_tables(form, corpus_statistics(corpus, corpus.roles)))
    return replace(bare, roles=corpus.roles, shape=form, tables=tables, findings=_found(corpus, looks), samples=samples)


def _found(corpus: Corpus, looks: Iterable[Look]) -> Findings:
    found = [look(corpus) for look in looks]
    return Findings(
        tables=tuple(table for one in found for table in one.tables),
        figures=tuple(figure for one in found for figure in one.figures),
        topics=next((one.topics for one in found if one.topics is not None), None),
    )


def _run(folder: Path, now: float, *, bare: bool) -> tuple[RunPart, Recipe | None]:
    """`bare`: without the folders in which the source lies, which may name people."""
    status = read_status(folder, now=now)
    if bare:
        status = replace(status, source=PurePath(status.source).name)
    with schema.reading(folder) as reader:
        noted = account.read_meta(reader, "recipe")
        recipe = None if noted is None else Recipe.model_validate(noted)
        notes = account.read_meta(reader, "options") or {}
        endpoints = account.read_meta(reader, "endpoint") or []
        asked = _asked(status, recipe, notes, account.read_meta(reader, "identity") or {})
        over_time = timeline(
            lambda: history.attempts_in_time(reader),
            _quotas(status.endpoints, endpoints, notes),
            status.changes,
            now=now if status.state == "running" else _last(reader),
        )
        verdicts = history.verdicts(reader)
    prompt = ("", "") if recipe is None else (recipe.system, recipe.template)
    return RunPart(status, asked, prompt, over_time, verdicts), recipe


def _last(reader: sqlite3.Connection) -> float:
    """When the last answer came: nobody knows when the flights of a run that was killed ended."""
    found = reader.execute("SELECT max(sent_at + coalesce(took, 0)) FROM attempts").fetchone()[0]
    return float(found or 0.0)


def _quotas(there: Iterable[str], endpoints: Sequence[Mapping[str, Any]], notes: Mapping[str, Any]) -> dict[str, Quota]:
    """What was told of each endpoint's limits; the run's own where it has none."""
    fields = set(Quota.model_fields)
    common = Quota.model_validate({key: value for key, value in notes.get("limits", {}).items() if key in fields})
    own = {one.get("name", ""): one["quota"] for one in endpoints if one.get("quota")}
    return {name: Quota.model_validate(own[name]) if name in own else common for name in there}


def _asked(
    status: RunStatus, recipe: Recipe | None, notes: Mapping[str, Any], identity: Mapping[str, Any]
) -> dict[str, Cell]:
    """What the run was told, in the order in which a reader would ask."""
    told: dict[str, Any] = {"source": status.source, "model": status.model}
    if recipe is not None:
        told |= {"recipe": f"{recipe.name} {recipe.version}", "about": recipe.title, "language": recipe.language}
    else:
        told |= {"task": identity.get("task")}
    told |= {name: identity.get(name) for name in ("temperature", "top_p", "max_tokens")}
    retry, intake = notes.get("retry", {}), notes.get("intake", {})
    told |= {name: retry.get(name) for name in ("max_attempts", "max_failures")}
    told |= {"timeout": notes.get("timeouts", {}).get("total"), "budget": notes.get("limits", {}).get("budget_usd")}
    told |= {name: intake.get(name) for name in ("limit", "sample", "max_characters")}
    if recipe is not None:
        form = recipe.format
        rules = [name for name, on in form.rules.model_dump(by_alias=True).items() if on]
        told |= {"min_turns": form.min_turns, "rules": ", ".join(rules), "salvage": ", ".join(form.salvage.steps)}
    return {key: value for key, value in told.items() if value not in {None, ""}}


def as_json(report: Report) -> dict[str, Any]:
    """All that the page draws. Text from outside stands in it as it is: `page.page_html` makes it safe to embed."""
    findings = report.findings
    return {
        "name": report.name,
        "of": report.of,
        "kind": report.kind,
        "made": report.made_at,
        "version": report.version,
        "roles": [report.roles.user, report.roles.assistant],
        "run": None if report.run is None else _run_json(report.run),
        "shape": None if report.shape is None else _shape_json(report.shape),
        "tables": {table.name: table.as_json() for table in report.every_table},
        "figures": [_figure_json(figure) for figure in findings.figures],
        "topics": None if findings.topics is None else _topics_json(findings.topics),
        "samples": {
            "of": dict(report.samples.of),
            "seed": report.samples.seed,
            "rows": [one.as_json() for one in report.samples.samples],
        },
    }


def dumped(report: Report) -> bytes:
    return orjson.dumps(as_json(report))


def _run_json(run: RunPart) -> dict[str, Any]:
    told = run.status.as_json()
    return {
        "status": {key: value for key, value in told.items() if key not in {"run", "changes"}},
        "asked": dict(run.asked),
        "prompt": list(run.prompt),
        "timeline": None if run.timeline is None else _timeline_json(run.timeline),
    }


def _timeline_json(found: Timeline) -> dict[str, Any]:
    return {
        "started": found.started,
        "seconds": found.seconds,
        "width": found.width,
        "cuts": [list(cut) for cut in found.cuts],
        "ends": {"accepted": found.accepted, "rejected": found.rejected, "failed": found.failed},
        "endpoints": [
            {
                "name": one.name or UNNAMED,
                **{
                    what: {"mean": _short(pace.mean), "peak": _short(pace.peak)}
                    for what, pace in (
                        ("requests", one.requests), ("tokens", one.tokens), ("input", one.input), ("output", one.output)
                    )
                },
                "days": {what: _short(values) for what, values in one.days.items()},
                "in_flight": one.in_flight,
                "limits": dict(one.limits),
                "steps": [
                    {"at": step.at, "what": step.what, "before": step.before, "after": step.after,
                     "reason": step.reason}
                    for step in one.steps
                ],
            }
            for one in found.endpoints
        ],
    }  # fmt: skip


def _short(values: Sequence[float]) -> list[float]:
    return [round(value, 1) for value in values]


def _shape_json(form: Shape) -> dict[str, Any]:
    parts = ("turns", "length", "client", "counselor", "shares")
    told: dict[str, Any] = {name: getattr(form, name).as_json() for name in parts}
    return told | {"dialogues": form.dialogues, "utterances": form.utterances}


def _figure_json(figure: Figure) -> dict[str, Any]:
    curves = [{"name": curve.name, "values": curve.values.as_json()} for curve in figure.curves]
    return {"name": figure.name, "line": figure.line, "curves": curves}


def _topics_json(topics: Topics) -> dict[str, Any]:
    shares = [
        {"zh": one.zh, "en": one.en, "n": one.dialogues, "number": one.number, "crisis": one.crisis}
        for one in topics.shares
    ]
    return {"of": topics.of, "shares": shares}
