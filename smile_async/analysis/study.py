"""The paper's whole study (sections 3 to 5): steps one after another, each a run folder of its own below one folder.

PsyQA* is drawn once: it is the source of smile, the reference of Table 1 and the QAs of Figure 4, whose vectors are
made once. A step that is done is not done again; one that was killed goes on where it was.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smile_async.analysis import study_places as there
from smile_async.analysis.embedding import BOTH, MAX_CHARACTERS, Batching, embed_corpus, embed_pairs
from smile_async.analysis.study_places import METHODS, PAIRS
from smile_async.analysis.topics import annotate_topics
from smile_async.analysis.topics_few_shot import annotate_few_shot
from smile_async.answering import Embeddings
from smile_async.corpora import Corpus, open_corpus
from smile_async.dialogue.model import QAPair
from smile_async.engine.run import RunReport
from smile_async.engine.schema import DATABASE
from smile_async.errors import SettingsError, UsageError
from smile_async.notes import Whom, endpoints_of
from smile_async.options import Options
from smile_async.pipeline import planned
from smile_async.prompt.annotation import Language
from smile_async.prompt.recipe import Recipe, load_recipe
from smile_async.rows import Seed, opened, seeds
from smile_async.run_folder import CORPUS, CORPUS_FILES, RunStatus, read_status
from smile_async.settings import Intake, RetryPolicy
from smile_async.source.prepared import write_pairs
from smile_async.source.rows import SourceRow
from smile_async.study_folder import CORPORA, StudyFolder, made_from
from smile_async.tasks import Following, Keeping, ask_all

PAPER_ROWS = 500
SMALL_ROWS = 8
SMALL_SOURCE = Path(__file__).parent / "data" / "small-psyqa.json"
"""A dozen made-up questions."""
UNTIL_VALID = RetryPolicy(max_attempts=None)  # section 4.1: what breaks a rule is generated again until it is valid


@dataclass(frozen=True, slots=True)
class Asked:
    """Who does one kind of work, and with which options (limits, retries, prices, timeouts, sampling)."""

    provider: Whom
    options: Options = field(default_factory=Options)

    @property
    def local(self) -> bool:
        return any(endpoint.provider == "local" for endpoint in endpoints_of(self.provider))

    @property
    def priced(self) -> bool:
        """Whether every request may cost something that is known."""
        prices = [one.prices or self.options.prices for one in endpoints_of(self.provider)] or [self.options.prices]
        return all(one is not None and one.cost(1, 1) > 0 for one in prices)

    def as_json(self) -> dict[str, Any]:
        """What shapes the answers."""
        endpoints = endpoints_of(self.provider)
        if not endpoints:
            told: Mapping[str, Any] = self.provider.identity  # type: ignore[union-attr]
        else:
            model = endpoints[0].model or ("(embedded)" if self.local else "")
            told = {"provider": endpoints[0].provider, "model": Path(model).name if self.local else model}
        return {**told, "sampling": self.options.sampling.model_dump(mode="json", exclude_none=True)}


@dataclass(frozen=True, slots=True)
class Study:
    """What is to be done. `rows` dialogues of each method, from as many QAs drawn out of `source` (None: a dozen
    made-up ones). `recipes` by the methods' names, where they are not the built-in ones. `budget_usd` is for all
    steps together; `command` is what a person calls to go on."""

    chat: Asked
    embed: Asked
    topics: Asked
    rows: int = PAPER_ROWS
    seed: int = 0
    source: str | Path | None = None
    recipes: Mapping[str, str | Path] = field(default_factory=dict)
    embeddings: Embeddings = field(default_factory=Embeddings)
    batching: Batching | None = None
    budget_usd: float | None = None
    tokenizer: str = "characters"
    command: str = ""

    def recipe(self, method: str) -> Recipe:
        """With the embedded model, which follows no instruction, the recipe made for it."""
        return load_recipe(self.recipes.get(method) or (f"{method}-local" if self.chat.local else method))

    @property
    def language(self) -> Language:
        """Of the topics and their prompt: the dialogues' own."""
        return "en" if self.recipe("smile").language.startswith("en") else "zh"

    def as_json(self) -> dict[str, Any]:
        """All that a study which goes on has to have in common with what it was."""
        recipes = {name: self.recipe(name) for name in METHODS}
        return {
            "rows": self.rows,
            "seed": self.seed,
            "source": "(made up)" if self.source is None else str(Path(self.source).absolute()),
            "recipes": {name: f"{one.name} {one.version} {one.digest[:12]}" for name, one in recipes.items()},
            "chat": self.chat.as_json(),
            "embeddings": {**self.embed.as_json(), "dimensions": self.embeddings.dimensions},
            "topics": {**self.topics.as_json(), "prompt": "few-shot" if self.topics.local else "Figure 11"},
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One run of the study. `made_from`: the files on which it depends; `ask` is given its options and who follows."""

    name: str
    title: str
    asked: Asked
    made_from: tuple[Path, ...]
    ask: Callable[[Options, Following], Awaitable[RunReport]] = field(repr=False)


Watch = Callable[[Step, int, int], AbstractAsyncContextManager[Following]]
"""How a step is followed: it is the so many-th of so many."""


@dataclass(frozen=True, slots=True)
class StudyReport:
    """How a study stands; `state`, `reason` and `message` as of a run, those of the step that stopped it."""

    folder: Path
    state: str
    reason: str = ""
    message: str = ""
    step: str = ""
    steps: Mapping[str, RunStatus] = field(default_factory=dict)

    @property
    def set_aside(self) -> int:
        return sum(one.counts.set_aside for one in self.steps.values())

    @property
    def exit_code(self) -> int:
        """As a run's."""
        if self.state == "done":
            return 3 if self.set_aside else 0
        return 130 if self.reason == "interrupted" else 4


async def reproduce(
    study: Study,
    out: str | Path,
    *,
    watch: Watch,
    again: bool = False,
    notify: Callable[[str], None] = lambda _text: None,
) -> StudyReport:
    """Everything that has to be asked for, in the folder `out`; the same call again goes on. `again`: also for what
    was set aside. `study_results.measure(out)` then measures it.

    Raises as the steps do, `RunMismatchError` where `out` holds another study, `SettingsError` for a budget without
    prices.
    """
    out = Path(out)
    _check(study)
    folder = StudyFolder(out, CORPORA)
    with folder.alone():
        if not folder.begun:
            _draw(study, out, notify)
        folder.begin(study.as_json())
        steps = study_steps(study, out)
        for number, step in enumerate(steps, 1):
            once_more = again and _set_aside(out / step.name) > 0
            if not once_more and folder.done(step.name, made_from(*step.made_from)) is not None:
                continue
            options = _within_budget(study, step, out, steps)
            if options is None:
                told = f"The budget of ${study.budget_usd:.4f} is spent."
                return StudyReport(out, "stopped", "budget", told, step.name, statuses(out, steps))
            async with watch(step, number, len(steps)) as seen:
                report = await step.ask(options, replace(seen, retry_reasons=()) if once_more else seen)
            if report.state != "done":
                return StudyReport(out, "stopped", report.reason, report.message, step.name, statuses(out, steps))
            folder.note(step.name, made_from(*step.made_from))
        return StudyReport(out, "done", steps=statuses(out, steps))


def _check(study: Study) -> None:
    if strange := set(study.recipes) - set(METHODS):
        raise UsageError(f"There is no method {min(strange)!r}.", hint=f"They are: {', '.join(METHODS)}.")
    needs = {"standard": "nothing", "standardT": "topic", "smile": "qa"}
    for method, needed in needs.items():
        if (recipe := study.recipe(method)).needs != needed:
            raise UsageError(
                f"The recipe {recipe.name!r} needs {recipe.needs}, and {method} is a method that needs {needed}.",
                hint="Name a recipe of that kind: --recipe METHOD=RECIPE.",
            )
    if study.budget_usd is None:
        return
    for what, asked in (("chat", study.chat), ("embeddings", study.embed), ("topics", study.topics)):
        if not asked.local and not asked.priced:
            raise SettingsError(
                f"A budget needs prices, and those of the {what} are not known.",
                hint="--price-in, --price-out, --embed-price-in, --topics-price-in, --topics-price-out.",
            )


def _draw(study: Study, out: Path, notify: Callable[[str], None]) -> None:
    """PsyQA*, cleaned and cut as Appendix A says; each QA has an id, its own or its place."""
    intake = Intake(sample=study.rows, sample_from=max(study.rows, Intake().sample_from), seed=study.seed)
    source = opened(study.source or SMALL_SOURCE, intake)
    rows = list(seeds(source, study.recipe("smile"), intake))
    pairs = [row.pair for row in rows if isinstance(row, Seed) and row.pair is not None]
    if len(pairs) < len(rows):
        notify(f"{len(rows) - len(pairs):,} of the {len(rows):,} QAs drawn held nothing after cleaning: left out.")
    named = (one if one.source_id else one.model_copy(update={"source_id": str(n)}) for n, one in enumerate(pairs))
    write_pairs(there.pairs_file(out), named, overwrite=True)  # one is there when a kill came before the note


def read_pairs(out: Path) -> list[QAPair]:
    """PsyQA* of a study."""
    source = opened(there.pairs_file(out), Intake())
    assert source is not None
    return [row.pair for row in source if isinstance(row, SourceRow)]


def study_steps(study: Study, out: Path) -> tuple[Step, ...]:
    """All that is asked for, in its order."""
    corpora = {method: there.dialogues_of(out, method) / CORPUS for method in METHODS}
    return (
        *(_dialogues(study, out, method) for method in METHODS),
        _vectors_of_pairs(study, out),
        *(_vectors(study, out, method, corpora[method]) for method in METHODS),
        *(_topics(study, out, method, corpora[method]) for method in METHODS),
    )


def _dialogues(study: Study, out: Path, method: str) -> Step:
    folder, from_pairs = there.dialogues_of(out, method), method == "smile"
    source = there.pairs_file(out) if from_pairs else None
    # The QAs of PsyQA* have been cleaned: all that compares them is about the very texts that were rewritten.
    intake = Intake(clean=False) if from_pairs else Intake(limit=study.rows, seed=study.seed)

    async def ask(options: Options, seen: Following) -> RunReport:
        options = replace(options, recipe=study.recipe(method), intake=intake)
        plan = await planned(source, folder, study.chat.provider, options, seen)
        return await ask_all(
            plan.task,
            plan.rows,
            folder,
            provider=study.chat.provider,
            options=plan.options,
            sampling=plan.options.sampling.over(plan.recipe.sampling),
            keeping=Keeping(notes=plan.notes, files=CORPUS_FILES),
            following=seen,
        )

    made_from = () if source is None else (source,)
    return Step(method, f"dialogues by {study.recipe(method).name}", study.chat, made_from, ask)


def _vectors_of_pairs(study: Study, out: Path) -> Step:
    async def ask(options: Options, seen: Following) -> RunReport:
        return await embed_pairs(
            lambda: read_pairs(out), there.vectors_of(out, PAIRS), **_embedding(study, options, seen)
        )

    return Step(f"vectors/{PAIRS}", "vectors of PsyQA*", study.embed, (there.pairs_file(out),), ask)


def _vectors(study: Study, out: Path, method: str, corpus: Path) -> Step:
    async def ask(options: Options, seen: Following) -> RunReport:
        records = open_corpus(there.dialogues_of(out, method))
        given = _embedding(study, options, seen)
        return await embed_corpus(records, there.vectors_of(out, method), what=BOTH[1:], **given)

    return Step(f"vectors/{method}", f"vectors of {method}", study.embed, (corpus,), ask)


def _embedding(study: Study, options: Options, seen: Following) -> dict[str, Any]:
    return {
        "provider": study.embed.provider,
        "max_characters": MAX_CHARACTERS,
        "batching": study.batching,
        "embeddings": study.embeddings,
        "options": options,
        "keeping": Keeping(command=study.command),
        "following": seen,
    }


def _topics(study: Study, out: Path, method: str, corpus: Path) -> Step:
    async def ask(options: Options, seen: Following) -> RunReport:
        opened: Corpus = open_corpus(there.dialogues_of(out, method))
        given: dict[str, Any] = {
            "provider": study.topics.provider,
            "roles": opened.roles,
            "options": options,
            "keeping": Keeping(command=study.command, expected=study.rows),
            "following": seen,
        }
        folder = there.topics_of(out, method)
        if study.topics.local:
            return await annotate_few_shot(opened, folder, **given)
        return await annotate_topics(opened, folder, language=study.language, **given)

    return Step(f"topics/{method}", f"topics of {method}", study.topics, (corpus,), ask)


def _within_budget(study: Study, step: Step, out: Path, steps: tuple[Step, ...]) -> Options | None:
    """The step's options with what the other steps left of the money; None: they left nothing. A run counts against
    its budget what it has spent itself, so that this holds for one that goes on, too."""
    options = step.asked.options
    if study.budget_usd is None or step.asked.local:
        return options
    others = (one.counts for name, one in statuses(out, steps).items() if name != step.name)
    left = study.budget_usd - sum(one.spend_usd + one.perhaps_usd + one.reserved_usd for one in others)
    if left <= 0:
        return None
    return replace(options, limits=options.limits.model_copy(update={"budget_usd": left}))


def statuses(out: Path, steps: tuple[Step, ...]) -> dict[str, RunStatus]:
    """How the steps that have begun stand."""
    return {step.name: read_status(out / step.name) for step in steps if (out / step.name / DATABASE).is_file()}


def _set_aside(run: Path) -> int:
    return read_status(run).counts.set_aside if (run / DATABASE).is_file() else 0
