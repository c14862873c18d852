"""`generate_corpus`: source, recipe, engine, rules and corpus, wired together. The command line calls only this."""

import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from smile_async import run_folder
from smile_async.dialogue_task import dialogue_task
from smile_async.engine import account, schema
from smile_async.engine.account import Counts
from smile_async.engine.events import Listener
from smile_async.engine.ledger import Ledger
from smile_async.engine.revision import Revision, rejudge
from smile_async.engine.run import RunReport, StopSwitch, run
from smile_async.engine.task import Provider
from smile_async.errors import RunInUseError, RunMismatchError, RunNotFoundError, SettingsError, SmileError
from smile_async.prompt.recipe import Recipe, load_recipe
from smile_async.rows import Given, expected_rows, opened, rows_identity, seeds
from smile_async.settings import Endpoint, Intake, Limits, Prices, RetryPolicy, Sampling, Timeouts

if TYPE_CHECKING:
    import httpx

LOCAL_RECIPE = "smile-local"  # few examples and a grammar: what a small base model needs
LOCAL_TIMEOUTS = Timeouts(read=3_600.0, total=3_600.0)  # a busy laptop is slow, and giving up would only begin anew
MEMORY_SOURCE = "(rows in memory)"
OTHER_FILES = 64  # the source, the ledger and its side files, name look-ups: all that is no request


@dataclass(frozen=True, slots=True)
class Options:
    """Everything about a run but its source and folder, with the defaults that suit most.

    `recipe` is a built-in name, a path to a TOML file, or a `Recipe`; None is `smile` (`smile-local` with the embedded
    model). `sampling` overrides the recipe's. Limits, retries, prices and timeouts may change when a run goes on;
    recipe, model and sampling may not.
    """

    recipe: str | Path | Recipe | None = None
    sampling: Sampling = field(default_factory=Sampling)
    limits: Limits = field(default_factory=Limits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    prices: Prices | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    intake: Intake = field(default_factory=Intake)

    def as_notes(self) -> dict[str, Any]:
        """What `smile resume` needs to go on, as plain data."""
        return {
            "sampling": self.sampling.model_dump(mode="json"),
            "limits": self.limits.model_dump(mode="json", exclude_unset=True),
            "retry": self.retry.model_dump(mode="json"),
            "prices": None if self.prices is None else self.prices.model_dump(mode="json"),
            "timeouts": self.timeouts.model_dump(mode="json"),
            "intake": self.intake.model_dump(mode="json"),
        }

    @classmethod
    def from_notes(cls, notes: dict[str, Any], recipe: Recipe) -> "Options":
        return cls(
            recipe=recipe,
            sampling=Sampling(**notes["sampling"]),
            limits=Limits(**notes["limits"]),
            retry=RetryPolicy(**notes["retry"]),
            prices=None if notes["prices"] is None else Prices(**notes["prices"]),
            timeouts=Timeouts(**notes["timeouts"]),
            intake=Intake(**notes["intake"]),
        )


async def generate_corpus(
    source: Given,
    out: str | Path,
    *,
    provider: Provider | Endpoint | None = None,
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
    answer), or None for recipes that need none. `provider`: an `Endpoint` (its key is read from the environment), or
    anything with `ask` (see `engine.task.Provider`); None is OpenAI's own with `OPENAI_BASE_URL` and `OPENAI_API_KEY`.
    `client`: your own `httpx.AsyncClient` (proxies, `MockTransport`), left open. `listener` gets every event on the
    loop (a `Pulse` each `pulse` seconds, if given), `stop` ends the run from outside, `notify` gets a line for a person
    now and then (a model's terms). `retry_reasons` first gives set-aside rows another chance: those with these reasons,
    or all that were ever asked when it is empty.

    Returns the report; `out/corpus.jsonl` then holds the accepted dialogues in source order and
    `out/set-aside.jsonl` the others with their reasons. A run that stopped early (report.state == "stopped") goes on
    when the same call is made again. Raises `SmileError`s: `SourceError` for a bad source, `RunMismatchError` when
    `out` holds a run with other settings, `RunInUseError`, `SettingsError`, `RecipeError`.
    """
    folder, options = Path(out), options or Options()
    local = isinstance(provider, Endpoint) and provider.provider == "local"
    recipe = _recipe(options.recipe or (LOCAL_RECIPE if local else "smile"))
    options = replace(options, recipe=recipe)
    rows = opened(source, options.intake)
    notes = {
        "source": _source_note(source),
        "expected_rows": expected_rows(rows, options.intake),
        "recipe": recipe.model_dump(mode="json"),
        "endpoint": provider.model_dump(mode="json") if isinstance(provider, Endpoint) else None,
        "options": options.as_notes(),
    }
    if provider is None or isinstance(provider, Endpoint):
        options = replace(options, limits=_within_open_files(options.limits, notify))
    async with _answering(provider, recipe, options, client, notify) as (answering, limits):
        try:
            report = await run(
                dialogue_task(
                    recipe,
                    max_tokens=options.sampling.over(recipe.sampling).max_tokens,
                    rows=rows_identity(recipe, options.intake),
                ),
                seeds(rows, recipe, options.intake),
                folder,
                provider=answering,
                limits=limits,
                retry=options.retry,
                prices=options.prices,
                notes=notes,
                listener=listener,
                stop=stop,
                pulse=pulse,
                retry_reasons=retry_reasons,
            )
        except (RunInUseError, RunMismatchError):
            raise  # another's run: it stays as it is
        except BaseException:
            _write_what_there_is(folder, notify)
            raise
    if report.state == "done":
        run_folder.write_results(folder)
    else:
        _write_what_there_is(folder, notify)
    return report


def _write_what_there_is(folder: Path, notify: Callable[[str], None]) -> None:
    """The results of a run that stopped. When they cannot be written either, what stopped it stays the news."""
    if not (folder / schema.DATABASE).exists():
        return
    try:
        run_folder.write_results(folder)
    except SmileError as error:
        notify(str(error))


async def resume_corpus(
    out: str | Path,
    *,
    provider: Provider | Endpoint | None = None,
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
        provider = Endpoint(**notes["endpoint"])
    wanted = _recipe(options.recipe or recipe)
    if wanted.digest != recipe.digest:
        raise RunMismatchError(
            f"{folder} was started with other settings:\n    recipe: was {recipe.name!r}, now {wanted.name!r}",
            hint="Go on without --recipe, or start another run folder; for other rules only: `smile revalidate`.",
        )
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


async def revalidate_corpus(out: str | Path, recipe: str | Path | Recipe | None = None) -> tuple[Revision, Counts]:
    """Judge every reply of a run again, without asking anybody: after a change of rules, or of this package's.

    `recipe`: whose rules to judge by; None is the run's own. Its prompt must be the run's: replies to another prompt
    are another corpus (`RunMismatchError`).
    """
    folder = Path(out)
    before = Recipe.model_validate(read_notes(folder)["recipe"])
    wanted = before if recipe is None else _recipe(recipe)
    # The run stays what it is, under its name: only the rules are others, and `smile retry` then judges by them.
    after = wanted.model_copy(update={"name": before.name, "version": before.version})
    if after.digest != before.digest:
        raise RunMismatchError(
            f"Recipe {wanted.name!r} asks another prompt than the run's ({before.name!r}).",
            hint="Change only the rules under [format] and [format.rules]; a new prompt needs a new run.",
        )
    with closing(schema.open_reader(folder)) as reader:
        ledger = Ledger.open(folder, account.read_meta(reader, "identity"))
        try:
            revision = await rejudge(ledger, reader, dialogue_task(after), {"recipe": after.model_dump(mode="json")})
        finally:
            await ledger.close()
        counts = account.read_counts(reader)
    run_folder.write_results(folder)
    return revision, counts


def read_notes(folder: Path) -> dict[str, Any]:
    """What a run was started with. Raises `RunNotFoundError`."""
    with closing(schema.open_reader(folder)) as reader:
        notes = {key: account.read_meta(reader, key) for key in ("source", "recipe", "endpoint", "options")}
    if notes["recipe"] is None:
        raise RunNotFoundError(f"{folder}: the run ended before its first row.", hint="Start it again.")
    return notes


def _recipe(recipe: str | Path | Recipe) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe)


def _source_note(source: Given) -> str | None:
    if source is None:
        return None
    return str(Path(source).absolute()) if isinstance(source, str | Path) else MEMORY_SOURCE


def _within_open_files(limits: Limits, notify: Callable[[str], None]) -> Limits:
    """Each request in flight is an open file: raise the limit of this process, or ask for fewer at a time."""
    from smile_async.provider import raise_open_files_limit

    room = raise_open_files_limit(limits.concurrency + OTHER_FILES) - OTHER_FILES
    if room >= limits.concurrency:
        return limits
    fewer = max(room, 1)
    notify(
        f"This process may open {room + OTHER_FILES:,} files: {fewer:,} requests in flight, not {limits.concurrency:,}."
        " For more, raise the limit (ulimit -n)."
    )
    return limits.model_copy(update={"concurrency": fewer})


@asynccontextmanager
async def _answering(
    provider: Provider | Endpoint | None,
    recipe: Recipe,
    options: Options,
    client: "httpx.AsyncClient | None",
    notify: Callable[[str], None],
) -> AsyncIterator[tuple[Provider, Limits]]:
    """The provider to ask, open while the block runs, and the limits that suit it."""
    if provider is not None and not isinstance(provider, Endpoint):
        yield provider, options.limits
        return
    endpoint = provider or Endpoint(base_url=default_base_url())
    if endpoint.provider == "local":
        from smile_async.provider.local import local_endpoint

        model = endpoint.model if endpoint.model.endswith(".gguf") else None
        async with local_endpoint(model, notify=notify) as served:
            limits = options.limits
            if "concurrency" not in limits.model_fields_set:
                limits = limits.model_copy(update={"concurrency": served.concurrency})
            at = Endpoint(base_url=served.base_url, model=served.model, api_key_env="")
            patient = replace(options, timeouts=LOCAL_TIMEOUTS)
            async with _chat(at, recipe, patient, limits, None) as chat:
                yield chat, limits
        return
    async with _chat(endpoint, recipe, options, options.limits, client) as chat:
        yield chat, options.limits


@asynccontextmanager
async def _chat(
    endpoint: Endpoint, recipe: Recipe, options: Options, limits: Limits, client: "httpx.AsyncClient | None"
) -> AsyncIterator[Provider]:
    from smile_async.provider.chat import ChatProvider

    if not endpoint.model:
        raise SettingsError("No model is named.", hint="Pass --model, or set model under [endpoint] in smile.toml.")
    sampling = options.sampling.over(recipe.sampling)
    chat = ChatProvider(
        base_url=endpoint.base_url,
        model=endpoint.model,
        api_key=SecretStr(key) if (key := api_key(endpoint)) else None,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        extra=sampling.extra,
        headers=endpoint.headers,
        timeouts=options.timeouts,
        max_connections=limits.concurrency,
        client=client,
    )
    try:
        yield chat
    finally:
        await chat.aclose()


def default_base_url() -> str:
    """`OPENAI_BASE_URL` or `OPENAI_API_BASE`, else OpenAI's own."""
    found = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    return found or str(Endpoint.model_fields["base_url"].default)


def api_key(endpoint: Endpoint) -> str | None:
    """The key from the environment. None for a server that needs none; OpenAI's own needs one."""
    key = os.environ.get(endpoint.api_key_env) if endpoint.api_key_env else None
    if not key and "api.openai.com" in endpoint.base_url:
        raise SettingsError(
            f"{endpoint.api_key_env} is not set, and {endpoint.base_url} needs a key.",
            hint=f"export {endpoint.api_key_env}=..., or name another server with --base-url, or --provider local.",
        )
    return key or None
