"""smile reproduce: the paper's whole study in one command."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smile_async.cli.commands import CORPUS
from smile_async.cli.flags import AgainFlags, AskFlags, LimitFlags, ObserverFlags, OutputFlags, grouped, option
from smile_async.cli.following import PULSE, as_typed, drain_on_signals, run_loop
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.analysis.study import Asked, Step, Study, StudyReport
    from smile_async.analysis.study_pages import Written
    from smile_async.engine.switch import StopSwitch
    from smile_async.tasks import Following

EMBED, TOPICS = "Who makes the vectors", "Who names the topics"
PRESETS = ("paper", "small")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CORPUS)(reproduce)


@dataclass(frozen=True, slots=True)
class EmbedFlags:
    embed_model: Annotated[
        str | None, option(EMBED, "its name (the paper: text-embedding-ada-002); default the embedded model")
    ] = None
    embed_base_url: Annotated[str | None, option(EMBED, "server address; default as for chat", metavar="URL")] = None
    embed_api_key_env: Annotated[
        str | None, option(EMBED, "environment variable with its key; default OPENAI_API_KEY", metavar="NAME")
    ] = None
    embed_batch_size: Annotated[
        int | None, option(EMBED, "texts a request; default 64, the embedded model 8", metavar="N")
    ] = None
    embed_tpm: Annotated[float | None, option(EMBED, "tokens a minute", metavar="N")] = None
    embed_price_in: Annotated[float | None, option(EMBED, "US dollars for a million tokens", metavar="USD")] = None
    embed_config: Annotated[
        Path | None, option(EMBED, "a settings file for them alone: endpoints, limits, prices", metavar="TOML")
    ] = None


@dataclass(frozen=True, slots=True)
class TopicFlags:
    topics_model: Annotated[
        str | None, option(TOPICS, "its name (the paper: Qwen1.5-110B-Chat); default that of the dialogues")
    ] = None
    topics_base_url: Annotated[str | None, option(TOPICS, "server address; default as for chat", metavar="URL")] = None
    topics_api_key_env: Annotated[
        str | None, option(TOPICS, "environment variable with its key; default OPENAI_API_KEY", metavar="NAME")
    ] = None
    topics_tpm: Annotated[float | None, option(TOPICS, "tokens a minute", metavar="N")] = None
    topics_price_in: Annotated[
        float | None, option(TOPICS, "US dollars for a million prompt tokens", metavar="USD")
    ] = None
    topics_price_out: Annotated[
        float | None, option(TOPICS, "US dollars for a million answer tokens", metavar="USD")
    ] = None
    topics_config: Annotated[
        Path | None, option(TOPICS, "a settings file for them alone: endpoints, limits, prices", metavar="TOML")
    ] = None


@dataclass(frozen=True, slots=True)
class StudyFlags:
    source: Annotated[
        Path | None, typer.Option(help="PsyQA, or another source of QAs; small: made-up ones", metavar="SOURCE")
    ] = None
    preset: Annotated[str, typer.Option(help="paper (500 dialogues a method) or small (8, the embedded model)")] = (
        "paper"
    )
    rows: Annotated[
        int | None, typer.Option("--rows", "-n", min=2, help="another number of dialogues a method", metavar="N")
    ] = None
    seed: Annotated[int, typer.Option(help="of what is drawn: QAs, topics of standardT, partners")] = 0
    recipe: Annotated[
        list[str] | None, typer.Option(help="another recipe for a method; several times", metavar="METHOD=RECIPE")
    ] = None
    tokenizer: Annotated[
        str, typer.Option(help="of Table 1, as smile diversity takes it; the paper's: THUDM/chatglm2-6b")
    ] = "characters"


@grouped
def reproduce(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the folder for all of it", show_default=False)],
    *,
    what: StudyFlags,
    asking: AskFlags,
    embed: EmbedFlags,
    topics: TopicFlags,
    limits: LimitFlags,
    again: AgainFlags,
    output: OutputFlags,
    observers: ObserverFlags,
) -> None:
    """The paper's whole study (sections 3 to 5): three methods, all analyses; the same command again goes on.

    smile reproduce study --source psyqa.json --model gpt-3.5-turbo --embed-model text-embedding-ada-002 --topics-model
    qwen1.5-110b-chat --topics-base-url https://dashscope.aliyuncs.com/compatible-mode/v1

    smile reproduce study --preset small

    OUT/tables.md, OUT/results.json, OUT/tables and OUT/figures hold what was found; each step is a run folder in OUT.
    Replies that break a rule are generated again until one is valid, unless --max-attempts is given. --budget is for
    all steps together.
    """
    from smile_async.analysis.study import reproduce as carried_out
    from smile_async.analysis.study_pages import check_installed, write_study
    from smile_async.cli.watch import to_stderr
    from smile_async.engine.switch import StopSwitch

    study = _study(what, asking, embed, topics, limits, output)
    check_installed(study)

    async def main() -> "StudyReport":
        stop = StopSwitch()
        drain_on_signals(stop)
        watch = _Watching(out, output, observers, stop)
        return await carried_out(study, out, watch=watch, again=again.retry, notify=to_stderr)

    report = run_loop(main())
    if report.state == "done":
        sys.stderr.write(f"{out}: all is there, measuring\n")
        written = write_study(study, report, to_stderr)
        print_json(_told(report, written)) if output.json else _print(written)
        sys.stderr.write(_ended(report, written))
    else:
        sys.stderr.write(f"{out}: stopped ({report.reason}) at {report.step}\n\n{report.message}\n{_go_on(study)}\n")
        if output.json:
            print_json(_told(report, None))
    raise typer.Exit(report.exit_code)


@dataclass(frozen=True, slots=True)
class _Watching:
    """Each step with the display of a run."""

    out: Path
    output: OutputFlags
    observers: ObserverFlags
    stop: "StopSwitch"

    @asynccontextmanager
    async def __call__(self, step: "Step", number: int, of: int) -> AsyncIterator["Following"]:
        from smile_async.cli.observers import observed, together
        from smile_async.cli.watch import watching
        from smile_async.tasks import Following

        run, title = self.out / step.name, f"step {number} of {of}: {step.title} -> {self.out / step.name}"
        if not self.output.quiet and not sys.stderr.isatty():
            sys.stderr.write(f"{title}\n")  # in a terminal it stands above the display
        with watching(title, run, quiet=self.output.quiet, verbose=self.output.verbose) as (listener, notify):
            async with observed(run, self.observers, self.stop, notify) as others:
                yield Following(together([listener, *others]), self.stop, notify, PULSE)


def _study(
    what: StudyFlags,
    asking: AskFlags,
    embed: EmbedFlags,
    topics: TopicFlags,
    limits: LimitFlags,
    output: OutputFlags,
) -> "Study":
    from smile_async.analysis.embedding import CHARACTERS, Batching
    from smile_async.analysis.study import PAPER_ROWS, SMALL_ROWS, Study

    if what.preset not in PRESETS:
        raise typer.BadParameter(f"{what.preset!r}: {' or '.join(PRESETS)}", param_hint="--preset")
    small = what.preset == "small"
    if what.source is None and not small:
        raise typer.BadParameter("name a source of QAs (PsyQA), or take --preset small", param_hint="--source")
    chat = _chat(asking, limits, output, small=small)
    budget = chat.options.limits.budget_usd  # a flag's, or the settings file's
    return Study(
        _without_budget(chat),
        _without_budget(_embed(embed, chat)),
        _without_budget(_topics(topics, chat, limits)),
        rows=what.rows or (SMALL_ROWS if small else PAPER_ROWS),
        seed=what.seed,
        source=what.source,
        recipes=_recipes(what.recipe or []),
        batching=Batching(embed.embed_batch_size, CHARACTERS) if embed.embed_batch_size else None,
        budget_usd=budget,
        tokenizer=what.tokenizer,
        command=as_typed(),
    )


def _without_budget(asked: "Asked") -> "Asked":
    """Money is one for all steps: the study divides it."""
    limits = asked.options.limits.model_copy(update={"budget_usd": None})
    return replace(asked, options=replace(asked.options, limits=limits))


def _recipes(given: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if wrong := next((one for one, (name, _, recipe) in zip(given, pairs, strict=True) if not (name and recipe)), None):
        raise typer.BadParameter(f"{wrong!r} is not METHOD=RECIPE", param_hint="--recipe")
    return {name: recipe for name, _, recipe in pairs}


def _chat(asking: AskFlags, limits: LimitFlags, output: OutputFlags, *, small: bool) -> "Asked":
    from smile_async.analysis.study import UNTIL_VALID, Asked
    from smile_async.cli.settings import endpoints_from, settings_from, task_options
    from smile_async.settings import Endpoint

    settings = settings_from(output.config)
    endpoints = endpoints_from(settings, asking)
    if small and not any(one.model or one.provider == "local" for one in endpoints) and asking.base_url is None:
        endpoints = [Endpoint(provider="local")]
    options = task_options(settings, asking, limits)
    if limits.max_attempts is None and "retry" not in settings.model_fields_set:
        attempts = {"max_attempts": UNTIL_VALID.max_attempts}
        options = replace(options, retry=options.retry.model_copy(update=attempts))
    return Asked(endpoints, options)


def _embed(flags: EmbedFlags, chat: "Asked") -> "Asked":
    """Without flags of its own the embedded model."""
    from smile_async.analysis.study import Asked
    from smile_async.settings import Endpoint

    if flags.embed_model is None and flags.embed_base_url is None and flags.embed_config is None:
        return Asked([Endpoint(provider="local")])
    named = AskFlags(base_url=flags.embed_base_url, model=flags.embed_model, api_key_env=flags.embed_api_key_env)
    return beside(chat, flags.embed_config, named, LimitFlags(tpm=flags.embed_tpm, price_in=flags.embed_price_in))


def _topics(flags: TopicFlags, chat: "Asked", limits: LimitFlags) -> "Asked":
    """Without flags of its own: who writes the dialogues, with the paper's sampling for topics."""
    from smile_async.analysis.study import Asked
    from smile_async.settings import RetryPolicy, Sampling

    if flags == TopicFlags():
        attempts = limits.max_attempts or RetryPolicy().max_attempts
        retry = chat.options.retry.model_copy(update={"max_attempts": attempts})
        return Asked(chat.provider, replace(chat.options, sampling=Sampling(), retry=retry))
    named = AskFlags(base_url=flags.topics_base_url, model=flags.topics_model, api_key_env=flags.topics_api_key_env)
    own = LimitFlags(
        tpm=flags.topics_tpm, price_in=flags.topics_price_in, price_out=flags.topics_price_out,
        max_attempts=limits.max_attempts, timeout=limits.timeout,
    )  # fmt: skip
    return beside(chat, flags.topics_config, named, own)


def beside(chat: "Asked", config: Path | None, named: AskFlags, limits: LimitFlags) -> "Asked":
    """Whom `config` or the flags name; another model at the server of `chat` where they name no server. Limits and
    prices are its own."""
    from smile_async.analysis.study import Asked
    from smile_async.cli.settings import endpoints_from, task_options
    from smile_async.notes import endpoints_of
    from smile_async.settings import FileSettings, read_settings

    server = endpoints_of(chat.provider)[0]
    if config is not None:
        settings = read_settings(config)
    elif named.base_url is None and not chat.local:
        others = {"model": "", "asked_as": None, "deployment": None, "name": "", "quota": None, "prices": None}
        settings = FileSettings(endpoint=(server.model_copy(update={**others, "fixed_sampling": False}),))
    else:
        settings = FileSettings()
    return Asked(endpoints_from(settings, named), task_options(settings, named, limits))


def _print(written: "Written") -> None:
    from smile_async.cli.tables import Table, print_tables

    print_tables(Table(one.title, one.heads, one.cells, one.notes) for one in written.tables)
    sys.stdout.write("\n".join(["", *written.caveats, ""]))


def _told(report: "StudyReport", written: "Written | None") -> dict[str, Any]:
    spent = sum(one.counts.spend_usd for one in report.steps.values())
    files = [] if written is None else [str(one) for one in written.files]
    tables = {} if written is None else {one.table.name: one.table.records() for one in written.tables}
    return {
        "study": str(report.folder),
        "state": report.state,
        "reason": report.reason,
        "step": report.step,
        "steps": {name: one.as_json() for name, one in report.steps.items()},
        "spend_usd": round(spent, 6),
        "caveats": [] if written is None else list(written.caveats),
        "tables": tables,
        "files": files,
    }


def _ended(report: "StudyReport", written: "Written") -> str:
    from smile_async.analysis.study_pages import FIGURES, MARKDOWN, RESULTS, TABLES

    names = [MARKDOWN, RESULTS, f"{TABLES}/*.csv"]
    names += [f"{FIGURES}/"] if any(FIGURES in one.parts for one in written.files) else []
    lines = [f"{report.folder}: done", *[f"  {report.folder / name}" for name in names]]
    if report.set_aside:
        lines.append(f"  {report.set_aside:,} rows were set aside; ask again for them: the same with --retry")
    return "\n".join(lines) + "\n"


def _go_on(study: "Study") -> str:
    return f"Go on with: {study.command}"
