"""The simulated endpoint's Batch API: states by the clock, results by seed, what it refuses."""

from typing import Any

import orjson
import pytest

from smile_async.simulate.batches import BatchOffice
from smile_async.simulate.endpoint import Endpoint
from smile_async.simulate.settings import SimulatorSettings
from smile_async.simulate.wire import HttpRequest

PATH = "/v1/chat/completions"


class Client:
    """Asks an office without a network, at times of its own."""

    def __init__(self, **settings: Any) -> None:
        self.endpoint = Endpoint(SimulatorSettings.model_validate(settings))
        self.office = BatchOffice(self.endpoint)
        self.now = 0.0

    def ask(self, method: str, path: str, body: bytes = b"", *, key: str | None = None) -> tuple[int, Any]:
        bare, _, query = path.partition("?")
        request = HttpRequest(method.encode(), bare.encode(), query.encode(), key, body, keep_alive=True)
        assert self.office.serves(request.path)
        answer = self.office.answer(request, self.now)
        return answer.status, answer.body if path.endswith("/content") else orjson.loads(answer.body)

    def upload(self, content: bytes) -> str:
        form = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\n'
        form += b'content-disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n' + content + b"\r\n--b--\r\n"
        status, told = self.ask("POST", "/v1/files", form)
        assert (status, told["bytes"]) == (200, len(content))
        return str(told["id"])

    def make(self, lines: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        file = self.upload(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        asked = {"input_file_id": file, "endpoint": PATH, "completion_window": "24h", **more}
        status, told = self.ask("POST", "/v1/batches", orjson.dumps(asked))
        assert status == 200, told
        return dict(told)

    def look(self, batch: str = "batch_1") -> dict[str, Any]:
        return dict(self.ask("GET", f"/v1/batches/{batch}")[1])

    def results(self, file: str | None) -> list[dict[str, Any]]:
        assert file is not None
        return [orjson.loads(line) for line in self.ask("GET", f"/v1/files/{file}/content")[1].splitlines()]


def requests(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "custom_id": f"r{number}",
            "method": "POST",
            "url": PATH,
            "body": {"model": "m", "messages": [{"role": "user", "content": f"问题{number}"}]},
        }
        | changes
        for number in range(count)
    ]


def test_a_batch_is_validated_worked_on_and_completed_in_its_time() -> None:
    client = Client(batches={"validation": 10, "duration": 100})
    assert client.make(requests(10))["status"] == "validating"
    states = []
    for now in (9, 10, 59, 60, 109, 110):
        client.now = now
        told = client.look()
        states.append((told["status"], told["request_counts"]["completed"]))
    # Of 100 seconds from second 10 on, 49 are gone at 59: 4 of 10 lines; at 60 half of them.
    assert states == [
        ("validating", 0), ("in_progress", 0), ("in_progress", 4), ("in_progress", 5), ("in_progress", 9), ("completed", 10),
    ]  # fmt: skip


def test_results_come_in_an_order_of_their_own_and_each_once() -> None:
    client = Client()
    client.make(requests(50))
    told = client.look()
    names = [line["custom_id"] for line in client.results(told["output_file_id"])]
    assert sorted(names) == sorted(f"r{number}" for number in range(50))
    assert names != [f"r{number}" for number in range(50)]
    assert told["error_file_id"] is None
    assert client.endpoint.report()["served"]["completions"] == 50


def test_refused_requests_stand_in_the_error_file_with_their_answer() -> None:
    client = Client(faults={"content-filter": 0.5, "hang": 0.2})
    client.make(requests(100))
    told = client.look()
    good, bad = client.results(told["output_file_id"]), client.results(told["error_file_id"])
    assert len(good) + len(bad) == 100
    assert {line["response"]["status_code"] for line in good} == {200}
    assert {line["response"]["status_code"] for line in bad} == {400, 500}
    report = client.endpoint.report()
    assert (report["requests"], report["hangs"]) == (100, 0)
    assert report["served"] == report["billed"]
    assert told["request_counts"] == {"total": 100, "completed": len(good), "failed": len(bad)}


def test_what_is_not_done_in_time_expires_unrun() -> None:
    client = Client(batches={"duration": 100, "window": 40})
    client.make(requests(10))
    client.now = 1_000
    told = client.look()
    assert told["status"] == "expired"
    assert len(client.results(told["output_file_id"])) == 4
    bad = client.results(told["error_file_id"])
    assert [line["error"]["code"] for line in bad] == ["batch_expired"] * 6
    assert client.endpoint.report()["requests"] == 4


def test_a_cancelled_batch_keeps_what_was_done() -> None:
    client = Client(batches={"duration": 100})
    client.make(requests(10))
    client.now = 30
    assert client.ask("POST", "/v1/batches/batch_1/cancel")[1]["status"] == "cancelling"
    client.now = 31
    told = client.look()
    assert (told["status"], told["request_counts"]["completed"]) == ("cancelled", 3)
    assert client.ask("POST", "/v1/batches/batch_1/cancel")[0] == 409


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([*requests(1), *requests(1)], "duplicate_custom_id"),
        (requests(1, custom_id="x" * 65), "duplicate_custom_id"),
        (requests(1, url="/v1/embeddings"), "mismatched_endpoint"),
        ([{"custom_id": "a"}], "invalid_json_line"),
        ([*requests(1), *requests(1, custom_id="b", body={"model": "other", "messages": []})], "mismatched_model"),
        (requests(6), "too_many_requests"),
        ([], "empty_file"),
    ],
)
def test_a_file_that_is_wrong_fails_as_a_whole(lines: list[dict[str, Any]], code: str) -> None:
    client = Client(batches={"most_requests": 5})
    client.make(lines)
    told = client.look()
    assert (told["status"], told["errors"]["data"][0]["code"]) == ("failed", code)
    assert client.endpoint.report()["requests"] == 0


def test_more_tokens_than_may_wait_fail_until_others_are_done() -> None:
    """A prompt here has 2 characters of 0.7 tokens and a digit or two of 0.25: 2 tokens, rounded up."""
    client = Client(batches={"enqueued_tokens": 100, "duration": 100})
    client.make(requests(10))  # 20 tokens
    client.make(requests(45))  # 90 more
    assert client.look("batch_2")["errors"]["data"][0]["code"] == "token_limit_exceeded"
    client.now = 100
    assert client.look()["status"] == "completed"
    client.make(requests(45))
    assert client.look("batch_3")["status"] == "in_progress"


def test_the_list_is_paged_newest_first() -> None:
    client = Client()
    for at in range(5):
        client.make(requests(1), metadata={"n": str(at)})
    page = client.ask("GET", "/v1/batches?limit=2&after=batch_4")[1]
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (["batch_3", "batch_2"], True)
    assert page["data"][0]["metadata"] == {"n": "2"}


def test_a_wrong_key_is_401_and_what_is_not_there_404() -> None:
    client = Client(api_key="right")
    assert client.ask("GET", "/v1/batches", key="wrong")[0] == 401
    assert client.ask("GET", "/openai/v1/batches", key="right")[0] == 200
    for path in ("/v1/batches/batch_9", "/v1/files/file-9", "/v1/files/file-9/content"):
        request = HttpRequest(b"GET", path.encode(), b"", "right", b"", keep_alive=True)
        assert client.office.answer(request, 0.0).status == 404
