"""What the simulated endpoint is told to be: latency, limits, faults and rule-breaking answers, all by seed."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from smile_async.errors import SettingsError
from smile_async.settings import checked

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Fault(StrEnum):
    """What may go wrong with one request. The value is the name in settings and in `/stats`."""

    RATE_LIMITED = "rate-limited"  # 429 with retry-after, whatever the limits say; charged nothing
    RATE_LIMITED_BARE = "rate-limited-bare"  # 429 that says nothing of when to come back
    SERVER_ERROR = "server-error"  # 500
    BAD_GATEWAY = "bad-gateway"  # 502 with a proxy's HTML page
    UNAVAILABLE = "unavailable"  # 503
    CONTENT_FILTER = "content-filter"  # 400 with code content_filter: the same prompt always meets it
    FILTERED_ANSWER = "filtered-answer"  # 200, finish_reason content_filter, null content: always, too
    RESET = "reset"  # connection reset before any byte
    CUT_BODY = "cut-body"  # content-length larger than what is sent, then closed; billed
    HANG = "hang"  # accepted, never answered; billed
    BROKEN_JSON = "broken-json"  # 200 whose body is half a JSON text; billed
    EMPTY_CHOICES = "empty-choices"  # 200 with choices: []
    EMPTY_CONTENT = "empty-content"  # 200 with content: ""
    TRUNCATED = "truncated"  # finish_reason length, text cut inside an utterance
    REFUSAL = "refusal"  # 200 with message.refusal and null content
    REFUSAL_TEXT = "refusal-text"  # 200 whose content declines, as models without a refusal field do
    SLOW = "slow"  # a good answer after `slow_factor` times the latency
    BLANK_LINES = "blank-lines"  # a good answer after blank lines, in chunks, as DeepSeek keeps alive


class Breach(StrEnum):
    """Which rule of Appendix B (or gate beyond it) an answer breaks; the values are the rules' own codes."""

    BAD_START = "bad-start"
    NO_SEPARATOR = "no-separator"
    BAD_SPEAKER = "bad-speaker"
    ENGLISH_TAIL = "english-tail"
    TOO_FEW_TURNS = "too-few-turns"
    REPETITION = "repetition"


STICKY = frozenset({Fault.CONTENT_FILTER, Fault.FILTERED_ANSWER})
"""Faults that belong to the prompt: asked again, it meets them again."""


FAULTS = {
    Fault.RATE_LIMITED: "429 that says when to come back, whatever the limits say",
    Fault.RATE_LIMITED_BARE: "429 that does not say when",
    Fault.SERVER_ERROR: "500",
    Fault.BAD_GATEWAY: "502 with a proxy's HTML page",
    Fault.UNAVAILABLE: "503",
    Fault.CONTENT_FILTER: "400 content_filter, each time for the same prompt",
    Fault.FILTERED_ANSWER: "200, finish_reason content_filter, no text; each time, too",
    Fault.RESET: "connection reset before any byte",
    Fault.CUT_BODY: "closed in the middle of the answer; billed",
    Fault.HANG: "never answered (a stream: half of it, then silence); billed",
    Fault.BROKEN_JSON: "200 with half a JSON text (a stream: one such piece); billed",
    Fault.EMPTY_CHOICES: "200 with choices: []",
    Fault.EMPTY_CONTENT: "200 with an empty text",
    Fault.TRUNCATED: "finish_reason length, cut inside an utterance",
    Fault.REFUSAL: "200 with message.refusal and no text",
    Fault.REFUSAL_TEXT: "200 whose text declines",
    Fault.SLOW: "a good answer after slow_factor (10) times the latency",
    Fault.BLANK_LINES: "a good answer after blank lines, in chunks",
}
BREACHES = {
    Breach.BAD_START: "words before the first speaker",
    Breach.NO_SEPARATOR: "all on one line",
    Breach.BAD_SPEAKER: "somebody else speaks",
    Breach.ENGLISH_TAIL: "an English remark at the end",
    Breach.TOO_FEW_TURNS: "two to four exchanges",
    Breach.REPETITION: "the same exchange again and again",
}
"""What each does, for `--help` and docs/simulation.md."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(_Settings):
    """Seconds until the answer: (base + per_token * completion tokens) * (1 +- jitter)."""

    base: Seconds = 0.2
    per_token: Seconds = 0.0
    jitter: Share = 0.1


class LimitSettings(_Settings):
    """What the server allows in `window` seconds; None allows any amount.

    `sliding` admits when all that was admitted in the last `window` seconds leaves room; `bucket` holds one window's
    worth, full at the start, and refills steadily (so up to twice the limit fits into the first window).
    `charge` is prompt + completion as it will be (`actual`), or prompt + max_tokens as OpenAI and Azure reckon.
    `tokens` are both together, `input_tokens` and `output_tokens` (by the same charge) each for themselves.
    """

    requests: int | None = Field(default=None, ge=1)
    tokens: int | None = Field(default=None, ge=1)
    input_tokens: int | None = Field(default=None, ge=1)
    output_tokens: int | None = Field(default=None, ge=1)
    window: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    kind: Literal["sliding", "bucket"] = "sliding"
    charge: Literal["actual", "max_tokens"] = "actual"
    headers: bool = True
    headers_at: Literal["answer", "admission"] = "answer"
    """Headers tell the state when the answer leaves, or (stale by the latency) when its request was admitted."""
    retry_after: bool = True


class BatchSettings(_Settings):
    """How the endpoint works on batches, in seconds of its clock; batches have no part in the limits of requests.

    A batch is looked at for `validation`, then its lines are worked on evenly for `duration`; `window` after it was
    made, what is not done expires. `answer_after`: a batch is made at once, and its maker is told so much later.
    """

    validation: Seconds = 0.0
    duration: Seconds = 0.0
    window: float = Field(default=86_400.0, gt=0, allow_inf_nan=False)
    answer_after: Seconds = 0.0
    enqueued_tokens: int | None = Field(default=None, ge=1)
    """Prompt tokens that may wait at once: a batch above that fails, as OpenAI's do."""
    most_requests: int = Field(default=50_000, ge=1)
    metadata: bool = True
    """Whether a batch's metadata is kept and listed; some servers forget it."""


class SimulatorSettings(_Settings):
    """All that the simulated endpoint does. Shares of faults and breaches are exclusive and sum to at most 1."""

    seed: int = Field(default=0, ge=0, lt=2**64)
    model: str = "simulated"
    """The model that answers name, and that requests without `model` are served by."""
    models: tuple[str, ...] = ()
    """Models that exist; another is answered 404. Empty: any name is served."""
    api_key: SecretStr | None = None
    """The key that requests must bear; another is answered 401. None: any or none will do."""
    latency: Latency = Latency()
    limits: LimitSettings = LimitSettings()
    batches: BatchSettings = BatchSettings()
    max_concurrency: int | None = Field(default=None, ge=1)
    """Requests in flight (hanging ones included) above which the answer is 503."""
    quota_requests: int | None = Field(default=None, ge=0)
    """Admitted requests after which every answer is 429 `insufficient_quota`."""
    faults: Mapping[Fault, Share] = Field(default_factory=dict)
    breaches: Mapping[Breach, Share] = Field(default_factory=dict)
    fault_asks: int | None = Field(default=None, ge=0)
    """A prompt meets faults and breaches (but the sticky ones) only in its first so many asks. None: always."""
    fault_retry_after: Seconds = 1.0
    """The wait that the `rate-limited` fault names, in seconds."""
    slow_factor: float = Field(default=10.0, ge=1, allow_inf_nan=False)
    speakers: tuple[str, str] = ("求助者", "支持者")
    detect_speakers: bool = False
    """Take the speakers from the prompt, where two different quoted labels such as "Client: " occur."""
    answers: tuple[str, ...] = ()
    """Texts, one of which is answered by hash in place of a dialogue: for other tasks (topic labels, a reply)."""
    dialogues: Path | None = None
    """A SMILECHAT-shaped JSONL file (optionally .gz) to answer from; None: answers are generated."""
    dialogues_by: Literal["hash", "order"] = "hash"
    """`order`: the n-th distinct prompt always gets the n-th dialogue, which depends on the order of arrival."""

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        total = sum(self.faults.values()) + sum(self.breaches.values())
        if total > 1 + 1e-9:
            msg = f"shares of faults and breaches sum to {total:g}: lower them to at most 1 together"
            raise ValueError(msg)
        return self


def read_settings(path: Path | None) -> SimulatorSettings:
    """Every setting from a JSON file; the defaults when there is none. Raises `SettingsError`."""
    if path is None:
        return SimulatorSettings()
    try:
        values = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise SettingsError(
            f"{path} cannot be read: {error}", hint="Check the path and the JSON of --settings."
        ) from error
    return checked(SimulatorSettings, values, where=str(path))


def settings_with(settings: SimulatorSettings, changes: Mapping[str, Any]) -> SimulatorSettings:
    """A copy with `changes` that are not None; a table's entries are changed one by one. Raises `SettingsError`."""
    values: dict[str, Any] = settings.model_dump()
    for name, value in changes.items():
        if isinstance(value, Mapping):
            values[name] = {**values[name], **value}
        elif value is not None:
            values[name] = value
    return checked(SimulatorSettings, values, where="flags")
