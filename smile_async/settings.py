"""Settings: what a run is told, checked when it is read. Flags win over `smile.toml`, which wins over defaults.

Keys are never settings: `Endpoint.api_key_env` names the environment variable that holds one.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from smile_async.errors import SettingsError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


MOST_IN_FLIGHT = 1_000  # requests: as far as concurrency that is found from the answers may grow
OPENAI = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"
ANTHROPIC = "https://api.anthropic.com"


class Timeouts(_Settings):
    """Seconds. `read` is the longest silence between two bytes, `total` the whole request."""

    connect: float = Field(default=10.0, gt=0)
    read: float = Field(default=180.0, gt=0)
    total: float = Field(default=600.0, gt=0)


class Prices(_Settings):
    """US dollars for a million tokens."""

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """US dollars for so many tokens."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1_000_000


class Quota(_Settings):
    """What one endpoint allows. None: no such limit is known; what the server's headers say is obeyed all the same.

    `tokens` are prompt and completion together; where a server limits them apart, `input_tokens` and `output_tokens`.
    `window` is the length in seconds over which the server enforces what is given a minute (Azure: 1 to 10; DashScope:
    1): no `window` seconds may hold more than their share. `concurrency` is the most requests in flight; None: it is
    found from the server's answers.
    """

    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    input_tokens_per_minute: float | None = Field(default=None, gt=0)
    output_tokens_per_minute: float | None = Field(default=None, gt=0)
    requests_per_day: float | None = Field(default=None, gt=0)
    tokens_per_day: float | None = Field(default=None, gt=0)
    window: float = Field(default=60.0, gt=0, le=60)
    concurrency: int | None = Field(default=None, ge=1, le=100_000)

    @property
    def most_in_flight(self) -> int:
        """Requests in flight that there may be at most, found or given."""
        return self.concurrency if self.concurrency is not None else MOST_IN_FLIGHT


class Endpoint(_Settings):
    """Where to ask.

    `provider` says whose interface it is: `openai` is any server that speaks chat completions, `anthropic` one that
    speaks Messages. `base_url` ends before `/chat/completions` (`/v1/messages`), as in the providers' clients, or is an
    Azure resource's address; None: what the environment says (`OPENAI_BASE_URL` or `OPENAI_API_BASE`,
    `AZURE_OPENAI_ENDPOINT`, `ANTHROPIC_BASE_URL`), else OpenAI's or Anthropic's own. `api_key_env` None:
    `OPENAI_API_KEY`, `AZURE_OPENAI_API_KEY`, `ANTHROPIC_API_KEY`; "": no key. `model` is required, but with provider
    local, where it may name a GGUF file. `headers` go beside the usual ones; their values are secrets and are not kept
    with a run.

    Azure: `deployment` is what the model is called there (None: as `model`), `api_version` a date, or None for
    `OPENAI_API_VERSION`, else the v1 interface. Anthropic: `api_version` is the header `anthropic-version`.

    Reasoning models of OpenAI: `max_tokens_field` is the field that limits an answer, `fixed_sampling` sends neither
    temperature nor top_p.

    `asked_as` is what this endpoint calls the model, where that is not `model`: replicas of one model may be served
    under several names.

    Several endpoints may serve one run: `name` tells them apart in reports (its host otherwise), `quota` and `prices`
    are its own (the run's otherwise), and of two that have room one of twice the `weight` gets twice as many requests.
    """

    base_url: str | None = None
    model: str = ""
    provider: Literal["openai", "azure", "anthropic", "local"] = "openai"
    api_key_env: str | None = None
    deployment: str | None = Field(default=None, min_length=1)
    api_version: str | None = Field(default=None, pattern=r"^[A-Za-z0-9.-]+$")
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    fixed_sampling: bool = False
    asked_as: str | None = Field(default=None, min_length=1)
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    name: str = Field(default="", pattern=r"^[A-Za-z0-9._:-]*$")
    weight: float = Field(default=1.0, gt=0)
    quota: Quota | None = None
    prices: Prices | None = None

    @field_validator("base_url")
    @classmethod
    def _holds_no_password(cls, url: str | None) -> str | None:
        if url and "@" in urlsplit(url).netloc:
            raise ValueError("holds a user or password: put it into the environment (api_key_env) or into headers")
        return url


_RESERVED = frozenset({
    "model", "messages", "system", "stream", "n", "temperature", "top_p", "max_tokens", "max_completion_tokens",
})  # fmt: skip


class Sampling(_Settings):
    """How the model is to choose its words; None leaves it to the recipe, and there to the server.

    `extra` holds further fields of the request's body: `seed`, or llama.cpp's `grammar` and `dry_multiplier`.
    """

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, gt=0)
    extra: dict[str, Any] = Field(default_factory=dict)

    @field_validator("extra")
    @classmethod
    def _leaves_the_request_alone(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if reserved := sorted(_RESERVED & extra.keys()):
            raise ValueError(f"{reserved[0]!r} does not belong in extra: it has a setting of its own")
        return extra

    def over(self, other: "Sampling") -> "Sampling":
        """These values, and where they are None the other's; both extras, these winning."""
        own = self.model_dump(exclude_none=True)
        return Sampling.model_validate({**other.model_dump(), **own, "extra": {**other.extra, **self.extra}})


class Limits(Quota):
    """What a run may use: the quota of each endpoint that has none of its own, and the money for all together."""

    budget_usd: float | None = Field(default=None, gt=0)


class RetryPolicy(_Settings):
    """How often to ask again. Replies and transport have budgets of their own.

    `max_attempts`: replies a row may cost before it is set aside (None: until one is valid, as the paper did for its
    first 500; 1: one try each, as it did for the whole corpus). `max_failures`: attempts of a row that may bring no
    reply. Refusals for rate (429) and a server that cannot be reached cost a row nothing: the whole run waits, at
    most `patience` seconds without any reply (`first_patience` before the first one ever), then stops, resumable.
    Waits grow from `first_wait` by doubling to `max_wait` seconds, drawn uniformly from the upper half.
    """

    max_attempts: int | None = Field(default=3, ge=1)
    max_failures: int = Field(default=6, ge=1)
    first_wait: float = Field(default=1.0, gt=0)
    max_wait: float = Field(default=60.0, gt=0)
    patience: float = Field(default=600.0, gt=0)
    first_patience: float = Field(default=30.0, gt=0)


class Intake(_Settings):
    """Which rows of the source are worked on, and how they are prepared.

    `columns` is a mapping such as `question=title,answer=reply`. `limit` takes the first rows; `sample` draws so many
    distinct questions out of the first `sample_from` rows with `seed`, one answer each (PsyQA*, section 4.1). `clean`
    applies the word list of Appendix A and `max_characters` cuts a QA to length (None: as the recipe's language asks:
    on, and 1,800, for Chinese).
    """

    format: Literal["json", "jsonl", "csv", "tsv", "parquet"] | None = None
    encoding: str | None = None
    columns: str | None = None
    skip_bad_rows: bool = False
    limit: int | None = Field(default=None, ge=1)
    sample: int | None = Field(default=None, ge=1)
    sample_from: int = Field(default=5_000, ge=1)
    seed: int = 0
    clean: bool | None = None
    max_characters: int | None = Field(default=None, ge=1)


class FileSettings(_Settings):
    """What `smile.toml` may hold; each table is optional. `endpoint` is one table, or several (`[[endpoint]]`)."""

    endpoint: tuple[Endpoint, ...] = Field(default=(Endpoint(),), min_length=1)
    sampling: Sampling = Sampling()
    timeouts: Timeouts = Timeouts()
    prices: Prices | None = None
    limits: Limits = Limits()
    retry: RetryPolicy = RetryPolicy()
    intake: Intake = Intake()
    recipe: str | None = None
    salvage: str | tuple[str, ...] | None = None

    @field_validator("endpoint", mode="before")
    @classmethod
    def _one_or_several(cls, found: Any) -> Any:
        return [found] if isinstance(found, Mapping) else found


def read_settings(path: Path) -> FileSettings:
    """Read a `smile.toml`. Raises `SettingsError` that names the file and the key."""
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from error
    return checked(FileSettings, values, where=str(path))


def checked(model: type[Model], values: Mapping[str, Any], *, where: str) -> Model:
    """Validate `values` as `model`; every problem becomes one line that names its key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            f"{where}: " + "; ".join(_told(model, problem) for problem in error.errors(include_url=False)),
            hint="docs/settings.md lists every setting; --help every flag.",
        ) from error


def _told(model: type[BaseModel], problem: "ErrorDetails") -> str:
    """One problem as `limits.rpm: no such setting (there are: ...)`."""
    place = [part for part in problem["loc"] if part not in ("[key]", 0)]  # the first of several goes without a number
    name = ".".join(f"#{part + 1}" if isinstance(part, int) else part for part in place)
    if problem["type"] != "extra_forbidden":
        given = problem.get("input")  # only numbers are shown: a text may be anything, a key, too
        shown = f", not {given:g}" if isinstance(given, int | float) and not isinstance(given, bool) else ""
        return f"{name} {problem['msg'].replace('Input should', 'must')}{shown}"
    table: Any = model
    for part in place[:-1]:
        if isinstance(part, str):
            table = table.model_fields[part].annotation
            table = next((one for one in get_args(table) if isinstance(one, type)), table)
    known = ", ".join(getattr(table, "model_fields", {}))
    return f"{name}: no such setting" + (f" (there are: {known})" if known else "")


def override(model: Model, /, **changes: Any) -> Model:
    """A copy with those `changes` that are not None, validated. What was not set before stays unset."""
    given = {key: value for key, value in changes.items() if value is not None}
    if not given:
        return model
    fresh = checked(type(model), given, where="flags")
    return model.model_copy(update={key: getattr(fresh, key) for key in given})
