"""OpenAI's Batch API at the simulated endpoint: files in memory, batches worked off by the clock, results by seed.

Nothing runs by itself: how far a batch is follows from the time whenever somebody asks.
"""

import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson

from smile_async.simulate import chat
from smile_async.simulate.behaviour import ApiError, Ask, Plan
from smile_async.simulate.endpoint import Endpoint
from smile_async.simulate.wire import HttpRequest

ROUTE = re.compile(rb"(?:/openai|/api/paas)?(?:/v[14])?/(files|batches)(?:/([\w-]+))?(?:/(content|cancel))?")
ENDPOINTS = frozenset({"/v1/chat/completions", "/v4/chat/completions", "/chat/completions"})
LONGEST_ID = 64  # characters of a custom_id


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """What goes back, `after` so many seconds."""

    status: int
    body: bytes
    after: float = 0.0


@dataclass(slots=True)
class _File:
    name: str
    purpose: str
    content: bytes


@dataclass(slots=True)
class _Batch:
    """`made` and `cancelled` are times of the caller's clock, `since` the wall clock's when it was made."""

    id: str
    input_file: str
    endpoint: str
    metadata: Any
    made: float
    since: int
    lines: list[tuple[str, Ask | ApiError]]
    errors: list[dict[str, Any]]
    tokens: int
    model: str
    cancelled: float | None = None
    done: list[tuple[str, Plan]] = field(default_factory=list)
    status: str = "validating"
    output_file: str | None = None
    error_file: str | None = None


class BatchOffice:
    """Files and batches of one endpoint. `answer` is all that the server needs."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._settings = endpoint.settings.batches
        self._files: dict[str, _File] = {}
        self._named = 0
        self._batches: dict[str, _Batch] = {}

    def serves(self, path: bytes) -> bool:
        return ROUTE.fullmatch(path) is not None

    def answer(self, request: HttpRequest, now: float) -> BatchAnswer:
        if (refused := self._endpoint.authorize(request.key)) is not None:
            return BatchAnswer(refused.status, chat.error_body(refused))
        route = ROUTE.fullmatch(request.path)
        assert route is not None
        for batch in self._batches.values():
            self._advance(batch, now)
        what, name, verb = (part.decode() if part else "" for part in route.groups())
        found = self._routed(request, (request.method.decode(), what, bool(name), verb), name, now)
        if isinstance(found, bytes):
            return BatchAnswer(200, found)
        if isinstance(found, ApiError):
            return BatchAnswer(found.status, chat.error_body(found))
        made = found.get("object") == "batch" and not name
        return BatchAnswer(200, orjson.dumps(found), self._settings.answer_after if made else 0.0)

    def _routed(
        self, request: HttpRequest, route: tuple[str, str, bool, str], name: str, now: float
    ) -> dict[str, Any] | bytes | ApiError:
        found: dict[str, Any] | bytes | ApiError
        match route:
            case "POST", "files", False, "":
                found = self._upload(request.body)
            case "GET", "files", True, "" | "content" if name in self._files:
                found = self._files[name].content if route[3] else _told_file(name, self._files[name])
            case "DELETE", "files", True, "" if name in self._files:
                del self._files[name]
                found = {"id": name, "object": "file", "deleted": True}
            case "POST", "batches", False, "":
                found = self._make(request.body, now)
            case "GET", "batches", False, "":
                found = self._list(parse_qs(request.query.decode()))
            case "GET", "batches", True, "" if name in self._batches:
                found = self._told(self._batches[name])
            case "POST", "batches", True, "cancel" if name in self._batches:
                found = self._cancel(self._batches[name], now)
            case _:
                found = ApiError(404, "There is no such file, batch or route.", "invalid_request_error", "not_found")
        return found

    # Files -------------------------------------------------------------------------------------------------------

    def _upload(self, body: bytes) -> dict[str, Any] | ApiError:
        parts = _form(body)
        if parts is None or "file" not in parts or parts.get("purpose", ("", b""))[1] != b"batch":
            return ApiError(400, "A form with `purpose` batch and a `file` is needed.", "invalid_request_error")
        filename, content = parts["file"]
        name = self._new_name()
        self._files[name] = _File(filename, "batch", content)
        return _told_file(name, self._files[name])

    def _keep(self, lines: list[bytes]) -> str | None:
        if not lines:
            return None
        name = self._new_name()
        self._files[name] = _File(f"{name}.jsonl", "batch_output", b"".join(lines))
        return name

    def _new_name(self) -> str:
        self._named += 1
        return f"file-{self._named}"

    # Batches -----------------------------------------------------------------------------------------------------

    def _make(self, body: bytes, now: float) -> dict[str, Any] | ApiError:
        asked = orjson.loads(body)
        file = self._files.get(str(asked.get("input_file_id")))
        if file is None or asked.get("endpoint") not in ENDPOINTS or asked.get("completion_window") != "24h":
            return ApiError(
                400, "input_file_id, endpoint and completion_window 24h are needed.", "invalid_request_error"
            )
        lines, errors, model = _read_lines(file.content, asked["endpoint"])
        if len(lines) > self._settings.most_requests:
            errors.append(_error("too_many_requests", f"At most {self._settings.most_requests} requests a batch."))
        batch = _Batch(
            id=f"batch_{len(self._batches) + 1}",
            input_file=asked["input_file_id"],
            endpoint=asked["endpoint"],
            metadata=asked.get("metadata") if self._settings.metadata else None,
            made=now,
            since=int(time.time()),
            lines=lines,
            errors=errors,
            tokens=sum(ask.prompt_tokens for _, ask in lines if isinstance(ask, Ask)),
            model=model,
        )
        limit = self._settings.enqueued_tokens
        waiting = sum(one.tokens for one in self._batches.values() if one.status in ("validating", "in_progress"))
        if limit is not None and waiting + batch.tokens > limit and not errors:
            errors.append(
                _error("token_limit_exceeded", f"Enqueued token limit reached for {model}. Limit: {limit} tokens.")
            )
        self._batches[batch.id] = batch
        return self._told(batch)

    def _list(self, query: Mapping[str, list[str]]) -> dict[str, Any]:
        newest = list(reversed(self._batches.values()))
        after = query.get("after", [""])[0]
        start = next((at + 1 for at, one in enumerate(newest) if one.id == after), 0)
        size = int(query.get("limit", ["20"])[0])
        page = newest[start : start + size]
        return {
            "object": "list",
            "data": [self._told(one) for one in page],
            "has_more": start + size < len(newest),
            "last_id": page[-1].id if page else None,
        }

    def _cancel(self, batch: _Batch, now: float) -> dict[str, Any] | ApiError:
        if batch.status not in ("validating", "in_progress"):
            return ApiError(409, f"Cannot cancel a batch with status '{batch.status}'.", "invalid_request_error")
        batch.cancelled = now
        batch.status = "cancelling"
        return self._told(batch)

    def _advance(self, batch: _Batch, now: float) -> None:
        """Work off what is due by `now`, and end the batch when it is time."""
        settings, begins = self._settings, batch.made + self._settings.validation
        if batch.status in ("completed", "failed", "expired", "cancelled") or now < begins:
            return
        if batch.errors:
            batch.status = "failed"
            return
        until = min(now, batch.made + settings.window, now if batch.cancelled is None else batch.cancelled)
        share = 1.0 if settings.duration == 0 else min(max(until - begins, 0.0) / settings.duration, 1.0)
        for name, ask in batch.lines[len(batch.done) : int(len(batch.lines) * share)]:
            batch.done.append((name, self._endpoint.work_off(ask, now)))
        if batch.cancelled is not None:
            self._end(batch, "cancelled", "batch_cancelled")
        elif len(batch.done) == len(batch.lines):
            self._end(batch, "completed", "")
        elif now >= batch.made + settings.window:
            self._end(batch, "expired", "batch_expired")
        else:
            batch.status = "in_progress"

    def _end(self, batch: _Batch, status: str, code: str) -> None:
        """Results in an order of their own, those that were refused or not run in a file of theirs."""
        chance = random.Random(f"{self._endpoint.settings.seed} {batch.id}")
        good = [self._line(batch, name, plan) for name, plan in batch.done if plan.status == 200]
        bad = [self._line(batch, name, plan) for name, plan in batch.done if plan.status != 200]
        never = [_never_run(name, code) for name, _ in batch.lines[len(batch.done) :]]
        chance.shuffle(good)
        chance.shuffle(bad)
        batch.status = status
        batch.output_file, batch.error_file = self._keep(good), self._keep(bad + never)

    def _line(self, batch: _Batch, name: str, plan: Plan) -> bytes:
        body = chat.plan_body(plan, model=batch.model, ident=name, created=batch.since)
        told: Any = orjson.Fragment(body) if body.startswith(b"{") else {"error": {"message": body.decode()}}
        response = {"status_code": plan.status, "request_id": f"req-{name}", "body": told}
        line = {"id": f"batch_req_{name}", "custom_id": name, "response": response, "error": None}
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

    def _told(self, batch: _Batch) -> dict[str, Any]:
        good = sum(plan.status == 200 for _, plan in batch.done)
        validated = batch.status not in ("validating", "failed")
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.endpoint,
            "errors": {"object": "list", "data": batch.errors} if batch.status == "failed" else None,
            "input_file_id": batch.input_file,
            "completion_window": "24h",
            "status": batch.status,
            "output_file_id": batch.output_file,
            "error_file_id": batch.error_file,
            "created_at": batch.since,
            "expires_at": batch.since + int(self._settings.window),
            "request_counts": {
                "total": len(batch.lines) if validated else 0,
                "completed": good,
                "failed": len(batch.done) - good,
            },
            "metadata": batch.metadata,
        }


def _read_lines(content: bytes, endpoint: str) -> tuple[list[tuple[str, Ask | ApiError]], list[dict[str, Any]], str]:
    """The requests of a file, what is wrong with it as a whole, and their model."""
    lines: list[tuple[str, Ask | ApiError]] = []
    errors: list[dict[str, Any]] = []
    names: set[str] = set()
    models: set[str] = set()
    for number, line in enumerate(content.splitlines(), 1):
        try:
            found = orjson.loads(line)
            name, url, body = found["custom_id"], found["url"], found["body"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            errors.append(_error("invalid_json_line", "This line is not parseable as a request.", number))
            continue
        if not isinstance(name, str) or name in names or len(name) > LONGEST_ID:
            errors.append(_error("duplicate_custom_id", "custom_id must be unique and at most 64 characters.", number))
        if url != endpoint or found.get("method") != "POST":
            errors.append(_error("mismatched_endpoint", f"url must be {endpoint}, and method POST.", number))
        names.add(str(name))
        models.add(str(body.get("model")))
        lines.append((name, chat.read_chat(orjson.dumps(body))))
    if len(models) > 1:
        errors.append(_error("mismatched_model", "All requests of a batch must have the same model."))
    if not lines:
        errors.append(_error("empty_file", "The file holds no request."))
    return lines, errors, next(iter(models), "")


def _never_run(name: str, code: str) -> bytes:
    error = {"code": code, "message": "This request was not executed."}
    line = {"id": f"batch_req_{name}", "custom_id": name, "response": None, "error": error}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _error(code: str, message: str, line: int | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "line": line, "param": None}


def _told_file(name: str, file: _File) -> dict[str, Any]:
    return {
        "id": name,
        "object": "file",
        "bytes": len(file.content),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


def _form(body: bytes) -> dict[str, tuple[str, bytes]] | None:
    """The parts of a multipart form by name, each with its file name; None for what is none."""
    boundary, found, _ = body.partition(b"\r\n")
    if not found or not boundary.startswith(b"--"):
        return None
    parts = {}
    for part in body.split(boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = re.search(rb'\bname="([^"]*)"', head)
        filename = re.search(rb'filename="([^"]*)"', head)
        if name:
            parts[name[1].decode()] = (filename[1].decode() if filename else "", content.removesuffix(b"\r\n"))
    return parts
