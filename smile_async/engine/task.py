"""A task is two plain functions: render an item into a request, and accept a reply or reject it with a reason.

Retry, limits, ledger, progress and resume are the engine's: a task never sees them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import orjson

from smile_async.engine.job import Failure, Reply, Request
from smile_async.values import light

Item = TypeVar("Item")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Rejected:
    """The reply is no good. `code` is counted in results and reports; `detail` is for a person and holds no text
    of the reply."""

    code: str
    detail: str = ""


@light(frozen=True, slots=True)
class Accepted(Generic[Value]):
    """The reply is good: `value` is what the run keeps, `flags` are remarks that do not reject. `mended`: it took
    something to make it good; of several replies to a row, one that is good as it came is kept before it."""

    value: Value
    flags: tuple[str, ...] = ()
    mended: bool = False


@dataclass(frozen=True, slots=True)
class Amended:
    """What to ask in place of a row's own request, once, after a reply to that was rejected. `step` names how it was
    changed and is counted."""

    request: Request
    step: str


@dataclass(frozen=True, slots=True)
class Task(Generic[Item, Value]):
    """What to ask about an item and what to make of the answer.

    `render` and `accept` are pure and synchronous and run on the event loop, thousands a second. `identity` holds all
    that shapes the request beside the item (recipe, version): with the item's own bytes it makes the row id, and a
    run resumed with another identity is refused. `dump_item`/`load_item` and `dump_value`/`load_value` say how items
    and values are kept in the ledger, as JSON bytes; a value that is plain JSON needs no `load_value`. `amend` may
    give, after a reply that was rejected, another request for the next attempt, if one is allowed; it is asked for once
    a row. None: the row is asked as before.
    """

    name: str
    render: Callable[[Item], Request]
    accept: Callable[[Item, Reply], Accepted[Value] | Rejected]
    dump_item: Callable[[Item], bytes]
    load_item: Callable[[bytes], Item]
    dump_value: Callable[[Value], bytes]
    load_value: Callable[[bytes], Value] = orjson.loads
    identity: Mapping[str, Any] = field(default_factory=dict)
    source_id: Callable[[Item], str] = lambda _item: ""
    amend: Callable[[Item, Reply, Rejected], Amended | None] | None = None


class Provider(Protocol):
    """Who answers. A real ordinary implementation for tests is `smile_async.testing.ScriptedProvider`."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What of the provider shapes the answer: model and sampling; never a key, never an address."""
        ...

    async def ask(self, request: Request) -> Reply | Failure:
        """Send one request once. Never raises for what a server or network does; `CancelledError` passes."""
        ...

    async def aclose(self) -> None: ...
