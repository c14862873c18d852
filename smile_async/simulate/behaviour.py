"""What a request gets, decided by seed, prompt and how often that prompt was asked. Pure: no clock, no I/O, no state.

Arrival order does not matter, so a run is replayable at any concurrency (`dialogues_by="order"` excepted).
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

from smile_async.engine.job import Message, Usage
from smile_async.simulate.dialogues import STRANGER, SUPPORTER, Script, open_dialogues, write_out
from smile_async.simulate.kinds import SPEAKERS, Kind, topics_answer
from smile_async.simulate.settings import STICKY, Breach, Fault, SimulatorSettings


class Action(Enum):
    """What happens on the connection."""

    ANSWER = "answer"
    CUT = "cut"  # headers and half the body, then closed
    RESET = "reset"  # reset before any byte
    HANG = "hang"  # nothing, ever


@dataclass(frozen=True, slots=True)
class Embedding:
    """Vectors that are asked for."""

    texts: tuple[str, ...]
    dimensions: int
    base64: bool


@dataclass(frozen=True, slots=True)
class Streaming:
    """The answer is wanted in pieces; `with_usage`: tokens are told at the end; `messages`: as Anthropic's events."""

    with_usage: bool = False
    messages: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, as far as it decides anything. `key` is the prompt's hash (`prompt_key`); `turn` counts what a user
    has said in a conversation, from 1."""

    key: bytes
    prompt_tokens: int
    model: str | None = None
    max_tokens: int | None = None
    speakers: tuple[str, str] | None = None
    """The speakers that the prompt names; None: those of the settings."""
    embedding: Embedding | None = None
    """Vectors are asked for, no words."""
    stream: Streaming | None = None
    kind: Kind = Kind.DIALOGUE
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: `text` is None where the content is null."""

    text: str | None
    finish_reason: str
    usage: Usage
    refusal: str | None = None
    embedding: Embedding | None = None


@dataclass(frozen=True, slots=True)
class ApiError:
    """An error as OpenAI words it; `page` is sent in place of JSON where it is not empty."""

    status: int
    message: str
    type: str
    code: str | None = None
    page: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one request gets. `fault` names the fault or breach, empty for an ordinary answer.

    `charge` is what the token limits are charged at admission, None for a plan that no limit sees; `billed` says that
    the answer's tokens go on the bill, whether it arrives or not. `status` is 0 where nothing is sent.
    """

    status: int
    action: Action = Action.ANSWER
    latency: float = 0.0
    fault: str = ""
    completion: Completion | None = None
    error: ApiError | None = None
    retry_after: float | None = None
    charge: Usage | None = None
    billed: bool = False


ERRORS = {
    Fault.RATE_LIMITED: ApiError(429, "Rate limit reached.", "requests", "rate_limit_exceeded"),
    Fault.RATE_LIMITED_BARE: ApiError(429, "Too many requests.", "requests", "rate_limit_exceeded"),
    Fault.SERVER_ERROR: ApiError(500, "The server had an error while processing your request.", "server_error"),
    Fault.BAD_GATEWAY: ApiError(
        502,
        "Bad gateway.",
        "server_error",
        page="<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
        "<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n",
    ),
    Fault.UNAVAILABLE: ApiError(503, "The engine is currently overloaded.", "server_error", "overloaded"),
    Fault.CONTENT_FILTER: ApiError(
        400, "The prompt triggered the content management policy.", "invalid_request_error", "content_filter"
    ),
}
ACTIONS: dict[str, Action] = {Fault.CUT_BODY: Action.CUT, Fault.HANG: Action.HANG}
WITHOUT_WORDS = frozenset(
    {Fault.CUT_BODY, Fault.HANG, Fault.SLOW, Fault.BROKEN_JSON, Fault.EMPTY_CHOICES, Fault.EMPTY_CONTENT}
)
"""Faults of an answer that holds vectors."""
REFUSALS = (
    "很抱歉，我无法协助完成这个请求。",
    "抱歉，作为一个人工智能语言模型，我不能生成这样的对话内容。",
    "对不起，这个话题涉及敏感内容，我没办法继续。",
    "I'm sorry, but I can't assist with that request.",
)
AFTERWORDS = (
    "Note: This is a fictional dialogue written for illustration purposes only.",
    "Please remember that this conversation is not a substitute for professional help.",
    "I hope this rewritten dialogue meets all of your requirements.",
)
OPENINGS = ("以下是一段心理支持的多轮对话：", "好的，下面是改写后的对话。", "多轮对话如下：")
STRANGERS = ("旁白", "小林", "路人")
LOOPS = 12
"""How often a repetitive answer says the same exchange."""


def count_tokens(text: str) -> int:
    """The simulator's tokens: 0.7 a character outside ASCII, 0.25 an ASCII character, rounded up.

    >>> count_tokens("你好吗 ok")
    3
    """
    ascii_characters = len(text.encode("ascii", "ignore"))
    other = len(text) - ascii_characters
    return -((-14 * other - 5 * ascii_characters) // 20)


def prompt_key(messages: Iterable[Message]) -> bytes:
    """16 bytes that name a prompt: equal for equal roles and contents, however the JSON was written."""
    text = "\0".join(part for message in messages for part in (message.role, message.content))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Behaviour:
    """Maps (prompt, how often it was asked) to a plan. Opens the dialogue file, if the settings name one."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self._seed = struct.pack("<Q", settings.seed)
        self._source = open_dialogues(settings.dialogues, by_order=settings.dialogues_by == "order")
        ordinary = {k: v for k, v in settings.faults.items() if k not in STICKY} | dict(settings.breaches)
        sticky = {k: v for k, v in settings.faults.items() if k in STICKY}
        self._own_speakers = settings.speakers != SPEAKERS
        self._sticky_share = sum(sticky.values())
        self._sticky = list(zip(accumulate(sticky.values()), sticky, strict=True))
        self._ordinary = list(zip(accumulate(ordinary.values()), ordinary, strict=True))

    def decide(self, ask: Ask, ordinal: int, number: int = 0) -> Plan:
        """The plan for the `ordinal`-th ask (from 0) of the `number`-th distinct prompt (from 0)."""
        odds, jitter, answer, detail = self._draw(ask.key + struct.pack("<Q", ordinal))
        event = self._event(ask.key, ordinal, odds / 2**64)
        spread = 1 + self.settings.latency.jitter * (jitter / 2**63 - 1)
        if ask.embedding is not None:
            return self._vectors(ask, event, spread)
        if isinstance(event, Fault):
            return self._fault(event, ask, spread, (answer, detail, number))
        script = self._source.script(answer, number)
        if ask.kind is not Kind.DIALOGUE and ask.speakers is None and not self._own_speakers:
            completion = _complete(ask, self._short(ask, script, answer, unlisted=event is not None), "stop")
            event = event if ask.kind is not Kind.TURN else None
            return self._answer(ask, completion, spread, event.value if event else "")
        script = _break(script, event, detail)
        return self._answer(ask, self._write(ask, script, event, detail), spread, event.value if event else "")

    def _draw(self, what: bytes) -> tuple[int, int, int, int]:
        digest = hashlib.blake2b(what, key=self._seed, digest_size=32).digest()
        a, b, c, d = struct.unpack("<4Q", digest)
        return a, b, c, d

    def _event(self, key: bytes, ordinal: int, odds: float) -> Fault | Breach | None:
        """Sticky faults are drawn by prompt, the rest by ask, among prompts that are left: each share stays true."""
        if self._sticky:
            by_prompt = self._draw(key)[0] / 2**64
            for edge, fault in self._sticky:
                if by_prompt < edge:
                    return fault
            odds *= 1 - self._sticky_share
        if self.settings.fault_asks is not None and ordinal >= self.settings.fault_asks:
            return None
        return next((event for edge, event in self._ordinary if odds < edge), None)

    def _vectors(self, ask: Ask, event: Fault | Breach | None, spread: float) -> Plan:
        """An answer of vectors: what is wrong with words (breaches, refusals) does not befall it."""
        if isinstance(event, Fault) and (event in ERRORS or event is Fault.RESET):
            return self._fault(event, ask, spread, (0, 0, 0))
        completion = Completion(None, "stop", Usage(ask.prompt_tokens, 0), embedding=ask.embedding)
        return self._answer(ask, completion, spread, event.value if event in WITHOUT_WORDS else "")

    def _fault(self, fault: Fault, ask: Ask, spread: float, draws: tuple[int, int, int]) -> Plan:
        if fault in ERRORS:
            return self._error(fault, ask, spread)
        if fault is Fault.RESET:
            latency = self.settings.latency.base * spread
            return Plan(0, Action.RESET, latency, fault.value, charge=Usage(ask.prompt_tokens, 0))
        answer, detail, number = draws
        script = self._source.script(answer, number)
        return self._answer(ask, self._spoil(fault, ask, script, detail), spread, fault.value)

    def _error(self, fault: Fault, ask: Ask, spread: float) -> Plan:
        error = ERRORS[fault]
        wait = self.settings.fault_retry_after if fault is Fault.RATE_LIMITED else None
        if error.status == 429:
            return Plan(429, fault=fault.value, error=error, retry_after=wait)
        latency = self.settings.latency.base * spread
        return Plan(error.status, latency=latency, fault=fault.value, error=error, charge=Usage(ask.prompt_tokens, 0))

    def _answer(self, ask: Ask, completion: Completion, spread: float, fault: str) -> Plan:
        usage = completion.usage
        latency = (self.settings.latency.base + self.settings.latency.per_token * usage.completion_tokens) * spread
        if fault == Fault.SLOW:
            latency *= self.settings.slow_factor
        ceiling = ask.max_tokens if self.settings.limits.charge == "max_tokens" else None
        charge = usage if ceiling is None else Usage(usage.prompt_tokens, ceiling)
        action = ACTIONS.get(fault, Action.ANSWER)
        status = 0 if action is Action.HANG else 200
        return Plan(status, action, latency, fault, completion, charge=charge, billed=True)

    def _spoil(self, fault: Fault, ask: Ask, script: Script, detail: int) -> Completion:
        if fault is Fault.EMPTY_CONTENT:
            return _complete(ask, "", "stop")
        if fault is Fault.FILTERED_ANSWER:
            return _complete(ask, None, "content_filter")
        refusal = REFUSALS[detail % len(REFUSALS)]
        if fault is Fault.REFUSAL:
            return _complete(ask, None, "stop", refusal=refusal)
        if fault is Fault.REFUSAL_TEXT:
            return _complete(ask, refusal, "stop")
        if fault is Fault.TRUNCATED:
            return _complete(ask, self._text(ask, cut_inside(script, detail), detail), "length")
        return self._write(ask, script, None, detail)

    def _write(self, ask: Ask, script: Script, breach: Breach | None, detail: int) -> Completion:
        """The script as text, with the breaches that lie in the format alone."""
        text = self._text(ask, script, detail)
        if breach is Breach.BAD_START:
            text = f"{OPENINGS[detail % len(OPENINGS)]}\n{text}"
        if breach is Breach.NO_SEPARATOR:
            text = text.replace("\\n", "").replace("\n", "")
        return _complete(ask, text, "stop")

    def _short(self, ask: Ask, script: Script, draw: int, *, unlisted: bool) -> str:
        """Topics, or what a supporter says next; a breach befalls topics alone: one of them is not on the list."""
        if self.settings.answers:
            return self.settings.answers[draw % len(self.settings.answers)]
        if ask.kind is not Kind.TURN:
            return topics_answer(ask.kind, draw, unlisted=unlisted)
        said = [text for who, text in script if who == SUPPORTER] or [text for _, text in script]
        return said[min(ask.turn, len(said)) - 1]

    def _text(self, ask: Ask, script: Script, detail: int) -> str:
        if self.settings.answers:
            return self.settings.answers[detail % len(self.settings.answers)]
        speakers = ask.speakers or self.settings.speakers
        return write_out(script, (*speakers, STRANGERS[detail % len(STRANGERS)]), detail)


def _complete(ask: Ask, text: str | None, finish_reason: str, refusal: str | None = None) -> Completion:
    """What is said, whatever it is, is cut at `max_tokens`."""
    if ask.max_tokens is not None and count_tokens(text or refusal or "") > ask.max_tokens:
        finish_reason = "length"
        text = text and cut_to_tokens(text, ask.max_tokens)
        refusal = refusal and cut_to_tokens(refusal, ask.max_tokens)
    usage = Usage(ask.prompt_tokens, count_tokens(text or refusal or ""))
    return Completion(text, finish_reason, usage, refusal)


def _break(script: Script, breach: Breach | None, detail: int) -> Script:
    """The breaches that lie in what is said, not in how it is written."""
    if breach is Breach.TOO_FEW_TURNS:
        return script[: 4 + 2 * (detail % 3)]  # two to four exchanges
    if breach is Breach.REPETITION:
        return script[:2] + script[2:4] * LOOPS
    if breach is Breach.BAD_SPEAKER:
        at = len(script) // 2
        return [*script[:at], (STRANGER, script[at][1]), *script[at + 1 :]]
    if breach is Breach.ENGLISH_TAIL:
        who, text = script[-1]
        return [*script[:-1], (who, f"{text} {AFTERWORDS[detail % len(AFTERWORDS)]}")]
    return script


def cut_inside(script: Script, detail: int) -> Script:
    """The script up to the middle of an utterance of its second half; it ends in no sentence mark."""
    at = len(script) // 2 + detail % (len(script) - len(script) // 2)
    who, text = script[at]
    return [*script[:at], (who, text[: max(1, len(text) // 2)].rstrip("。！？，,.!? "))]


def cut_to_tokens(text: str, max_tokens: int) -> str:
    """The longest beginning of `text` that counts at most `max_tokens`."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_tokens(text[:middle]) <= max_tokens else (low, middle - 1)
    return text[:low]
