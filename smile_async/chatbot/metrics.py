"""Automatic metrics of a response against its reference (Table 5): METEOR, BLEU-1/2/3, ROUGE-L and distinct-1/2/3.

Tokens are Chinese characters, as in the paper, or the words of texts that part them; each figure says by its name which
formula it is. The arithmetic is well-kept libraries': nltk (METEOR, sentence BLEU), sacrebleu (corpus BLEU), rapidfuzz
(subsequences), bert-score.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from smile_async.errors import MissingExtraError, UsageError

Tokenize = Callable[[str], list[str]]

_SPACE = re.compile(r"\s+")
_WORDS = re.compile(r"\w+|[^\w\s]")


def characters(text: str) -> list[str]:
    """Each character that is no white space: the paper's tokens."""
    return list(_SPACE.sub("", text))


def words(text: str) -> list[str]:
    """Words and signs, in lower case: for languages that part their words."""
    return _WORDS.findall(text.lower())


TOKENS: dict[str, Tokenize] = {"characters": characters, "words": words}

_UNPARTED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
"""Han, kana, Thai, Lao, Burmese, Khmer: scripts that put no space between words."""
_UNPARTED_SHARE = 0.2  # of the letters: characters count, whatever Latin words are among them


def tokens_for(texts: Iterable[str]) -> str:
    """Which of `TOKENS` these texts are measured by, unless told: the paper's characters for Chinese (and for other
    scripts that part no words), words else."""
    letters = unparted = 0
    for text in texts:
        letters += sum(map(str.isalpha, text))
        unparted += len(_UNPARTED.findall(text))
    return "characters" if unparted > _UNPARTED_SHARE * letters or not letters else "words"


FORMULAS = {
    "meteor": "mean of nltk's METEOR (alpha 0.9, beta 3, gamma 0.5), exact matches only; identical texts have 1, as in"
    " METEOR's own scorer",
    "bleu-1": "mean of nltk's sentence BLEU over 1-grams, smoothed (method 1)",
    "bleu-2": "mean of nltk's sentence BLEU over 1- and 2-grams in equal parts, smoothed (method 1)",
    "bleu-3": "mean of nltk's sentence BLEU over 1- to 3-grams in equal parts, smoothed (method 1)",
    "rouge-l": "mean F1 of ROUGE-L (longest common subsequence, as rouge-score)",
    "distinct-1": "mean of each response's own different 1-grams / all",
    "distinct-2": "mean of each response's own different 2-grams / all",
    "distinct-3": "mean of each response's own different 3-grams / all",
    "bert-score": "mean F1 of bert-score with the encoder named",
    "cosine": "mean cosine of the embeddings of response and reference: no BERTScore",
}
"""What each figure is; all are from 0 to 1, higher is closer (or more varied)."""


@dataclass(frozen=True, slots=True)
class _NoStems:
    """A character has no stem."""

    def stem(self, word: str) -> str:
        return word


@dataclass(frozen=True, slots=True)
class _NoSynonyms:
    """In place of the English WordNet, which has to be downloaded and knows no Chinese."""

    def synsets(self, _word: str) -> list[Any]:
        return []


def meteor(reference: Sequence[str], response: Sequence[str]) -> float:
    """By exact matches, without stems and synonyms. Identical texts have 1.0: like METEOR's own scorer, unlike nltk,
    which takes the penalty for one chunk off them."""
    if list(reference) == list(response):
        return 1.0 if reference else 0.0
    score = _part("nltk.translate.meteor_score").single_meteor_score
    return float(score(list(reference), list(response), preprocess=str, stemmer=_NoStems(), wordnet=_NoSynonyms()))


def bleu(reference: Sequence[str], response: Sequence[str], orders: Sequence[int] = (1, 2, 3)) -> tuple[float, ...]:
    """Sentence BLEU over n-grams up to each of `orders`, in equal parts, with brevity penalty; smoothing method 1 of
    Chen and Cherry (2014): no n-gram in common counts as a tenth of one. A response without tokens has 0.

    Orders above the length of the longer text are left out, so that identical texts have 1.0, however short.
    """
    if not response or not reference:
        return (0.0,) * len(orders)
    module = _part("nltk.translate.bleu_score")
    smoothing = module.SmoothingFunction().method1
    longest = max(len(reference), len(response))
    weights = [(1 / min(order, longest),) * min(order, longest) for order in orders]
    scores = module.sentence_bleu([list(reference)], list(response), weights, smoothing)
    return tuple(map(float, scores))


def corpus_bleu(references: Sequence[str], responses: Sequence[str], tokenize: Tokenize = characters) -> float:
    """BLEU-4 of the whole set (n-grams of all cases summed up), by sacrebleu, from 0 to 1."""
    module = _part("sacrebleu")
    spaced = [[" ".join(tokenize(text)) for text in texts] for texts in (responses, references)]
    score = float(module.corpus_bleu(spaced[0], [spaced[1]], tokenize="none", force=True).score) / 100
    return min(score, 1.0)  # identical texts: 1.0000000000000004


def rouge_l(reference: Sequence[str], response: Sequence[str]) -> float:
    """F1 of the longest common subsequence: what rouge-score gives with these tokens, whose table in Python takes 9 ms
    for two texts of 110 characters (rapidfuzz: 10 us)."""
    if not reference or not response:
        return 0.0
    common = int(_part("rapidfuzz.distance").LCSseq.similarity(list(reference), list(response)))
    return 2 * common / (len(reference) + len(response))


def bert_score(
    references: Sequence[str], responses: Sequence[str], encoder: str, *, layer: int | None = None, batch: int = 16
) -> list[float]:
    """F1 of each pair, not rescaled, by bert-score. `encoder` is a Hugging Face name or folder (the paper:
    BAAI/bge-m3); `layer` the one whose states are compared, counted from 1; None: the last.

    A text without tokens has 0.
    """
    from smile_async.chatbot.base_model import quiet_libraries

    scorer = _part("bert_score", "train").BERTScorer
    quiet_libraries()
    try:
        config = _part("transformers", "train").AutoConfig.from_pretrained(encoder)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The encoder {encoder!r} cannot be had: {str(error).partition(chr(10))[0]}",
            hint="Name a Hugging Face model that can be reached from here, or a folder that holds one.",
        ) from None
    made = scorer(model_type=encoder, num_layers=layer or int(config.num_hidden_layers), batch_size=batch)
    # A tokenizer that names no longest input says 10**30, which its own truncation cannot take; bert-score asks for it.
    tokenizer = made._tokenizer  # noqa: SLF001 - it has no public name
    tokenizer.model_max_length = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", 512))
    pairs = [(one, other) for one, other in zip(responses, references, strict=True) if one.strip() and other.strip()]
    found = iter(made.score([one for one, _ in pairs], [other for _, other in pairs])[2].tolist() if pairs else [])
    return [
        float(next(found)) if one.strip() and other.strip() else 0.0
        for one, other in zip(responses, references, strict=True)
    ]


def require_metrics() -> None:
    """Raises `MissingExtraError` when a part of it is not installed. Imports nothing."""
    if any(find_spec(name) is None for name in ("nltk", "sacrebleu", "rapidfuzz", "numpy")):
        raise MissingExtraError("Automatic evaluation", "metrics")


def _part(module: str, extra: str = "metrics") -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError("Automatic evaluation", extra) from error
