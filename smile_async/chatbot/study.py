"""The whole of section 6 in one call that goes on where it was left: cases, sessions, the base model's answers, LoRA
training, the fine-tuned model's answers, Table 5, ballots for people.

Its folder holds `cases.jsonl`, `sessions/`, `answers/baseline/` and `answers/fine-tuned/` (runs of the engine),
`training/`, `metrics.json`, `ballots.json` with `ballots.key.json`, and of all of it `results.json` and `tables.md`.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from smile_async.chatbot import study_tables
from smile_async.chatbot.answer_lines import read_texts
from smile_async.chatbot.ballots import draw, references, write_ballots
from smile_async.chatbot.ballots import read_cases as read_ballot_cases
from smile_async.chatbot.base_model import require_training
from smile_async.chatbot.cosine import COSINE, CosineScorer
from smile_async.chatbot.curve import Notify
from smile_async.chatbot.evaluation import Scorer, evaluate, read_answered
from smile_async.chatbot.in_process import BATCH, InProcessModel
from smile_async.chatbot.metrics import bert_score, require_metrics
from smile_async.chatbot.respond import RESPONSES, SAMPLING, TRUNCATED, Case, read_cases, respond
from smile_async.chatbot.session_files import TRAIN, VALIDATION, write_sessions
from smile_async.chatbot.study_cases import (
    KeptRecords,
    digest_of,
    draw_cases,
    held_questions,
    learnt_references,
    take_cases,
)
from smile_async.chatbot.study_settings import SHAPES, STEPS, StepName, StudySettings, StudyWishes
from smile_async.chatbot.training import ADAPTER, check_length, train
from smile_async.chatbot.votes import keep_voted
from smile_async.corpora import Corpus
from smile_async.engine import events
from smile_async.engine.run import RunReport
from smile_async.errors import StoppedError, UsageError
from smile_async.filing import whole_file
from smile_async.notes import Whom
from smile_async.options import Options
from smile_async.run_folder import read_status
from smile_async.settings import Endpoint, Limits, Sampling
from smile_async.study_folder import CHATBOT, StudyFolder, digest
from smile_async.tasks import Following, Keeping

CASES, METRICS, BALLOTS, KEY, VOTES = (
    "cases.jsonl", "metrics.json", "ballots.json", "ballots.key.json", "ballots.votes.sqlite3",
)  # fmt: skip
SESSIONS, TRAINING, ANSWERS = "sessions", "training", "answers"
RESULTS, TABLES = "results.json", "tables.md"
BASELINE, TUNED, GOLDEN = "baseline", "fine-tuned", "golden"
TOLD = 20  # lines of progress while cases are answered, at most

TITLES: Mapping[StepName, str] = {
    "cases": "test cases that training never sees",
    "sessions": "training sessions",
    "baseline": "the base model's answers",
    "training": "LoRA training",
    "fine-tuned": "the fine-tuned model's answers",
    "metrics": "automatic metrics",
    "ballots": "ballots for people",
}


@dataclass(frozen=True, slots=True)
class StudyWatch:
    """How a study is watched: `step` hears a step's number, how many there are, its title, and whether it is done
    already; `notify` gets lines for a person, `on_point` the losses."""

    step: Callable[[int, int, str, bool], None] = lambda *_: None
    notify: Callable[[str], None] = lambda _text: None
    on_point: Notify = lambda *_: None


@dataclass(frozen=True, slots=True)
class StudyReport:
    """What came of each step, by its name; `skipped` were done before. `unanswered` counts cases without an answer."""

    folder: str
    settings: Mapping[str, Any]
    steps: Mapping[StepName, Mapping[str, Any]]
    skipped: tuple[StepName, ...]

    @property
    def unanswered(self) -> int:
        return sum(self.steps.get(name, {}).get("set_aside", 0) for name in ("baseline", "fine-tuned"))

    def as_json(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "settings": dict(self.settings),
            "steps": {name: dict(results) for name, results in self.steps.items()},
            "skipped": list(self.skipped),
        }


def reproduce_chatbot(
    corpus: Corpus,
    out: str | Path,
    settings: StudySettings,
    *,
    cases: Path | None = None,
    wishes: StudyWishes | None = None,
    watch: StudyWatch | None = None,
) -> StudyReport:
    """Do every step that is not done, in the folder `out`; the same call again goes on.

    `cases` (None: drawn from dialogues of the corpus, which are then kept out of training) is a test set as
    `smile psytest` writes it. Blocks, for hours with a real model: not for an event loop. Raises `RunMismatchError`
    when `out` was begun with other settings, corpus or cases, `RunInUseError`, `StoppedError` when a server does not
    answer, and as `train` and `respond`.
    """
    told = wishes or StudyWishes()
    if told.until is not None and told.until not in STEPS:
        raise UsageError(f"There is no step {told.until!r}.", hint=f"One of: {', '.join(STEPS)}.")
    if told.comes_to("training"):
        require_training()
    if told.comes_to("metrics"):
        require_metrics()  # not hours later
        _ = CosineScorer() if told.cosine else None
    folder = StudyFolder(Path(out), CHATBOT)
    with folder.alone():
        shaping = settings.as_json() | {"corpus": digest_of(corpus), "cases_file": cases and digest(cases)}
        folder.begin(shaping, SHAPES)
        study = _Study(folder, corpus, cases, settings, told, watch or StudyWatch())
        return study.carried_out(shaping)


@dataclass(slots=True)
class _Study:
    """One call's work; every `_step` gives its inputs, its files, and what does it."""

    folder: StudyFolder
    corpus: Corpus
    given: Path | None
    settings: StudySettings
    wishes: StudyWishes
    watch: StudyWatch
    results: dict[StepName, Mapping[str, Any]] = field(default_factory=dict)

    def carried_out(self, shaping: Mapping[str, Any]) -> StudyReport:
        steps: dict[StepName, Callable[[], _Step]] = {
            "cases": self._cases,
            "sessions": self._sessions,
            "baseline": lambda: self._answers(BASELINE, self.wishes.baseline, None),
            "training": self._training,
            "fine-tuned": lambda: self._answers(TUNED, self.wishes.tuned, self.path / TRAINING / ADAPTER),
            "metrics": self._metrics,
            "ballots": self._ballots,
        }
        skipped: list[StepName] = []
        for number, (name, step_of) in enumerate(steps.items(), 1):
            step = step_of()
            found = self.folder.done(name, step.inputs)
            if found is None and name == "baseline" and self.wishes.comes_to("training"):
                self._check_length()
            self.watch.step(number, len(steps), TITLES[name], found is not None)
            if found is None:
                found = step.work()
                self.folder.note(name, step.inputs, step.files, found)
            else:
                skipped.append(name)
            self.results[name] = found
            if name == self.wishes.until:
                break
        report = StudyReport(str(self.path), shaping, self.results, tuple(skipped))
        _write_json(self.path / RESULTS, report.as_json())
        with whole_file(self.path / TABLES, overwrite=True) as file:
            file.write(study_tables.page(report.as_json()).encode())
        return report

    @property
    def path(self) -> Path:
        return self.folder.path

    def _check_length(self) -> None:
        """Sessions that are all too long are told before the base model answers, which may take hours."""
        if self.folder.done("training", self._training().inputs) is None:
            check_length(self.path / SESSIONS, self.settings.training(), notify=self.watch.notify)

    def _held(self) -> frozenset[bytes]:
        if self.given is not None:
            return frozenset()
        return held_questions(self.corpus, self.settings.test, self.settings.seed)

    def _cases(self) -> "_Step":
        out, chosen = self.path / CASES, {"count": self.settings.cases, "seed": self.settings.seed}

        def work() -> dict[str, Any]:
            if self.given is not None:
                return take_cases(self.given, out, **chosen)
            return draw_cases(self.corpus, self._held(), out, roles=self.corpus.roles, **chosen)

        return _Step({}, (CASES,), work)

    def _sessions(self) -> "_Step":
        def work() -> dict[str, Any]:
            report = write_sessions(
                KeptRecords(self.corpus, self._held()),
                self.path / SESSIONS,
                system_prompt=self.settings.system,
                roles=self.corpus.roles,
                validation=self.settings.validation,
                seed=self.settings.seed,
                overwrite=True,
            )
            learnt = learnt_references(self.path / CASES, self.path / SESSIONS)
            return asdict(report) | {"references_learnt": learnt}

        return _Step(self._digests(CASES), (f"{SESSIONS}/{TRAIN}", f"{SESSIONS}/{VALIDATION}"), work)

    def _training(self) -> "_Step":
        def work() -> dict[str, Any]:
            sessions, out = self.path / SESSIONS, self.path / TRAINING
            told = self.watch
            report = train(sessions, out, self.settings.training(), notify=told.notify, on_point=told.on_point)
            return asdict(report)

        inputs = self._digests(f"{SESSIONS}/{TRAIN}", f"{SESSIONS}/{VALIDATION}")
        adapter = f"{TRAINING}/{ADAPTER}"
        return _Step(inputs, (f"{TRAINING}/report.json", f"{adapter}/adapter_model.safetensors"), work)

    def _answers(self, name: str, served: Endpoint | None, adapter: Path | None) -> "_Step":
        own = Sampling(max_tokens=self.settings.max_tokens)
        provider: Whom = served or InProcessModel(
            self.settings.base,
            adapter,
            own.over(SAMPLING),
            seed=self.settings.seed,
            precision=self.settings.precision,
            trust_remote_code=self.settings.trust_remote_code,
            notify=self.watch.notify,
        )
        who = {"model": served.model} if served else dict(provider.identity)  # type: ignore[union-attr]
        options = Options(sampling=own, limits=Limits() if served else Limits(concurrency=BATCH))

        def work() -> dict[str, Any]:
            cases = read_cases(self.path / CASES)
            report = asyncio.run(self._answered(name, cases, provider, options))
            if report.state != "done":
                raise StoppedError(report.message, reason=report.reason, hint="The same command goes on.")
            counts = report.counts
            answered = {"answered": counts.accepted, "set_aside": counts.set_aside, "reasons": dict(counts.reasons)}
            cut = read_status(self.path / ANSWERS / name).remarks.flags.get(TRUNCATED, 0)
            return answered | {"truncated": cut, "by": who["model"], "served": served is not None}

        return _Step(self._digests(CASES) | {"who": who}, (f"{ANSWERS}/{name}/{RESPONSES}",), work)

    async def _answered(self, name: str, cases: list[Case], provider: Whom, options: Options) -> RunReport:
        return await respond(
            cases,
            self.path / ANSWERS / name,
            provider=provider,
            name=name,
            system=self.settings.system,
            options=options,
            keeping=Keeping(source=str(self.path / CASES), expected=len(cases)),
            following=Following(_Progress(len(cases), self.watch.notify).hear, notify=self.watch.notify),
        )

    def _metrics(self) -> "_Step":
        also = dict(self.wishes.also or {})
        files = {name: self.path / ANSWERS / name / RESPONSES for name in (BASELINE, TUNED)}
        if taken := [name for name in also if name in files]:
            raise UsageError(f"Two systems are called {taken[0]!r}.", hint="Name the other one otherwise.")
        files |= also
        wanted = {"cosine": self.wishes.cosine, "bert_score": self.wishes.bert_score, "layer": self.wishes.layer}

        def work() -> dict[str, Any]:
            answered = read_answered(self.path / CASES, files, missing="empty")
            found = evaluate(
                answered.references, answered.responses, more=self._scorers(), seed=self.settings.seed
            ).as_json()
            _write_json(self.path / METRICS, found)
            return found

        inputs = self._digests(CASES) | wanted | {"responses": {name: digest(file) for name, file in files.items()}}
        return _Step(inputs, (METRICS,), work)

    def _scorers(self) -> dict[str, Scorer]:
        encoder, layer = self.wishes.bert_score, self.wishes.layer
        more: dict[str, Scorer] = {COSINE: CosineScorer()} if self.wishes.cosine else {}
        if encoder is not None:
            name = f"bert-score {Path(encoder).name}"
            more[name] = lambda wanted, told: bert_score(wanted, told, encoder, layer=layer)
        return more

    def _ballots(self) -> "_Step":
        files = [f"{ANSWERS}/{name}/{RESPONSES}" for name in (BASELINE, TUNED)]

        def work() -> dict[str, Any]:
            cases = read_ballot_cases(self.path / CASES)
            systems = {GOLDEN: references(cases)}
            systems |= {name: read_texts(self.path / file) for name, file in zip((BASELINE, TUNED), files, strict=True)}
            if not any(all(case.id in told for told in systems.values()) for case in cases):
                return {"cases": 0, "why": "no case was answered by both models"}
            drawn = draw(cases, systems, count=self.settings.ballots, seed=self.settings.seed)
            try:
                keep_voted(self.path / VOTES, drawn.ballots.drawn)
            except UsageError as error:  # no reason to lose the tables
                self.watch.notify(str(error))
                return {"cases": None, "why": "people voted on ballots of earlier answers"}
            write_ballots(drawn, self.path / BALLOTS, self.path / KEY, overwrite=True)
            return {"cases": len(drawn.ballots.ballots), "identical_pairs": drawn.identical, "missing": drawn.missing}

        return _Step(self._digests(CASES, *files), (BALLOTS, KEY), work)

    def _digests(self, *names: str) -> dict[str, Any]:
        return {name: digest(self.path / name) for name in names}


@dataclass(frozen=True, slots=True)
class _Step:
    """`inputs` are what it is made of beside the study's settings, `files` what it leaves, by their names in the
    study's folder; `work` returns what came of it."""

    inputs: Mapping[str, Any]
    files: tuple[str, ...]
    work: Callable[[], dict[str, Any]]


@dataclass(slots=True)
class _Progress:
    """Tells now and then how many cases are answered."""

    cases: int
    notify: Callable[[str], None]
    ended: int = 0

    def hear(self, event: events.Event) -> None:
        if isinstance(event, events.RunStarted):
            self.ended = event.accepted + event.set_aside
        elif isinstance(event, events.RowAccepted | events.RowSetAside):
            self.ended += 1
            if self.ended * TOLD // self.cases > (self.ended - 1) * TOLD // self.cases:
                self.notify(f"  {self.ended:,} of {self.cases:,} cases")


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with whole_file(path, overwrite=True) as file:
        file.write(orjson.dumps(values, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
