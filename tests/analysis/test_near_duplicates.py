"""Later dialogues that repeat earlier ones are found; those that only share a topic are not."""

import random

import pytest

from smile_async.analysis.near_duplicates import SHINGLE, jaccard, near_duplicates, shingles
from smile_async.errors import UsageError

ALPHABET = [chr(code) for code in range(0x4E00, 0x4E00 + 2_000)]


def text(seed: int, length: int = 400) -> str:
    return "".join(random.Random(seed).choices(ALPHABET, k=length))


def test_a_shingle_is_five_characters_or_words_and_signs_do_not_count() -> None:
    assert shingles("我今天很累。") == {"我\0今\0天\0很\0累"}
    assert shingles("我 今天，很累！！") == shingles("我今天很累")
    assert shingles("Today I am ＶＥＲＹ tired now") == {"today\0i\0am\0very\0tired", "i\0am\0very\0tired\0now"}
    assert len(shingles(text(1, 100))) == 100 - SHINGLE + 1


def test_a_short_text_is_one_shingle_and_signs_alone_are_none() -> None:
    assert shingles("好的") == {"好\0的"}
    assert shingles("……！") == frozenset()


def test_jaccard_by_hand() -> None:
    assert jaccard(frozenset("abc"), frozenset("bcde")) == pytest.approx(2 / 5)  # b, c of a, b, c, d, e
    assert jaccard(frozenset(), frozenset()) == 1.0


def test_the_later_one_of_two_that_are_alike_is_found_with_its_exact_similarity() -> None:
    first = text(1)
    changed = first[:200] + "变" + first[201:]  # five of 396 shingles differ: 391 / 401
    [found] = near_duplicates([first, text(2), changed])
    assert (found.place, found.first) == (2, 0)
    assert found.similarity == pytest.approx(391 / 401)


def test_the_same_words_are_wholly_alike() -> None:
    assert [one.similarity for one in near_duplicates(["好的，谢谢你。", "好的 谢谢你"])] == [1.0]


def test_what_stays_below_the_threshold_is_kept() -> None:
    first = text(3)
    half = first[:200] + text(4, 200)
    assert list(near_duplicates([first, half])) == []


@pytest.mark.parametrize("seed", range(3))
def test_no_pair_above_the_threshold_is_missed(seed: int) -> None:
    draw = random.Random(seed)
    texts = [text(1_000 * seed + number, 120) for number in range(60)]
    for number in range(60):  # one in fifty characters is another
        changed = [draw.choice(ALPHABET) if draw.random() < 0.02 else sign for sign in texts[number]]
        texts.append("".join(changed))
    wanted = {
        60 + number for number in range(60) if jaccard(shingles(texts[number]), shingles(texts[60 + number])) >= 0.8
    }
    assert len(wanted) > 20
    assert {one.place for one in near_duplicates(texts, 0.8)} == wanted


def test_of_many_that_are_alike_all_but_the_first_are_found() -> None:
    base = text(9)
    found = list(near_duplicates([base[:-1] + ALPHABET[number] for number in range(5)]))
    assert [(one.place, one.first) for one in found] == [(number, 0) for number in range(1, 5)]


def test_texts_without_words_are_no_duplicates_of_each_other() -> None:
    assert list(near_duplicates(["", "！！"])) == []


@pytest.mark.parametrize("threshold", [0.0, 0.49, 1.01])
def test_a_threshold_that_the_index_cannot_serve_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold"):
        list(near_duplicates([], threshold))
