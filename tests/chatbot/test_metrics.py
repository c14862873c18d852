"""Each metric by hand or beside another implementation; identical Chinese texts have 1.0 in every overlap metric."""

import math
import random

import pytest

from smile_async.chatbot import metrics
from smile_async.chatbot.metrics import bleu, characters, corpus_bleu, meteor, rouge_l, words

SAID = "你愿意多说一说吗？"


def drawn(seed: int, alphabet: str = "天地玄黄宇宙洪荒日月") -> list[str]:
    draw = random.Random(seed)
    return draw.choices(alphabet, k=draw.randint(1, 30))


def test_characters_are_the_tokens_and_white_space_is_none() -> None:
    assert characters("你好， OK\n吗") == ["你", "好", "，", "O", "K", "吗"]
    assert words("I'm OK, thanks.") == ["i", "'", "m", "ok", ",", "thanks", "."]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("我很累", "characters"), ("あなたは", "characters"), ("我觉得很 depressed", "characters"), ("I am tired", "words"),
     ("나는 피곤하다", "words"), ("я устал", "words"), ("……", "characters"), ("", "characters")],
)  # fmt: skip
def test_scripts_that_part_their_words_are_measured_by_words(text: str, tokens: str) -> None:
    assert metrics.tokens_for([text]) == tokens


@pytest.mark.parametrize("text", [SAID, "好", "嗯嗯", "好的。", "我我我我"])
def test_identical_chinese_texts_have_one(text: str) -> None:
    tokens = characters(text)
    assert meteor(tokens, tokens) == 1.0
    assert bleu(tokens, tokens) == pytest.approx((1.0, 1.0, 1.0))
    assert rouge_l(tokens, tokens) == 1.0


def test_identical_corpora_have_one() -> None:
    assert corpus_bleu([SAID, "我听到了你的难过。"], [SAID, "我听到了你的难过。"]) == pytest.approx(1.0)


@pytest.mark.parametrize("response", ["", "  "])
def test_no_words_have_nothing(response: str) -> None:
    told, wanted = characters(response), characters(SAID)
    assert (meteor(wanted, told), bleu(wanted, told), rouge_l(wanted, told)) == (0.0, (0.0, 0.0, 0.0), 0.0)


def test_nothing_in_common_has_nothing() -> None:
    wanted, told = characters("天地玄黄"), characters("日月星辰")
    assert meteor(wanted, told) == 0.0
    assert rouge_l(wanted, told) == 0.0
    assert bleu(wanted, told) == (0.0, 0.0, 0.0)


def test_an_order_without_a_common_ngram_counts_as_a_tenth_of_one() -> None:
    # 天 of four 1-grams; none of three 2-grams: 0.1 / 3
    assert bleu(characters("天地玄黄"), characters("日月星天"))[1] == pytest.approx(math.sqrt(1 / 4 * 0.1 / 3))


def test_meteor_by_hand() -> None:
    # reference 我很难过 (4), response 我难过了 (4): matches 我, 难, 过 = 3 in two chunks (我 | 难过)
    # P = R = 3/4, F = P R / (0.9 P + 0.1 R) = 0.75; penalty 0.5 * (2/3)**3
    assert meteor(list("我很难过"), list("我难过了")) == pytest.approx(0.75 * (1 - 0.5 * (2 / 3) ** 3))


def test_bleu_by_hand() -> None:
    # response 我很累 (3), reference 我很累啊 (4): brevity exp(1 - 4/3); 1-grams 3/3, 2-grams 2/2, 3-grams 1/1
    brevity = math.exp(1 - 4 / 3)
    assert bleu(list("我很累啊"), list("我很累")) == pytest.approx((brevity,) * 3)
    # response 我很累啊 against 我很好啊: 1-grams 3/4, 2-grams 我很 of 3
    assert bleu(list("我很好啊"), list("我很累啊"))[:2] == pytest.approx((3 / 4, math.sqrt(3 / 4 * 1 / 3)))


def test_rouge_l_by_hand() -> None:
    # longest common subsequence of 我今天很累 (5) and 今天我累 (4): 今天累 = 3; P = 3/4, R = 3/5
    assert rouge_l(list("我今天很累"), list("今天我累")) == pytest.approx(2 * 0.75 * 0.6 / 1.35)


@pytest.mark.parametrize("seed", range(20))
def test_rouge_l_is_that_of_rouge_score(seed: int) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    class Spaced:
        def tokenize(self, text: str) -> list[str]:
            return text.split()

    wanted, told = drawn(seed), drawn(seed + 100)
    theirs = RougeScorer(["rougeL"], tokenizer=Spaced()).score(" ".join(wanted), " ".join(told))["rougeL"].fmeasure
    assert rouge_l(wanted, told) == pytest.approx(theirs)


@pytest.mark.parametrize("seed", range(20))
def test_bleu_is_sacrebleus_where_all_orders_match(seed: int) -> None:
    from sacrebleu.metrics.bleu import BLEU

    told = drawn(seed) + list("天地玄黄")
    wanted = told[: len(told) // 2] + list("天地玄黄宇") + told[len(told) // 2 :]
    ours = bleu(wanted, told)
    for order in (1, 2, 3):
        theirs = BLEU(max_ngram_order=order, tokenize="none", effective_order=True, smooth_method="none")
        assert ours[order - 1] == pytest.approx(theirs.sentence_score(" ".join(told), [" ".join(wanted)]).score / 100)


def test_a_short_reference_has_no_longer_ngrams_that_could_be_met() -> None:
    """好 and 好的呢: 1 of 3 signs, none of 2 pairs and none of 1 triple, each counted as a tenth of one."""
    assert bleu(list("好"), list("好的呢"))[2] == pytest.approx((1 / 3 * 0.1 / 2 * 0.1 / 1) ** (1 / 3))


def test_every_formula_is_told() -> None:
    from smile_async.chatbot.evaluation import PER_CASE

    assert set(PER_CASE) <= set(metrics.FORMULAS)
