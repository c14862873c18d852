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


class InProcessModel:
    """Loads at the first request and answers one at a time.

    An answer depends on the request and `seed` alone, not on what was asked before: a run that was killed goes on to
    the same answers. (A request that is asked again, since its reply was rejected, gets another answer.)
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
        self._turn = asyncio.Lock()
        self._asked: Counter[bytes] = Counter()

    def __repr__(self) -> str:
        return f"<InProcessModel {self._base} [{'loaded' if self._speaker else 'not loaded'}]>"

    @property
    def identity(self) -> Mapping[str, Any]:
        sampling = self._sampling.model_dump(mode="json", exclude_none=True)
        adapter = None if self._adapter is None else _digest(self._adapter / WEIGHTS)
        return {"model": self._base, "adapter": adapter, "seed": self._seed, **sampling}

    async def ask(self, request: Request) -> Reply | Failure:
        async with self._turn:
            told = threading.Event()
            try:
                return await asyncio.to_thread(self._answer, request, told)
            except (RuntimeError, ValueError, MemoryError) as error:  # too long, too large; its words may be a person's
                return Failure(FailureKind.BAD_REQUEST, f"the model cannot answer it ({type(error).__name__})")
            finally:
                told.set()  # where nobody waits any more

    async def aclose(self) -> None:
        self._speaker = None

    def _answer(self, request: Request, told: threading.Event) -> Reply:
        speaker = self._speaker = self._speaker or self._loaded()
        turns: list[Turn] = [(message.role, message.content) for message in request.messages]
        digest = hashlib.sha256(repr((self._seed, turns)).encode(errors="surrogatepass")).digest()
        self._asked[digest] += 1
        seed = int.from_bytes(digest[:4]) + self._asked[digest] - 1
        return speaker.answer(turns, seed=seed, told=told)

    def _loaded(self) -> HuggingFaceSpeaker:
        quiet_libraries()
        import torch

        folder = base_folder(self._base, notify=self._notify)
        chosen = chosen_precision(self._precision)
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[chosen]
        loading: dict[str, Any] = {"precision": chosen} if self._adapter is None else {"dtype": kind}
        return HuggingFaceSpeaker(folder, self._adapter, self._sampling, trust_remote_code=self._trust, **loading)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
