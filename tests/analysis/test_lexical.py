"""distinct-n, with the arithmetic in sight and against sets of tuples."""

from collections.abc import Sequence
from math import isnan
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smile_async.analysis import lexical
from smile_async.analysis.arrays import np
from smile_async.analysis.lexical import Ngrams, dialogue_text, distinct, own_distinct, own_ratios, pair_text
from smile_async.analysis.tokenization import Tokens, numbered, tokens_of
from smile_async.dialogue.model import Dialogue, QAPair, Utterance
from smile_async.errors import UsageError

SHORT = st.lists(st.text(alphabet="好不睡 。\na\U0001f600", max_size=9), max_size=9)


def _by_sets(texts: Sequence[str], n: int) -> tuple[int, int]:
    """The definition, another way: tuples in a set."""
    kept = [[one for one in text if not one.isspace()] for text in texts]
    grams = [tuple(text[at : at + n]) for text in kept for at in range(len(text) - n + 1)]
    return len(set(grams)), len(grams)


def test_table_1_counts_ngrams_within_a_dialogue() -> None:
    told = distinct(["好好睡", "睡好"])
    # 好 好 睡 | 睡 好; 好好 好睡 | 睡好, and not 睡睡 from one dialogue into the next; 好好睡 | none
    assert told.ngrams == (Ngrams(1, 2, 5), Ngrams(2, 3, 3), Ngrams(3, 1, 1))
    assert told.ngrams[0].distinct == 2 / 5
    assert (told.texts, told.tokenizer) == (2, "characters")


def test_total_bigrams_are_total_unigrams_less_one_a_dialogue() -> None:
    """As in Table 1: 253,585 + 500 = 254,085 = 254,585 - 500."""
    totals = [one.total for one in distinct(["今天很好", "明天见", "嗯嗯"]).ngrams]
    assert totals == [9, 9 - 3, 9 - 3 - 3]


@given(SHORT)
def test_distinct_agrees_with_sets_of_tuples(texts: list[str]) -> None:
    told = distinct(texts)
    assert [(one.unique, one.total) for one in told.ngrams] == [_by_sets(texts, n) for n in (1, 2, 3)]


@given(texts=SHORT, characters=st.integers(1, 12))
def test_blocks_change_nothing(texts: list[str], characters: int) -> None:
    whole = distinct(texts), own_distinct(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lexical, "BLOCK_CHARACTERS", characters)
        parts = distinct(texts), own_distinct(texts)
    assert parts[0] == whole[0]
    assert repr(parts[1]) == repr(whole[1])  # nan is not nan


@given(SHORT)
def test_own_distinct_agrees_with_each_text_by_itself(texts: list[str]) -> None:
    for told in own_distinct(texts):
        pairs = [_by_sets([text], told.n) for text in texts]
        shares = [unique / total for unique, total in pairs if total]
        assert (told.counted, told.without) == (len(shares), len(texts) - len(shares))
        assert isnan(told.mean) if not shares else told.mean == pytest.approx(fmean(shares), abs=1e-12)


def test_table_5_is_the_mean_of_each_response() -> None:
    first, second, third = own_distinct(["好好睡", "睡"])
    assert first.mean == (2 / 3 + 1 / 1) / 2
    assert (second.mean, second.counted, second.without) == (1.0, 1, 1)  # 好好 好睡; 睡 has no bigram
    assert (third.mean, third.counted) == (1.0, 1)


def test_each_text_has_its_own_share_of_different_ngrams() -> None:
    tokens = numbered(["好好好的", "", "好"], {})
    assert own_ratios(tokens, 1).tolist()[::2] == [2 / 4, 1.0]
    assert own_ratios(tokens, 2).tolist()[0] == 2 / 3  # 好好, 好好, 好的
    assert np.isnan(own_ratios(tokens, 1)).tolist() == [False, True, False]
    assert np.isnan(own_ratios(tokens, 2)).tolist() == [False, True, True]


def test_no_text_has_no_share() -> None:
    told = distinct([])
    assert [one.total for one in told.ngrams] == [0, 0, 0]
    assert isnan(told.ngrams[0].distinct)


class Numbered:
    """Texts of numbers, such as '7 2097151'."""

    name = "numbered"

    def encode(self, texts: Sequence[str]) -> Tokens:
        return tokens_of([[int(one) for one in text.split()] for text in texts])


def test_the_largest_numbers_do_not_run_into_each_other() -> None:
    largest = 2**21 - 1
    told = distinct([f"{largest} 0 {largest} 0", f"0 {largest} {largest}"], Numbered())
    # bigrams: (L,0) twice, (0,L) twice, (L,L); trigrams: L0L, 0L0, 0LL
    assert [(one.unique, one.total) for one in told.ngrams] == [(2, 7), (3, 5), (3, 3)]


def test_a_vocabulary_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="2,097,152"):
        distinct([str(2**21)], Numbered())


def test_only_n_of_1_to_3_is_counted() -> None:
    with pytest.raises(UsageError, match="1, 2 or 3"):
        distinct(["好"], orders=(4,))


def test_texts_are_strings_without_speakers() -> None:
    dialogue = Dialogue(
        utterances=(Utterance(role="client", content="你好"), Utterance(role="counselor", content="请坐"))
    )
    assert dialogue_text(dialogue) == "你好请坐"  # Equation 2
    assert pair_text(QAPair(question="问", description="述", answer="答")) == "问述答"
