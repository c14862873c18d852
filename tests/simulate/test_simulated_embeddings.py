"""The simulated /v1/embeddings: vectors that depend on the text alone, limits and faults as for chat."""

import asyncio
from typing import Any

import pytest

from smile_async.engine.job import Failure, FailureKind, Reply
from smile_async.provider.dialects import embedding_dialect_for
from smile_async.provider.embeddings import embedding_request, unpack
from smile_async.provider.server import ServerProvider
from smile_async.settings import Endpoint, Sampling
from smile_async.simulate.behaviour import count_tokens
from smile_async.simulate.embeddings import DIMENSIONS, MOST_TEXTS, vector_of
from smile_async.simulate.server import SimulatorServer
from smile_async.simulate.settings import SimulatorSettings

pytestmark = pytest.mark.e2e  # sockets


def asked(*batches: list[str], encoding: Any = "base64", path: str = "", **settings: Any) -> list[Reply | Failure]:
    async def main() -> list[Reply | Failure]:
        chosen = SimulatorSettings.model_validate({"latency": {"base": 0}} | settings)
        async with SimulatorServer(chosen) as server:
            endpoint = Endpoint(base_url=(path and server.base_url.replace("/v1", path)) or server.base_url, model="m")
            dialect = embedding_dialect_for(
                endpoint.model_copy(update={"api_key_env": ""}), Sampling(), encoding=encoding
            )
            provider = ServerProvider(dialect)
            try:
                return [await provider.ask(embedding_request(batch)) for batch in batches]
            finally:
                await provider.aclose()

    return asyncio.run(main())


def kinds(*batches: list[str], **settings: Any) -> list[FailureKind | None]:
    return [one.kind if isinstance(one, Failure) else None for one in asked(*batches, **settings)]


def test_equal_texts_have_equal_vectors_in_any_company_and_encoding() -> None:
    one, other = asked(["你好", "再见"], ["再见"])
    [numbers] = asked(["再见"], encoding="float")

    assert isinstance(one, Reply)
    assert isinstance(other, Reply)
    assert isinstance(numbers, Reply)
    assert unpack(one.text)[1][4 * DIMENSIONS :] == unpack(other.text)[1] == unpack(numbers.text)[1]
    assert one.usage is not None
    assert one.usage.prompt_tokens == count_tokens("你好") + count_tokens("再见")


def test_texts_that_share_words_are_nearer() -> None:
    def cosine(one: str, other: str) -> float:
        return sum(a * b for a, b in zip(vector_of(one), vector_of(other), strict=True))

    assert cosine("我最近总是睡不好觉", "最近我总是睡不好觉呢") > cosine("我最近总是睡不好觉", "股票市场今天大涨了")
    assert cosine("再见", "再见") == pytest.approx(1.0)


def test_limits_hold_for_embeddings_too() -> None:
    assert kinds(["a"], ["b"], ["c"], limits={"requests": 2}) == [None, None, FailureKind.RATE_LIMITED]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("server-error", FailureKind.SERVER_ERROR),
        ("content-filter", FailureKind.CONTENT_FILTER),
        ("broken-json", FailureKind.BROKEN_BODY),
        ("reset", FailureKind.DISCONNECTED),
    ],
)
def test_faults_befall_embeddings_too(fault: str, kind: FailureKind) -> None:
    assert kinds(["a"], faults={fault: 1.0}) == [kind]


def test_empty_content_is_a_vector_too_few_and_breaches_are_none() -> None:
    [short] = asked(["a", "b"], faults={"empty-content": 1.0})
    [whole] = asked(["a", "b"], breaches={"too-few-turns": 1.0})

    assert isinstance(short, Reply)
    assert isinstance(whole, Reply)
    assert (unpack(short.text)[0], unpack(whole.text)[0]) == (1, 2)


def test_what_servers_refuse_is_refused() -> None:
    too_long = "字" * 12_000  # 0.7 tokens a character: 8,400

    assert kinds([""], ["x"] * (MOST_TEXTS + 1), [too_long]) == [FailureKind.BAD_REQUEST] * 3


def test_azures_deployments_have_embeddings() -> None:
    assert kinds(["a"], path="/openai/v1") == [None]
    assert kinds(["a"], path="/openai/deployments/d") == [FailureKind.UNKNOWN_MODEL]  # no api-version: 404
