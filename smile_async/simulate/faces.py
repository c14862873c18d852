"""The interfaces that the simulated endpoint serves side by side, one behaviour and one set of limits behind all."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import unquote

from smile_async.engine.job import ServerPace
from smile_async.simulate import azure, chat, embeddings, messages
from smile_async.simulate.behaviour import ApiError, Ask, Plan
from smile_async.simulate.limits import pace_headers
from smile_async.simulate.wire import HttpRequest


class Read(Protocol):
    def __call__(self, body: bytes, *, detect_speakers: bool) -> Ask | ApiError: ...


class Write(Protocol):
    def __call__(self, plan: Plan, *, model: str, ident: str, created: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Face:
    """`worded` says a plan in the interface's own statuses and words; `keys` are the headers that may hold the key."""

    read: Read
    worded: Callable[[Plan], Plan]
    write: Write
    pace_headers: Callable[[ServerPace], dict[str, str]]
    keys: frozenset[bytes]


CHAT = Face(chat.read_chat, lambda plan: plan, chat.plan_body, pace_headers, frozenset({b"authorization", b"api-key"}))
AZURE = Face(
    chat.read_chat, azure.worded, azure.plan_body, azure.pace_headers, frozenset({b"authorization", b"api-key"})
)
MESSAGES = Face(
    messages.read_messages, messages.worded, messages.plan_body, messages.pace_headers, frozenset({b"x-api-key"})
)

EMBEDDINGS = Face(embeddings.read_embeddings, lambda plan: plan, embeddings.plan_body, pace_headers, CHAT.keys)
AZURE_EMBEDDINGS = Face(embeddings.read_embeddings, azure.worded, embeddings.plan_body, azure.pace_headers, CHAT.keys)

_PATHS = {
    b"/v1/chat/completions": CHAT,
    b"/chat/completions": CHAT,
    b"/openai/v1/chat/completions": AZURE,
    b"/v1/embeddings": EMBEDDINGS,
    b"/embeddings": EMBEDDINGS,
    b"/openai/v1/embeddings": AZURE_EMBEDDINGS,
    b"/v1/messages": MESSAGES,
}
_DEPLOYMENTS = b"/openai/deployments/"
_IN_DEPLOYMENTS = {b"/chat/completions": AZURE, b"/embeddings": AZURE_EMBEDDINGS}


def face_of(path: bytes) -> Face | None:
    """The interface that answers POST requests at this path."""
    found = _PATHS.get(path)
    if found is None and path.startswith(_DEPLOYMENTS):
        return next((face for end, face in _IN_DEPLOYMENTS.items() if path.endswith(end)), None)
    return found


def read(face: Face, request: HttpRequest, *, detect_speakers: bool) -> Ask | ApiError:
    """The ask in a request, headers and address included."""
    if face is MESSAGES and not request.version:
        return ApiError(400, "anthropic-version: header is required", "invalid_request_error")
    deployment = request.path.startswith(_DEPLOYMENTS)
    if deployment and b"api-version=" not in request.query:
        return azure.NO_VERSION
    ask = face.read(request.body, detect_speakers=detect_speakers)
    if deployment and isinstance(ask, Ask):
        name = request.path.removeprefix(_DEPLOYMENTS).partition(b"/")[0]
        return replace(ask, model=unquote(name.decode("latin-1")))
    return ask
