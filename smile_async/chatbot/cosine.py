"""A cosine column for Table 5 where no encoder for BERTScore is at hand: by the embedded embedding model."""

import asyncio
from array import array
from collections.abc import Sequence

from smile_async.engine.job import Failure
from smile_async.errors import SmileError
from smile_async.provider.e5 import MODEL, E5Provider
from smile_async.provider.embeddings import FLOAT, embedding_request, unpack

COSINE = f"cosine {MODEL}"
"""The metric's name says whose vectors they are."""
TEXTS = 8  # a request: some seconds of work


class CosineScorer:
    """One cosine a case, of response and reference; a text without words has 0. Each text is embedded once, however
    many systems say it.

    These cosines sit in a narrow band (unrelated sentences are above 0.8): compare systems, not with other encoders.
    Must not be called on an event loop. Raises `MissingExtraError` where the model is not installed.
    """

    def __init__(self) -> None:
        E5Provider()  # raises where it is not installed
        self._known: dict[str, array[float]] = {}

    def __call__(self, references: Sequence[str], responses: Sequence[str]) -> list[float]:
        asyncio.run(self._learn([text for text in (*references, *responses) if text.strip()]))
        return [self._cosine(one, other) for one, other in zip(references, responses, strict=True)]

    async def _learn(self, texts: Sequence[str]) -> None:
        provider = E5Provider()
        try:
            wanted = list(dict.fromkeys(text for text in texts if text not in self._known))
            for start in range(0, len(wanted), TEXTS):
                batch = wanted[start : start + TEXTS]
                reply = await provider.ask(embedding_request(batch))
                if isinstance(reply, Failure):
                    raise SmileError(f"The texts cannot be embedded: {reply.detail}", hint="Call it again.")
                count, values = unpack(reply.text)
                width = len(values) // FLOAT // count
                numbers = array("f")
                numbers.frombytes(values)
                for place, text in enumerate(batch):
                    self._known[text] = numbers[place * width : (place + 1) * width]
        finally:
            await provider.aclose()

    def _cosine(self, one: str, other: str) -> float:
        from smile_async.analysis.arrays import np

        if not (one.strip() and other.strip()):
            return 0.0
        first, second = (np.asarray(self._known[text], float) for text in (one, other))
        return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
