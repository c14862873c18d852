"""Flags in groups: a command takes a group as one frozen value, `--help` shows its flags in a panel.

Typer reads a function's signature, so a command that names groups gets a signature in which each stands as its flags.
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

if TYPE_CHECKING:
    from smile_async.corpus.formats import RoleMap

T = TypeVar("T")


def option(panel: str, text: str, *names: str, metavar: str | None = None, least: int | None = None) -> Any:
    """A flag with its help, in its panel."""
    return typer.Option(*names, help=text, rich_help_panel=panel, metavar=metavar, show_default=False, min=least)


ASK, ROWS, LIMITS, OUTPUT = "Whom to ask, and how", "Which rows", "Limits", "Output"
OBSERVERS = "Observers"


@dataclass(frozen=True, slots=True)
class WhomFlags:
    """Whom to ask, for any task."""

    provider: Annotated[
        str | None, option(ASK, "openai (any compatible server), azure, anthropic or local (embedded model)")
    ] = None
    base_url: Annotated[
        str | None,
        option(ASK, "server address; default OPENAI_BASE_URL, else https://api.openai.com/v1", metavar="URL"),
    ] = None
    deployment: Annotated[str | None, option(ASK, "azure: its name; default the model's", metavar="NAME")] = None
    api_version: Annotated[
        str | None, option(ASK, "azure: a date; default OPENAI_API_VERSION, else the v1 interface", metavar="VERSION")
    ] = None
    model: Annotated[str | None, option(ASK, "model name; with --provider local a GGUF file")] = None
    api_key_env: Annotated[
        str | None, option(ASK, "environment variable with the key; default OPENAI_API_KEY, ...", metavar="NAME")
    ] = None


@dataclass(frozen=True, slots=True)
class AskFlags(WhomFlags):
    """And how, where words are asked for."""

    temperature: Annotated[float | None, option(ASK, "overrides the recipe's or the task's own")] = None
    top_p: Annotated[float | None, option(ASK, "overrides the recipe's or the task's own")] = None
    max_tokens: Annotated[int | None, option(ASK, "most tokens an answer may have")] = None
    max_tokens_field: Annotated[
        str | None, option(ASK, "how the server calls that; OpenAI's reasoning models: max_completion_tokens")
    ] = None
    fixed_sampling: Annotated[
        bool | None, option(ASK, "send no temperature and top_p (OpenAI's reasoning models)", "--fixed-sampling")
    ] = None


@dataclass(frozen=True, slots=True)
class EndpointFlags(AskFlags):
    recipe: Annotated[str | None, option(ASK, "smile, standard, standardT, ... or a TOML file of yours")] = None


@dataclass(frozen=True, slots=True)
class RowFlags:
    limit: Annotated[int | None, option(ROWS, "take the first N rows", metavar="N")] = None
    sample: Annotated[
        int | None, option(ROWS, "draw N distinct questions, one answer each, from the first 5,000", metavar="N")
    ] = None
    seed: Annotated[int | None, option(ROWS, "of --sample and of topics drawn; default 0")] = None
    columns: Annotated[
        str | None, option(ROWS, "for other people's QA: question=title,description=body,answer=reply,id=qid")
    ] = None
    format: Annotated[str | None, option(ROWS, "json, jsonl, csv, tsv, parquet; default by name and content")] = None
    encoding: Annotated[str | None, option(ROWS, "of the source, if not UTF-8 (gb18030, ...)")] = None
    skip_bad_rows: Annotated[bool, option(ROWS, "set unreadable rows aside instead of stopping", "--skip-bad-rows")] = (
        False
    )
    clean: Annotated[
        bool | None, option(ROWS, "apply the word list of Appendix A; default: for Chinese", "--clean/--no-clean")
    ] = None
    max_characters: Annotated[int | None, option(ROWS, "cut QAs to length; default 1800 for Chinese", metavar="N")] = (
        None
    )


@dataclass(frozen=True, slots=True)
class SourceFlags(RowFlags):
    """Where the rows go into a run."""

    add: Annotated[bool, option(ROWS, "SOURCE is another one than RUN was made of: have both in RUN", "--add")] = False


@dataclass(frozen=True, slots=True)
class LimitFlags:
    rpm: Annotated[float | None, option(LIMITS, "requests a minute", metavar="N")] = None
    tpm: Annotated[float | None, option(LIMITS, "tokens a minute, prompt and answer together", metavar="N")] = None
    input_tpm: Annotated[
        float | None, option(LIMITS, "prompt tokens a minute, where they are limited apart", metavar="N")
    ] = None
    output_tpm: Annotated[float | None, option(LIMITS, "answer tokens a minute, likewise", metavar="N")] = None
    rpd: Annotated[float | None, option(LIMITS, "requests a day", metavar="N")] = None
    tpd: Annotated[float | None, option(LIMITS, "tokens a day", metavar="N")] = None
    window: Annotated[
        float | None,
        option(LIMITS, "seconds over which a minute's limits are enforced; default 60", metavar="S"),
    ] = None
    concurrency: Annotated[
        int | None, option(LIMITS, "requests in flight; default: found from the answers", metavar="N")
    ] = None
    budget: Annotated[float | None, option(LIMITS, "stop before this is spent; needs prices", metavar="USD")] = None
    price_in: Annotated[float | None, option(LIMITS, "US dollars for a million prompt tokens", metavar="USD")] = None
    price_out: Annotated[float | None, option(LIMITS, "US dollars for a million answer tokens", metavar="USD")] = None
    max_attempts: Annotated[int | None, option(LIMITS, "replies a row may cost; default 3", metavar="N")] = None
    until_valid: Annotated[
        bool, option(LIMITS, "ask until a reply is valid (the paper's first 500)", "--until-valid")
    ] = False
    timeout: Annotated[float | None, option(LIMITS, "seconds for a whole request; default 600", metavar="S")] = None


@dataclass(frozen=True, slots=True)
class AgainFlags:
    """For tasks whose command is its own resume and retry."""

    retry: Annotated[bool, option(LIMITS, "also ask again for what was set aside, with fresh budgets", "--retry")] = (
        False
    )


@dataclass(frozen=True, slots=True)
class CorpusFlags(AgainFlags):
    """For tasks over the dialogues of a corpus."""

    add: Annotated[bool, option(ROWS, "CORPUS is another one than RUN was made of: have both in RUN", "--add")] = False


@dataclass(frozen=True, slots=True)
class OutputFlags:
    config: Annotated[Path | None, option(OUTPUT, "settings file; flags win over it", metavar="TOML")] = None
    json: Annotated[bool, option(OUTPUT, "print the result as one JSON line on stdout", "--json")] = False
    quiet: Annotated[bool, option(OUTPUT, "no progress", "--quiet", "-q")] = False
    verbose: Annotated[bool, option(OUTPUT, "a log line for every event, on stderr", "--verbose", "-v")] = False


@dataclass(frozen=True, slots=True)
class ObserverFlags:
    """Who hears of a run beside the terminal."""

    events: Annotated[
        Path | None, option(OBSERVERS, "append every event to this file, a line of JSON each", metavar="JSONL")
    ] = None
    metrics_port: Annotated[int | None, option(OBSERVERS, "serve Prometheus metrics there; 0: any", metavar="PORT")] = (
        None
    )
    metrics_host: Annotated[str, option(OBSERVERS, "address for that; default 127.0.0.1", metavar="HOST")] = "127.0.0.1"
    otel: Annotated[
        bool, option(OBSERVERS, "send OpenTelemetry metrics to OTEL_EXPORTER_OTLP_ENDPOINT (extra: otel)", "--otel")
    ] = False


def grouped(command: Callable[..., T]) -> Callable[..., T]:
    """Spread the groups in a command's signature into flags, and gather them again when it is called."""
    hints = get_type_hints(command, include_extras=True)
    plain: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        hint = hints[name]
        if is_dataclass(hint) and isinstance(hint, type):
            groups[name] = hint
            plain += [_parameter(one, get_type_hints(hint, include_extras=True)[one.name]) for one in fields(hint)]
        else:
            plain.append(parameter.replace(annotation=hint, kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def called(**values: Any) -> T:
        for name, group in groups.items():
            values[name] = group(**{one.name: values.pop(one.name) for one in fields(group)})
        return command(**values)

    called.__signature__ = inspect.Signature(plain)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in plain}
    return called


def _parameter(one: "Field[Any]", hint: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if one.default is MISSING else one.default
    return inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def role_map(told: str | None) -> "RoleMap | None":
    """`CLIENT,COUNSELOR` as typed."""
    from smile_async.corpus.formats import RoleMap

    if told is None:
        return None
    names = [name.strip() for name in told.split(",")]
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise typer.BadParameter(f"{told!r} is not two names, as in client,counselor", param_hint="--roles")
    return RoleMap(*names)
