"""Tokens before they are known. Learns from replies: no tokenizer, any model, any language."""

import math
from dataclasses import replace

from smile_async.engine.job import Request, Usage
from smile_async.values import light

MEMORY = 500  # replies: older ones fade, so that a change of model or of source is followed
FIRST_TOKENS_PER_CHARACTER = 1.0  # of a prompt: what a Chinese character costs at most tokenizers, or a bit more
FIRST_COMPLETION = 1_000.0  # tokens of an answer, until one has been seen
TEMPLATE = 16  # tokens that a chat template adds to a message, at most
MOST_COMPLETION = 4_096  # tokens of an answer in a run with a budget that names no `max_tokens`


@light(frozen=True, slots=True)
class Expected:
    """Tokens that a request will probably cost."""

    prompt: float
    completion: float

    @property
    def total(self) -> float:
        return self.prompt + self.completion


class TokenEstimate:
    """Characters to prompt tokens, and the distribution of completion lengths, as fading means."""

    def __init__(self) -> None:
        self._seen = 0
        self._ratio = FIRST_TOKENS_PER_CHARACTER
        self._completion = FIRST_COMPLETION
        self._variance = 0.0

    def __repr__(self) -> str:
        return (
            f"<TokenEstimate [{self._ratio:.2f} tokens a character, "
            f"{self._completion:.0f} ± {self.spread:.0f} a completion, {self._seen} seen]>"
        )

    def expect(self, request: Request) -> Expected:
        """The mean: right for sums over many requests."""
        completion = self._completion
        if request.max_tokens is not None:
            completion = min(completion, float(request.max_tokens))
        return Expected(request.characters * self._ratio, completion)

    def ceiling(self, request: Request) -> Expected:
        """What a request costs at most. Of the prompt, a token for each byte and `TEMPLATE` for each message: no
        byte-level tokenizer makes more. Of the answer, `max_tokens`; where none is sent nothing bounds it, and mean +
        4 deviations is the best that can be said (a run with a budget sends one, see `bounded`)."""
        if request.max_tokens is not None:
            completion = float(request.max_tokens)
        else:
            completion = self._completion + 4 * self.spread if self._seen else 2 * FIRST_COMPLETION
        prompt = sum([len(message.content.encode("utf-8", "replace")) + TEMPLATE for message in request.messages])
        return Expected(float(prompt), completion)

    def doubt(self, requests: int) -> float:
        """Standard deviation of the sum of so many completions about `requests` times the mean: their own spread, and
        that the mean itself comes from few replies."""
        return self.spread * math.sqrt(requests + requests * requests / min(max(self._seen, 1), MEMORY))

    @property
    def spread(self) -> float:
        """Standard deviation of a completion's tokens; a third of the first guess until two have been seen."""
        return math.sqrt(self._variance) if self._seen > 1 else FIRST_COMPLETION / 3

    def learn(self, request: Request, usage: Usage) -> None:
        self._seen += 1
        weight = max(1 / self._seen, 1 / MEMORY)
        if request.characters:
            ratio = usage.prompt_tokens / request.characters
            self._ratio += weight * (ratio - self._ratio)
        difference = usage.completion_tokens - self._completion
        self._completion += weight * difference
        # Welford's update with fading memory: the first reply sets the mean and leaves no variance.
        self._variance = (1 - weight) * (self._variance + weight * difference * difference)


def bounded(request: Request) -> Request:
    """The request with a `max_tokens`: without one nobody knows what it costs at most, and no budget can hold."""
    return request if request.max_tokens is not None else replace(request, max_tokens=MOST_COMPLETION)
