"""`generate_corpus`: source, recipe, engine, rules and corpus, wired together. The command line calls only this."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smile_async import run_folder
from smile_async.dialogue_task import dialogue_task
from smile_async.engine import account, schema
from smile_async.engine.account import Counts
from smile_async.engine.events import Listener
from smile_async.engine.feed import Unreadable
from smile_async.engine.ledger import Ledger
from smile_async.engine.revision import Revision, rejudge
from smile_async.engine.run import RunReport
from smile_async.engine.switch import StopSwitch
from smile_async.engine.task import Provider, Task
from smile_async.errors import RunMismatchError, RunNotFoundError
from smile_async.kinship import own_rows
from smile_async.notes import endpoint_notes, endpoints_of, noted_endpoints, read_notes
from smile_async.options import Options
from smile_async.prompt.recipe import Recipe, load_recipe
from smile_async.rows import Given, Seed, expected_rows, opened, rows_identity, seeds
from smile_async.settings import Endpoint
from smile_async.tasks import Following, Keeping, ask_all

if TYPE_CHECKING:
    import httpx

LOCAL_RECIPE = "smile-local"  # few examples and a grammar: what a small base model needs
MEMORY_SOURCE = "(rows in memory)"


async def generate_corpus(
    source: Given,
    out: str | Path,
    *,
    provider: Provider | Endpoint | Sequence[Endpoint],
    options: Options | None = None,
    listener: Listener | None = None,
    stop: StopSwitch | None = None,
    client: "httpx.AsyncClient | None" = None,
    notify: Callable[[str], None] = lambda _text: None,
    pulse: float | None = None,
    retry_reasons: Iterable[str] | None = None,
) -> RunReport:
    """Make a dialogue of every row of `source` and keep it all in the run folder `out`; go on where a run was left.

    `source`: a path (PsyQA JSON, JSONL, CSV, Parquet), QAs in memory (`QAPair` or dicts with question, description,
    answer), or None for recipes that need none. `provider`: an `Endpoint` (its key is read from the environment),
    several that serve the same model (each with its own quota and prices), or anything with `ask` (see
    `engine.task.Provider`).
    `client`: your own `httpx.AsyncClient` (proxies, `MockTransport`), left open. `listener` gets every event on the
    loop (a `Pulse` each `pulse` seconds, if given), `stop` ends the run from outside, `notify` gets a line for a person
    now and then (a model's terms). `retry_reasons` first gives set-aside rows another chance: those with these reasons,
    or all that were ever asked when it is empty.

    Returns the report; `out/corpus.jsonl` then holds the accepted dialogues in source order and
    `out/set-aside.jsonl` the others with their reasons. A run that stopped early (report.state == "stopped") goes on
    when the same call is made again. Raises `SmileError`s: `SourceError` for a bad source, `RunMismatchError` when
    `out` holds a run with other settings, or of a file that has hardly any row in common with this one
    (`Options.add_source` adds them; rows in memory are not compared), `RunInUseError`, `SettingsError`, `RecipeError`.
    """
    folder = Path(out)
    seen = Following(listener, stop, notify, pulse, client, retry_reasons)
    plan = await planned(source, folder, provider, options or Options(), seen)
    return await ask_all(
        plan.task,
        plan.rows,
        folder,
        provider=provider,
        options=plan.options,
        sampling=plan.options.sampling.over(plan.recipe.sampling),
        keeping=Keeping(notes=plan.notes, files=run_folder.CORPUS_FILES),
        following=seen,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a call asks for: the task, the rows (to be read once), what is noted with the run."""

    task: Task[Seed, Any]
    rows: Iterator[Seed | Unreadable]
    notes: dict[str, Any]
    recipe: Recipe
    options: Options


async def planned(
    source: Given,
    folder: Path,
    provider: Provider | Endpoint | Sequence[Endpoint],
    options: Options,
    seen: Following,
) -> Plan:
    """Opens the source; of one that a run goes on with, it reads the first rows, beside the loop: thousands where the
    run knows none of them. Raises as `generate_corpus` does."""
    recipe = _with_the_runs_rules(recipe_for(provider, options), folder, seen.notify)
    options = replace(options, recipe=recipe, salvage=None)
    rows = opened(source, options.intake)
    notes = {
        "source": _source_note(source),
        "expected_rows": expected_rows(rows, options.intake),
        "recipe": recipe.model_dump(mode="json"),
        "endpoint": endpoint_notes(provider),
        "options": options.as_notes(),
    }
    max_tokens = options.sampling.over(recipe.sampling).max_tokens
    task = dialogue_task(recipe, max_tokens=max_tokens, rows=rows_identity(recipe, options.intake))
    wanted = seeds(rows, recipe, options.intake)
    _say_whose_source(folder, _source_note(source), seen.notify)
    if notes["source"] != MEMORY_SOURCE and not options.add_source:
        make = f"smile generate {source or '-'} {folder}"
        wanted = await seen.aside(partial(own_rows, wanted, task, folder, what=f"rows of {source}", make=make))
    return Plan(task, wanted, notes, recipe, options)


def _say_whose_source(folder: Path, source: str | None, notify: Callable[[str], None]) -> None:
    """A run's rows stay in it whatever is read next; only what the source of now holds besides is still to be read."""
    if not (folder / schema.DATABASE).exists():
        return
    with schema.reading(folder) as reader:
        before = account.read_meta(reader, "source")
        if before is None or before == source:
            return
        total = account.read_counts(reader).total
    then = source or "stdin"
    notify(f"{folder} has read {total:,} rows of {before}; from now on it reads {then}, not the rest of that.")


def _with_the_runs_rules(recipe: Recipe, folder: Path, notify: Callable[[str], None]) -> Recipe:
    """A run judges all its replies by one set of rules: those it has, which `revalidate` may have changed."""
    if not (folder / schema.DATABASE).exists():
        return recipe
    with schema.reading(folder) as reader:
        noted = account.read_meta(reader, "recipe")
    before = None if noted is None else Recipe.model_validate(noted)
    if before is None or before.digest != recipe.digest or before.format == recipe.format:
        return recipe
    notify("The recipe's rules are not those this run is judged by, which stay: `smile revalidate` changes them.")
    return recipe.model_copy(update={"format": before.format})


async def resume_corpus(
    out: str | Path,
    *,
    provider: Provider | Endpoint | Sequence[Endpoint] | None = None,
    changes: Callable[[Options], Options] = lambda options: options,
    retry_reasons: Iterable[str] | None = None,
    listener: Listener | None = None,
    stop: StopSwitch | None = None,
    client: "httpx.AsyncClient | None" = None,
    notify: Callable[[str], None] = lambda _text: None,
    pulse: float | None = None,
) -> RunReport:
    """Go on with the run in `out`, with what it was started with.

    `changes` may alter the options that may change (limits, retries, prices, timeouts). The rest is that of
    `generate_corpus`.
    `provider` replaces the endpoint: another address is fine, another model is refused.
    """
    folder = Path(out)
    source, provider, options = taken_up(folder, provider, changes)
    return await generate_corpus(
        source,
        folder,
        provider=provider,
        options=options,
        listener=listener,
        stop=stop,
        client=client,
        notify=notify,
        pulse=pulse,
        retry_reasons=retry_reasons,
    )


def taken_up(
    folder: Path, provider: Provider | Endpoint | Sequence[Endpoint] | None, changes: Callable[[Options], Options]
) -> tuple[str | None, Provider | Endpoint | Sequence[Endpoint], Options]:
    """Source, provider and options of a run that is taken up again, as it was started but for the `changes`."""
    notes = read_notes(folder)
    recipe = Recipe.model_validate(notes["recipe"])
    options = changes(Options.from_notes(notes["options"], recipe))
    source = notes["source"]
    if source == MEMORY_SOURCE:
        raise RunNotFoundError(
            f"{folder}: its rows came from memory.", hint="Call generate_corpus again with the same rows."
        )
    if provider is None:
        if notes["endpoint"] is None:
            raise RunNotFoundError(f"{folder}: its provider was an object of the caller's.", hint="Pass provider=.")
        provider = noted_endpoints(notes["endpoint"])
    wanted = _recipe(options.recipe or recipe)
    if wanted.digest != recipe.digest:
        raise RunMismatchError(
            f'{folder} was started with other settings:\n    recipe: was "{recipe.name}", now "{wanted.name}"',
            hint="Go on without --recipe, or start another run folder; for other rules only: `smile revalidate`.",
        )
    return source, provider, options


async def revalidate_corpus(
    out: str | Path, recipe: str | Path | Recipe | None = None, *, salvage: str | Sequence[str] | None = None
) -> tuple[Revision, Counts]:
    """Judge every reply of a run again, without asking anybody: after a change of rules, or of this package's.

    `recipe`: whose rules to judge by; None is the run's own. Its prompt must be the run's: replies to another prompt
    are another corpus (`RunMismatchError`). `salvage`: the steps to mend replies by, in place of the recipe's.
    """
    folder = Path(out)
    before = Recipe.model_validate(read_notes(folder)["recipe"])
    wanted = (before if recipe is None else _recipe(recipe)).salvaging(salvage)
    # The run stays what it is, under its name: only the rules are others, and `smile retry` then judges by them.
    after = wanted.model_copy(update={"name": before.name, "version": before.version})
    if after.digest != before.digest:
        raise RunMismatchError(
            f"Recipe {wanted.name!r} asks another prompt than the run's ({before.name!r}).",
            hint="Change only the rules under [format] and [format.rules]; a new prompt needs a new run.",
        )
    with schema.reading(folder) as reader:
        ledger = Ledger.open(folder, account.read_meta(reader, "identity"))
        try:
            revision = await rejudge(ledger, reader, dialogue_task(after), {"recipe": after.model_dump(mode="json")})
        finally:
            await ledger.close()
        counts = account.read_counts(reader)
    run_folder.write_results(folder)
    return revision, counts


def recipe_for(provider: Provider | Endpoint | Sequence[Endpoint], options: Options) -> Recipe:
    """The recipe that the options name, or the one that suits who is asked."""
    local = any(endpoint.provider == "local" for endpoint in endpoints_of(provider))
    return _recipe(options.recipe or (LOCAL_RECIPE if local else "smile")).salvaging(options.salvage)


def _recipe(recipe: str | Path | Recipe) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe)


def _source_note(source: Given) -> str | None:
    if source is None:
        return None
    return str(Path(source).absolute()) if isinstance(source, str | Path) else MEMORY_SOURCE
