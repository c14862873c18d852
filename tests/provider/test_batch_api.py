"""The Batch API's client, against what providers answer in their several shapes."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from smile_async.engine.job import Failure, FailureKind
from smile_async.errors import SettingsError
from smile_async.provider.batch_api import BatchApi, RemoteBatch
from smile_async.provider.dialects import dialect_for
from smile_async.settings import Endpoint, Sampling

KEY = "sk-test-2718281828459045235360287471352662"
OPENAI = {
    "id": "batch_abc", "object": "batch", "endpoint": "/v1/chat/completions", "errors": None, "input_file_id": "file-1",
    "completion_window": "24h", "status": "completed", "output_file_id": "file-2", "error_file_id": None,
    "created_at": 1_700_000_000, "expires_at": 1_700_086_400, "request_counts": {"total": 9, "completed": 8, "failed": 1},
    "metadata": {"smile_batch": "n"},
}  # fmt: skip

Work = Callable[[BatchApi], Coroutine[Any, Any, Any]]
Answers = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def asked(work: Work, answer: Answers, endpoint: Endpoint | None = None) -> tuple[Any, list[httpx.Request]]:
    sent: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return answer(request)

    async def main() -> Any:
        dialect = dialect_for(endpoint or Endpoint(base_url="https://api.example/v1", model="m"), Sampling())
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as client:
            return await work(BatchApi(dialect, client=client, sleep=at_once))

    return asyncio.run(main()), sent


async def at_once(_seconds: float) -> None:
    """Waits for nothing."""


def says(body: Any, status: int = 200) -> Answers:
    return lambda _request: httpx.Response(status, json=body)


def retrieved(body: Any, status: int = 200) -> RemoteBatch | Failure:
    found: RemoteBatch | Failure = asked(lambda api: api.retrieve("batch_abc"), says(body, status))[0]
    return found


def test_a_batch_as_openai_tells_it() -> None:
    assert retrieved(OPENAI) == RemoteBatch(
        "batch_abc", "completed", "file-1", "file-2", "", 1_700_086_400.0, 9, 8, 1, metadata={"smile_batch": "n"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"status": "IN_PROGRESS"}, {"status": "in_progress"}),  # Together
        ({"status": "PROGRESS", "expires_at": {}}, {"status": "in_progress", "expires_at": None}),  # Novita
        ({"status": "canceled"}, {"status": "cancelled"}),
        ({"expires_at": 1_700_086_400_123}, {"expires_at": 1_700_086_400.123}),  # milliseconds
        ({"expires_at": "2026-11-24T10:00:00Z"}, {"expires_at": None}),
        ({"request_counts": 9, "total": 9, "completed": 7, "failed": 2}, {"completed": 7, "failed": 2}),  # Zhipu
        ({"request_counts": None, "output_file_id": ""}, {"completed": 0, "output_file": ""}),
        ({"metadata": None}, {"metadata": None}),
        (
            {"errors": {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit", "line": None}]}},
            {"code": "token_limit_exceeded", "detail": "Enqueued token limit"},
        ),
        (
            {"errors": {"data": [{"code": "mismatched_model", "message": "one model only", "line": 3}]}},
            {"code": "mismatched_model", "detail": "line 3: one model only"},
        ),
        ({"errors": "went wrong"}, {"detail": "went wrong"}),
    ],
)
def test_what_others_tell_otherwise(changes: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = retrieved(OPENAI | changes)
    assert {name: getattr(found, name) for name in wanted} == wanted


@pytest.mark.parametrize("wrapped", [{"job": OPENAI, "warning": ""}, {"code": 20_000, "data": OPENAI}])
def test_a_batch_inside_something_is_unwrapped(wrapped: dict[str, Any]) -> None:
    """Together's job and SiliconFlow's data."""
    found = retrieved(wrapped)
    assert isinstance(found, RemoteBatch)
    assert found.id == "batch_abc"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, FailureKind.AUTH),
        (404, FailureKind.UNKNOWN_MODEL),
        (500, FailureKind.SERVER_ERROR),
        (429, FailureKind.RATE_LIMITED),
    ],
)
def test_a_refusal_is_a_failure_of_its_kind(status: int, kind: FailureKind) -> None:
    found = retrieved({"error": {"message": f"no, {KEY}"}}, status)
    assert isinstance(found, Failure)
    assert found.kind is kind
    assert KEY not in found.detail


@pytest.mark.parametrize("told", [{"status": "ok"}, {"data": {"status": "ok"}}, ["x"], "x", None])
def test_what_is_no_batch_is_a_broken_answer(told: Any) -> None:
    found = retrieved(told)
    assert isinstance(found, Failure)
    assert found.kind is FailureKind.BROKEN_BODY


def test_a_file_goes_up_as_a_form_with_its_purpose(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"a": "你好"}\n', "utf-8")
    found, [sent] = asked(lambda api: api.upload(file, "batch-1.jsonl"), says({"id": "file-1", "status": "processed"}))
    assert found == "file-1"
    assert str(sent.url) == "https://api.example/v1/files"
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    boundary = sent.headers["content-type"].partition("boundary=")[2]
    assert sent.content == (
        f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="batch-1.jsonl"\r\n'
        f"content-type: application/jsonl\r\n\r\n"
    ).encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()  # fmt: skip


def test_a_file_that_the_server_still_looks_at_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("{}\n")
    told = iter(["pending", "running", "processed"])
    found, sent = asked(
        lambda api: api.upload(file, "x"), lambda _: httpx.Response(200, json={"id": "f", "status": next(told)})
    )
    assert (found, [request.method for request in sent]) == ("f", ["POST", "GET", "GET"])


def test_a_file_that_is_refused_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("{}\n")
    found, _ = asked(lambda api: api.upload(file, "x"), says({"id": "f", "status": "error", "status_details": "no"}))
    assert isinstance(found, Failure)
    assert "no" in found.detail


def test_a_batch_is_made_of_a_file_under_the_name_that_finds_it_again() -> None:
    _, [sent] = asked(lambda api: api.create("file-1", {"smile_batch": "n"}), says(OPENAI))
    assert orjson.loads(sent.content) == {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"smile_batch": "n"},
    }


@pytest.mark.parametrize(("status", "tries"), [(429, 4), (503, 4), (500, 1), (400, 1)])
def test_the_making_is_tried_again_only_where_it_is_certain_that_nothing_was_made(status: int, tries: int) -> None:
    _, sent = asked(lambda api: api.create("file-1", {}), says({"error": {"message": "x"}}, status))
    assert len(sent) == tries


def test_a_look_is_tried_again_whatever_went_wrong() -> None:
    answers = iter([httpx.Response(500), httpx.Response(200, content=b"{torn"), httpx.Response(200, json=OPENAI)])
    found, sent = asked(lambda api: api.retrieve("batch_abc"), lambda _: next(answers))
    assert isinstance(found, RemoteBatch)
    assert len(sent) == 3


def test_a_batch_is_found_by_its_nonce_or_its_file_over_all_pages() -> None:
    pages = {
        "": {"data": [OPENAI | {"id": "b5", "metadata": None, "input_file_id": "x"}, OPENAI | {"id": "b4"}], "has_more": True},
        "b4": {"data": [OPENAI | {"id": "b3", "metadata": {"smile_batch": "z"}}], "has_more": True},
        "b3": {"data": [OPENAI | {"id": "b2", "metadata": {"smile_batch": "z"}, "input_file_id": "x"}], "has_more": False},
    }  # fmt: skip
    found, sent = asked(
        lambda api: api.find("file-1", "n"), lambda request: httpx.Response(200, json=pages[request.url.params.get("after", "")])
    )  # fmt: skip
    assert [batch.id for batch in found] == ["b4", "b3"]
    assert len(sent) == 3


def test_results_come_into_a_file_of_the_owners_that_is_whole_or_not_there(tmp_path: Path) -> None:
    into = tmp_path / "results"
    found, _ = asked(lambda api: api.download("file-2", into), lambda _: httpx.Response(200, content=b"{}\n" * 9))
    assert found is None
    assert into.read_bytes() == b"{}\n" * 9
    assert into.stat().st_mode & 0o777 == 0o600
    into.unlink()
    found, sent = asked(lambda api: api.download("file-2", into), lambda _: httpx.Response(500))
    assert isinstance(found, Failure)
    assert len(sent) == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (Endpoint(model="m"), "https://api.openai.com/v1/batches/b"),
        (Endpoint(model="m", base_url="https://api.example/compatible-mode/v1"), "https://api.example/compatible-mode/v1/batches/b"),
        (Endpoint(model="m", base_url="http://localhost:8000"), "http://localhost:8000/v1/batches/b"),
        (Endpoint(model="m", base_url="http://localhost/v1?tenant=a"), "http://localhost/v1/batches/b?tenant=a"),
        (Endpoint(model="m", provider="azure", base_url="https://n.openai.azure.com", api_key_env=""), "https://n.openai.azure.com/openai/v1/batches/b"),
    ],
)  # fmt: skip
def test_batches_are_beside_the_chat_interface(endpoint: Endpoint, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    _, [sent] = asked(lambda api: api.retrieve("b"), says(OPENAI), endpoint)
    assert str(sent.url) == url


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (Endpoint(model="m", provider="anthropic", api_key_env="", base_url="http://x"), "Message Batches"),
        (Endpoint(model="m", provider="azure", base_url="http://x", api_version="2024-10-21", api_key_env=""), "v1 interface"),
    ],
)  # fmt: skip
def test_where_there_is_no_such_interface_it_says_so(endpoint: Endpoint, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        BatchApi(dialect_for(endpoint, Sampling()))


def test_no_repr_shows_the_key() -> None:
    dialect = dialect_for(Endpoint(base_url="https://api.example/v1", model="m"), Sampling())
    assert KEY not in repr(BatchApi(dialect))
