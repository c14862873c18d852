"""Sampling whose chance belongs to each row: a batch of answers in which none depends on what is answered beside it."""

from collections.abc import Sequence
from typing import Any

LIKELIEST = 512  # tokens in which the nucleus is sought before all of a vocabulary of 262,144 is sorted


class DrawnTokens:
    """A logits processor for greedy generation: each row's next token is drawn at `temperature` (above 0) from its
    nucleus `top_p`, by one number of its own `seeds`; all other tokens are made impossible."""

    def __init__(self, temperature: float, top_p: float, seeds: Sequence[int]) -> None:
        import torch

        self._temperature, self._top_p = temperature, top_p
        self._chances = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, _ids: Any, scores: Any) -> Any:
        import torch

        likely = torch.softmax(scores.float() / self._temperature, dim=-1)
        values, places = likely.topk(min(LIKELIEST, likely.shape[-1]))
        if bool((values.sum(-1) < self._top_p).any()):
            values, places = likely.sort(dim=-1, descending=True)
        values = torch.where(values.cumsum(-1) - values < self._top_p, values, 0.0)
        chance = torch.cat([torch.rand(1, generator=one) for one in self._chances]).to(values.device)
        summed = values.cumsum(-1)
        drawn = torch.searchsorted(summed, chance[:, None] * summed[:, -1:], right=True)
        token = places.gather(1, drawn.clamp(max=values.shape[-1] - 1))
        return torch.full_like(scores, float("-inf")).scatter_(1, token, 0.0)
