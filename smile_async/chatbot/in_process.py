"""A Hugging Face model, with an adapter or without, as one who answers the engine's requests in this process.

Base and adapter answer from the same weights, tokens and code, so that what differs between them is the adapter. A
llama.cpp server would need both as GGUF, and its four bits beside the bf16 of the training.
"""

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from smile_async.chatbot.base_model import Precision, base_folder, chosen_precision, quiet_libraries, require_training
from smile_async.chatbot.sessions import Turn
from smile_async.chatbot.speakers import HuggingFaceSpeaker
from smile_async.engine.job import Failure, FailureKind, Reply, Request
from smile_async.settings import Sampling

WEIGHTS = "adapter_model.safetensors"


BATCH = 8  # answers written together: the weights are read once for all of them
GATHER = 0.05  # seconds in which those that are asked together arrive


class InProcessModel:
    """Loads at the first request and answers those that wait together, up to `BATCH`.

    An answer depends on the request and `seed`, not on what else is asked: a run that was killed goes on to the same
    answers, but for the rounding of a batch. (A request that is asked again, since its reply was rejected, gets another
    answer.)
    """

    def __init__(
        self,
        base: str,
        adapter: Path | None,
        sampling: Sampling,
        *,
        seed: int,
        precision: Precision = "auto",
        trust_remote_code: bool = False,
        notify: Callable[[str], None] = lambda _text: None,
    ) -> None:
        require_training("A Hugging Face model", ("torch", "transformers", "peft"))
        self._base, self._adapter, self._sampling, self._seed = base, adapter, sampling, seed
        self._precision, self._trust, self._notify = precision, trust_remote_code, notify
        self._speaker: HuggingFaceSpeaker | None = None
        self._waiting: list[tuple[Request, asyncio.Future[Reply | Failure]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._asked: Counter[bytes] = Counter()

    def __repr__(self) -> str:
        return f"<InProcessModel {self._base} [{'loaded' if self._speaker else 'not loaded'}]>"

    @property
    def identity(self) -> Mapping[str, Any]:
        sampling = self._sampling.model_dump(mode="json", exclude_none=True)
        adapter = None if self._adapter is None else _digest(self._adapter / WEIGHTS)
        return {"model": self._base, "adapter": adapter, "seed": self._seed, **sampling}

    async def ask(self, request: Request) -> Reply | Failure:
        answer: asyncio.Future[Reply | Failure] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def aclose(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
        self._speaker = None

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER)
            batch = [one for one in self._waiting if not one[1].done()][:BATCH]
            self._waiting = [one for one in self._waiting if one not in batch and not one[1].done()]
            if batch:
                await self._answer_batch(batch)

    async def _answer_batch(self, batch: list[tuple[Request, asyncio.Future[Reply | Failure]]]) -> None:
        told = threading.Event()

        def given_up(_future: object) -> None:
            if all(answer.cancelled() for _, answer in batch):
                told.set()

        for _, answer in batch:
            answer.add_done_callback(given_up)
        try:
            replies = await asyncio.to_thread(self._answers, [request for request, _ in batch], told)
        except Exception as error:  # noqa: BLE001 - those who ask are told
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
            return
        finally:
            told.set()  # where this task is cancelled, the thread ends
        for (_, answer), reply in zip(batch, replies, strict=True):
            if not answer.done():
                answer.set_result(reply)

    def _answers(self, requests: list[Request], told: threading.Event) -> list[Reply | Failure]:
        """Together; where that fails (one is too long, memory is short), one by one."""
        speaker = self._speaker = self._speaker or self._loaded()
        asked: list[list[Turn]] = [[(one.role, one.content) for one in request.messages] for request in requests]
        seeds = [self._seed_of(turns) for turns in asked]
        try:
            return [*speaker.answers(asked, seeds=seeds, told=told)]
        except (RuntimeError, ValueError, MemoryError):
            return [_alone(speaker, turns, seed, told) for turns, seed in zip(asked, seeds, strict=True)]

    def _seed_of(self, turns: list[Turn]) -> int:
        digest = hashlib.sha256(repr((self._seed, turns)).encode(errors="surrogatepass")).digest()
        self._asked[digest] += 1
        return int.from_bytes(digest[:4]) + self._asked[digest] - 1

    def _loaded(self) -> HuggingFaceSpeaker:
        quiet_libraries()
        import torch

        folder = base_folder(self._base, notify=self._notify)
        chosen = chosen_precision(self._precision)
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[chosen]
        loading: dict[str, Any] = {"precision": chosen} if self._adapter is None else {"dtype": kind}
        return HuggingFaceSpeaker(folder, self._adapter, self._sampling, trust_remote_code=self._trust, **loading)


def _alone(speaker: HuggingFaceSpeaker, turns: list[Turn], seed: int, told: threading.Event) -> Reply | Failure:
    try:
        return speaker.answers([turns], seeds=[seed], told=told)[0]
    except (RuntimeError, ValueError, MemoryError) as error:  # its words may be a person's
        return Failure(FailureKind.BAD_REQUEST, f"the model cannot answer it ({type(error).__name__})")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
