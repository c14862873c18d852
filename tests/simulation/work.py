"""What the processes of a simulation work on: rows that are words, judged by one of three sets of rules.

The source, the task and the listener are ordinary ones that can break where the scenario says so.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from smile_async.engine.events import Event
from smile_async.engine.feed import Unreadable
from smile_async.engine.job import Message, Reply, Request
from smile_async.engine.task import Accepted, Amended, Rejected, Task
from tests.simulation.scenario import MORE_TOKENS, RE_ASK, UNREADABLE

NAMED = frozenset({"bad-start", "strict"})  # rules that a re-ask can name
STRICT_SHARE = 3  # one reply in so many is refused by the strict rules
NUMBER = re.compile("[0-9a-f]{16}")  # by which no two replies are alike


class SourceBrokeError(Exception):
    """The source raised, as the scenario wanted."""


class TaskBrokeError(Exception):
    """The task raised, as the scenario wanted."""


class ListenerBrokeError(Exception):
    """The listener raised, as the scenario wanted."""


class Rows:
    """The source: the first `upto` rows, each of which takes so many seconds of the source's own `clock`."""

    def __init__(self, rows: tuple[str, ...], *, seconds: float = 0.0, breaks_at: int | None = None) -> None:
        self._rows = rows
        self._seconds = seconds
        self._breaks_at = breaks_at
        self._read = 0

    def clock(self) -> float:
        return self._read * self._seconds

    def __iter__(self) -> Iterator[str | Unreadable]:
        for row in self._rows:
            self._read += 1
            if self._read == self._breaks_at:
                raise SourceBrokeError
            yield Unreadable(row) if row.startswith(UNREADABLE) else row


def judge(rules: str, text: str, finish_reason: str | None, refusal: str | None) -> str:
    """The code of the broken rule; empty when the reply is good."""
    if finish_reason == "content_filter":
        return "content-filter"
    if finish_reason == "length":
        return "truncated"
    if refusal or not text:
        return "refusal" if refusal else "empty"
    if rules != "lax" and not text.startswith("求助者"):
        return "bad-start"
    digits = NUMBER.search(text)
    if rules == "strict" and digits and sum(digits.group().encode()) % STRICT_SHARE == 0:
        return "strict"
    return ""


def amended_request(
    amends: tuple[str, ...], max_tokens: int | None, item: str, reply: Reply, code: str
) -> Amended | None:
    """As the task of dialogues does it: more room for what was cut off, else the broken rule is named."""
    if MORE_TOKENS in amends and max_tokens is not None and reply.finish_reason == "length":
        return Amended(Request((Message("user", item),), 2 * max_tokens), MORE_TOKENS)
    if RE_ASK in amends and code in NAMED:
        messages = (Message("user", item), Message("assistant", reply.text), Message("user", code))
        return Amended(Request(messages, max_tokens), RE_ASK)
    return None


def make_task(
    rules: str,
    *,
    max_tokens: int | None,
    amends: tuple[str, ...] = (),
    accept_breaks: int | None = None,
    render_breaks: int | None = None,
) -> Task[str, str]:
    """`*_breaks`: the call, from 1, that raises."""
    calls = {"accept": 0, "render": 0}

    def count(what: str, breaks: int | None) -> None:
        calls[what] += 1
        if calls[what] == breaks:
            raise TaskBrokeError

    def render(item: str) -> Request:
        count("render", render_breaks)
        return Request((Message("user", item),), max_tokens=max_tokens)

    def accept(_item: str, reply: Reply) -> Accepted[str] | Rejected:
        count("accept", accept_breaks)
        code = judge(rules, reply.text, reply.finish_reason, reply.refusal)
        return Rejected(code) if code else Accepted(reply.text)

    def amend(item: str, reply: Reply, rejected: Rejected) -> Amended | None:
        return amended_request(amends, max_tokens, item, reply, rejected.code)

    return Task(
        name="words",
        render=render,
        accept=accept,
        amend=amend if amends else None,
        dump_item=str.encode,
        load_item=bytes.decode,
        dump_value=str.encode,
    )


class Listener:
    """Keeps what it is told, as a display would show it: what was told must be true after a crash."""

    def __init__(self, note: Callable[..., None], dead: Callable[[], bool], *, breaks_at: int | None) -> None:
        self.told: list[Event] = []
        self._note = note
        self._dead = dead
        self._breaks_at = breaks_at

    def __call__(self, event: Event) -> None:
        if self._dead():
            return
        self.told.append(event)
        self._note("event", event.name, *_facts(event))
        if len(self.told) == self._breaks_at:
            raise ListenerBrokeError


def _facts(event: Event) -> list[Any]:
    """Row, reason and the like, where the event has them."""
    names = ("row", "attempt", "kind", "code", "reason", "wait_s", "seconds", "state")
    return [getattr(event, name) for name in names if hasattr(event, name)]
