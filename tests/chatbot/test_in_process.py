"""A model in this process that answers several at once: each answer is its own."""

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from smile_async.chatbot.in_process import InProcessModel
from smile_async.chatbot.speakers import HuggingFaceSpeaker
from smile_async.engine.job import Message, Reply, Request
from smile_async.settings import Sampling
from tests.chatbot import tiny

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module", autouse=True)
def _extras() -> None:
    tiny.require("torch", "transformers", "peft", extra="train")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("base") / "tiny")


def drawn(chances: Sequence[float], temperature: float, top_p: float, seeds: Sequence[int], times: int) -> list[int]:
    """The tokens that rows with these chances get, one after another."""
    import torch

    from smile_async.chatbot.drawn_tokens import DrawnTokens

    scores = torch.tensor([[math.log(chance) for chance in chances]] * len(seeds))
    one = DrawnTokens(temperature, top_p, seeds)
    return [int(token) for _ in range(times) for token in one(None, scores).argmax(-1)]


def test_tokens_are_drawn_by_their_chances() -> None:
    seen = Counter(drawn([0.5, 0.3, 0.2], 1.0, 1.0, seeds=range(100), times=100))
    # 10,000 draws: the deviation of a share of 0.5 is sqrt(0.25 / 10,000) = 0.005; five of them
    assert [seen[token] / 10_000 for token in range(3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.025)


def test_the_nucleus_is_the_fewest_tokens_that_reach_top_p() -> None:
    # 0.5 and 0.3 reach 0.8 only together; 0.2 is beyond. At 0.79 likewise; at 0.5 the first is enough.
    assert set(drawn([0.2, 0.5, 0.3], 1.0, 0.79, seeds=range(50), times=4)) == {1, 2}
    assert set(drawn([0.2, 0.5, 0.3], 1.0, 0.49, seeds=range(50), times=4)) == {1}


def test_a_low_temperature_sharpens() -> None:
    # 0.5 ** 2 to 0.3 ** 2 to 0.2 ** 2 is 25 : 9 : 4, so the first has 25 / 38 = 0.66
    seen = Counter(drawn([0.5, 0.3, 0.2], 0.5, 1.0, seeds=range(100), times=100))
    assert seen[0] / 10_000 == pytest.approx(25 / 38, abs=0.025)


def test_a_nucleus_wider_than_the_likeliest_is_still_whole() -> None:
    """1,000 tokens alike: 0.9 of them is 900, more than the 512 that are looked at first."""
    seen = drawn([0.001] * 1000, 1.0, 0.9, seeds=range(100), times=20)
    assert len(set(seen)) > 512


def asked(base: Path, words: Sequence[str], *, temperature: float = 0.8, most: int = 12) -> list[Reply]:
    async def all_of_them() -> list[Reply]:
        sampling = Sampling(temperature=temperature, top_p=0.8, max_tokens=most)
        model = InProcessModel(str(base), None, sampling, seed=7, precision="fp32")
        try:
            told = await asyncio.gather(*(model.ask(Request((Message("user", word),))) for word in words))
        finally:
            await model.aclose()
        assert all(isinstance(one, Reply) for one in told)
        return [one for one in told if isinstance(one, Reply)]

    return asyncio.run(all_of_them())


def test_an_answer_does_not_depend_on_what_is_answered_beside_it(base: Path) -> None:
    words = ["睡不好", "我最近和室友吵架了，心里很乱", "嗯"]
    together = asked(base, words)
    assert [asked(base, [word])[0].text for word in words] == [one.text for one in together]
    assert len({one.text for one in together}) == 3
    assert all(one.usage is not None and one.usage.completion_tokens <= 12 for one in together)


def test_at_temperature_0_the_likeliest_is_said(base: Path) -> None:
    first, again = asked(base, ["睡不好"], temperature=0), asked(base, ["睡不好"], temperature=0)
    assert first == again
    assert first[0].finish_reason in {"stop", "length"}


def test_a_model_that_cannot_be_loaded_is_told_to_who_asks(tmp_path: Path) -> None:
    from smile_async.errors import UsageError

    with pytest.raises(UsageError, match=r"config\.json"):
        asked(tmp_path, ["睡不好"])


def test_an_answer_that_nobody_waits_for_ends(base: Path) -> None:
    """Given up while the model is loaded or writes, the call is over at once, and the thread ends with it."""

    async def given_up() -> None:
        model = InProcessModel(str(base), None, Sampling(temperature=0.8, max_tokens=3000), seed=7, precision="fp32")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.ask(Request((Message("user", "睡不好"),))), 0.05)
        await model.aclose()

    asyncio.run(given_up())  # waits for the thread


def test_an_answer_has_its_seed_whether_its_batch_could_be_answered_or_not() -> None:
    seen: list[list[int]] = []

    class Narrow:
        def answers(self, asked: Sequence[object], *, seeds: Sequence[int], told: object) -> list[Reply]:
            seen.append(list(seeds))
            if len(asked) > 1:
                raise MemoryError
            return [Reply(f"answer {seeds[0]}")]

    model = InProcessModel("tiny", None, Sampling(), seed=7)
    model._speaker = Narrow()  # type: ignore[assignment]
    requests = [Request((Message("user", text),)) for text in ("a", "b")]
    replies = model._answers(requests, threading.Event())
    assert seen[1:] == [[seen[0][0]], [seen[0][1]]]
    assert [isinstance(reply, Reply) and reply.text for reply in replies] == [f"answer {seed}" for seed in seen[0]]


def says(base: Path, text: str) -> tuple[HuggingFaceSpeaker, list[int]]:
    """A model that writes these words, token by token, whatever it is asked, and the tokens that it has written."""
    speaker = HuggingFaceSpeaker(str(base), None, Sampling(temperature=0, max_tokens=200), precision="fp32")
    script, written = speaker._tokenizer(text)["input_ids"], list[int]()
    plain = speaker._model.forward

    @wraps(plain)
    def forward(**given: Any) -> Any:
        result = plain(**given)
        written.append(script[len(written)])
        result.logits[:] = 0
        result.logits[..., written[-1]] = 100
        return result

    speaker._model.forward = forward
    return speaker, written


ASKED = (("user", "q0"), ("assistant", "a0"), ("user", "q1"))  # its prompt holds both labels
LONG = "I hear you.\nClient: and I " + "go on " * 50


def test_a_base_model_that_goes_on_for_the_client_is_cut_and_stopped(base: Path) -> None:
    speaker, written = says(base, LONG)
    for reply in speaker.answers([ASKED, ASKED], seeds=[1, 2], told=threading.Event()):
        assert (reply.text, reply.finish_reason) == ("I hear you.", "stop")
    assert len(written) <= len("I hear you.\nClient:")  # bytes: no token is less than one


def test_so_it_is_when_it_is_shown_as_it_comes(base: Path) -> None:
    async def shown(text: str) -> str:
        return "".join([piece async for piece in says(base, text)[0].pieces(ASKED)])

    assert asyncio.run(shown(LONG)) == "I hear you."
    assert asyncio.run(shown(f"ok\nCli{tiny.END}")) == "ok\nCli"
