"""The values that travel through the engine: what to ask, what came back, what went wrong. All frozen.

The engine knows jobs, never dialogues: a chat completion, an embedding and a topic label are the same to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from smile_async.engine.kinds import FATAL, PERHAPS_BILLED, REFUSED, FailureKind
from smile_async.values import light

__all__ = [
    "FATAL",
    "PERHAPS_BILLED",
    "REFUSED",
    "Failure",
    "FailureKind",
    "LimitWord",
    "Message",
    "Reply",
    "Request",
    "ServerPace",
    "Usage",
]


@light(frozen=True, slots=True)
class Message:
    """One chat message; `role` is system, user or assistant."""

    role: str
    content: str


@light(frozen=True, slots=True)
class Request:
    """What to ask, before any provider's dialect.

    `extra` is merged into the request body last (a grammar, a seed, a provider's own switch).
    """

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    characters: int = field(init=False, repr=False, compare=False)
    """Length of the prompt in characters, from which tokens are estimated."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "characters", sum([len(message.content) for message in self.messages]))


@light(frozen=True, slots=True)
class Usage:
    """Tokens as the server counted them: of the completion, `reasoning_tokens` were thoughts, of the prompt,
    `cached_tokens` came from the server's cache."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@light(frozen=True, slots=True)
class LimitWord:
    """What the server said about one of its limits; None where it said nothing.

    `period` is the length in seconds for which `limit` holds, where the server or its dialect says it; else a minute
    is the custom, but a `reset` of more than a minute tells of a longer one (OpenAI and Groq name a day's requests so).
    `reset` is in seconds from now until all of the limit is free again. At least one of `limit` and `remaining` is
    known. `tokens` are prompt and completion together.
    """

    what: Literal["requests", "tokens", "input_tokens", "output_tokens"]
    period: float | None = None
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


@light(frozen=True, slots=True)
class ServerPace:
    """What the server's headers said about its limits, at least one; the same may be limited for several periods."""

    limits: tuple[LimitWord, ...]


@light(frozen=True, slots=True)
class Reply:
    """An answer that arrived whole. It was paid for, so it is kept, whatever the task thinks of it.

    `finish_reason` as the server said it (`stop`, `length`, `content_filter`, ...); `usage` is None when the server
    counted nothing; `model` is the model that the server named; `filtered` is what a content filter found, where it
    says so (`self_harm`).
    """

    text: str
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    refusal: str | None = None
    pace: ServerPace | None = None
    filtered: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that brought no reply.

    `detail` is for a person (status line, the server's message, never dialogue text and never a key);
    `retry_after` is the server's own wait in seconds; `raw` is what arrived of a body that was paid for.
    """

    kind: FailureKind
    detail: str = ""
    status: int | None = None
    retry_after: float | None = None
    raw: bytes | None = None
    pace: ServerPace | None = None
