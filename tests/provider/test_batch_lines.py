"""Lines of Batch files: what goes out, and what each shape of result comes to."""

from typing import Any

import orjson
import pytest

from smile_async.engine.collecting import NotRun
from smile_async.engine.job import Failure, FailureKind, Message, Reply, Request, Usage
from smile_async.provider.batch_lines import custom_id, is_reply, path_of, read_result, request_line
from smile_async.provider.chat import ChatDialect
from smile_async.settings import Sampling

NONCE = "0123456789abcdef"
DIALECT = ChatDialect(
    url="https://api.openai.com/v1/chat/completions", headers={}, model="m", sampling=Sampling(temperature=0.5)
)
COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "model": "m-2026",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "你好"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}
FILTERED = {"error": {"message": "The prompt was filtered.", "code": "content_filter", "param": None}}


def result(**line: Any) -> bytes:
    return orjson.dumps({"id": "batch_req_1", "custom_id": f"{NONCE}-12", "response": None, "error": None} | line)


def answered(body: Any, status: Any = 200) -> dict[str, Any]:
    return {"status_code": status, "request_id": "req_1", "body": body}


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://api.openai.com/v1/chat/completions", "/v1/chat/completions"),
        ("https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions", "/v1/chat/completions"),
        ("https://open.bigmodel.cn/api/paas/v4/chat/completions", "/v4/chat/completions"),
        ("https://name.openai.azure.com/openai/v1/chat/completions", "/v1/chat/completions"),
        ("http://localhost:8000/chat/completions", "/v1/chat/completions"),
        ("http://localhost:8000/proxy/chat/completions?tenant=a", "/v1/chat/completions"),
    ],
)
def test_a_batch_calls_the_interface_by_its_version(url: str, path: str) -> None:
    assert path_of(url) == path


def test_a_request_is_what_would_be_posted_under_an_id_that_tells_nothing() -> None:
    name = custom_id(NONCE, 12)
    line = request_line(name, "/v1/chat/completions", DIALECT.body(Request((Message("user", "睡不好"),), 90)))
    assert line.endswith(b"}\n")
    assert orjson.loads(line) == {
        "custom_id": "0123456789abcdef-12",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "m", "temperature": 0.5, "max_tokens": 90, "messages": [{"role": "user", "content": "睡不好"}],
        },
    }  # fmt: skip
    assert "睡不好".encode() in line  # not escaped


def test_a_name_fits_the_64_characters_that_servers_take() -> None:
    assert len(custom_id(NONCE, 10**18 - 1)) <= 64


def test_a_reply_is_read_as_the_dialect_reads_it() -> None:
    found = read_result(result(response=answered(COMPLETION)), DIALECT, 0.0)
    assert found is not None
    assert (found.nonce, found.attempt) == (NONCE, 12)
    assert found.came == Reply("你好", finish_reason="stop", usage=Usage(7, 3), model="m-2026")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        # OpenAI and Azure: the error file holds the refused request's own answer.
        ({"response": answered(FILTERED, 400)}, FailureKind.CONTENT_FILTER),
        ({"response": answered({"error": {"message": "bad", "code": "invalid"}}, 400)}, FailureKind.BAD_REQUEST),
        ({"response": answered({"error": {"message": "slow down"}}, 429)}, FailureKind.RATE_LIMITED),
        ({"response": answered({"error": {"message": "x", "code": "insufficient_quota"}}, 429)}, FailureKind.QUOTA_EXHAUSTED),
        ({"response": answered({"error": {"message": "broken"}}, 500)}, FailureKind.SERVER_ERROR),
        ({"response": answered(None, 503)}, FailureKind.OVERLOADED),
        # vLLM: the status in the response, the error beside it, as text or as object, flat or not.
        ({"response": answered(None, 400), "error": "This model's maximum context length is 10"}, FailureKind.BAD_REQUEST),
        ({"response": answered(None, 400), "error": {"object": "error", "message": "too long", "code": 400}}, FailureKind.BAD_REQUEST),
        ({"response": answered(None, 404), "error": {"error": {"message": "The model `x` does not exist."}}}, FailureKind.UNKNOWN_MODEL),
        ({"response": answered(None), "error": "died"}, FailureKind.SERVER_ERROR),
        # No response at all.
        ({"error": {"code": "request_timeout", "message": "The model timed out."}}, FailureKind.SERVER_ERROR),
        ({"error": {"code": "server_error", "message": "x"}}, FailureKind.SERVER_ERROR),
        ({"error": {"code": "429", "message": "x"}}, FailureKind.RATE_LIMITED),
        ({"error": {"code": "data_inspection_failed", "message": "x"}}, FailureKind.CONTENT_FILTER),
        ({"error": "text"}, FailureKind.SERVER_ERROR),
        ({}, FailureKind.SERVER_ERROR),
        # Paid for, and no answer.
        ({"response": answered({"id": "x"})}, FailureKind.BROKEN_BODY),
    ],
)  # fmt: skip
def test_what_is_no_reply_is_a_failure_of_its_kind(line: dict[str, Any], kind: FailureKind) -> None:
    found = read_result(result(**line), DIALECT, 0.0)
    assert found is not None
    assert isinstance(found.came, Failure)
    assert found.came.kind is kind, found.came


@pytest.mark.parametrize("code", ["batch_expired", "batch_cancelled"])
def test_what_was_never_run_is_told_apart(code: str) -> None:
    found = read_result(result(error={"code": code, "message": "was not executed"}), DIALECT, 0.0)
    assert found is not None
    assert found.came == NotRun(code)


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id": "0123456789abcdef-1", "respon',  # a torn last line
        b"[]",
        b"{}",
        result(custom_id="request-1"),
        result(custom_id=7),
        result(custom_id=f"{NONCE}-1-2"),
        result(custom_id=f"{NONCE.upper()}-1"),
    ],
)
def test_what_is_not_ours_is_nothing(line: bytes) -> None:
    assert read_result(line, DIALECT, 0.0) is None


def test_a_worker_may_leave_the_envelope_out() -> None:
    found = read_result(result(response=COMPLETION), DIALECT, 0.0)
    assert found is not None
    assert isinstance(found.came, Reply)


def test_an_error_shows_no_key_and_stays_on_a_line() -> None:
    told = {"code": "x", "message": "key sk-abcdef0123456789abcdef\nis wrong"}
    found = read_result(result(error=told), DIALECT, 0.0)
    assert found is not None
    assert isinstance(found.came, Failure)
    assert found.came.detail == "x: key *** is wrong"


def test_an_answered_request_is_known_at_a_glance() -> None:
    assert is_reply(result(response=answered(COMPLETION)))
    assert not is_reply(result(response=answered(FILTERED, 400)))
    assert not is_reply(result(error={"code": "batch_expired"}))
    assert not is_reply(b"{torn")
