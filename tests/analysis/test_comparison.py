"""Sets side by side: each measured as by itself."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from smile_async.analysis.comparison import SetVectors, compare, laid_beside, size_notes
from smile_async.analysis.digests import text_digest, told
from smile_async.analysis.lexical import Lexical, Ngrams, distinct
from smile_async.analysis.pairs import pair_cosines
from smile_async.analysis.semantic import Vectors, other_cosines, own_cosines, transformation
from smile_async.analysis.sets import Member, TextSet
from smile_async.analysis.vectors import Vectors as Held
from smile_async.corpus.formats import Record
from smile_async.dialogue.model import Dialogue, QAPair, Utterance
from smile_async.errors import UsageError

ROWS = 40


def _dialogues(name: str, word: str) -> TextSet:
    def read() -> Iterator[Member]:
        for number in range(ROWS):
            said = (
                Utterance(role="client", content=f"{word}{number}。"),
                Utterance(role="counselor", content=f"{number}好。{word}。"),
            )
            yield Record(str(number), "", None, Dialogue(utterances=said))

    return TextSet(name, Path(name), read)


def _qas(name: str) -> TextSet:
    return TextSet(name, Path(name), lambda: iter([QAPair(question="问", answer="答")] * 3), single_turn=True)


def _vectors(seed: int, spread: float = 0.5) -> Vectors:
    chance = np.random.default_rng(seed)
    return (np.ones(16) + spread * chance.standard_normal((ROWS, 16))).astype(np.float32)


def _beside(questions: Vectors, dialogues: Vectors) -> SetVectors:
    return SetVectors(dialogues, questions, dialogues)


def test_each_set_is_measured_as_by_itself() -> None:
    first, second = _dialogues("first", "睡觉"), _qas("qas")
    told = compare([first, second])
    assert [one.lexical for one in told.sets] == [distinct(first.texts()), distinct(second.texts())]
    statistics = told.sets[0].statistics
    assert statistics is not None
    assert (statistics.dialogues, statistics.sentences.total.count) == (ROWS, 3 * ROWS)
    assert told.sets[1].statistics is None  # a QA has no turns
    assert (told.sets[0].pairs, told.sets[0].own, told.sets[0].line) == (None, None, None)


def test_figures_4_and_5_and_what_lies_beyond_anothers_line() -> None:
    questions = _vectors(0)
    close = _beside(questions, questions + _vectors(1, spread=0.05))
    far = _beside(questions, _vectors(2))
    told = compare([_dialogues("close", "a"), _dialogues("far", "b")], vectors={"close": close, "far": far}, seed=7)
    one, other = told.sets
    wanted = transformation(questions, close.texts, seed=7)
    assert (one.own, one.other, one.line) == (wanted.own, wanted.other, wanted.line)
    assert one.pairs == pair_cosines(close.texts)
    shares = {(each.of, each.line_of): (each.own, each.other) for each in told.beyond}
    assert len(shares) == 4
    own, random = own_cosines(questions, far.texts), other_cosines(questions, far.texts, seed=7)
    assert one.line is not None
    assert shares["far", "close"] == ((own < one.line).mean(), (random < one.line).mean())
    assert shares["far", "close"][0] > 0.9
    assert shares["close", "far"][0] < 0.1
    assert other.own is not None


def test_vectors_without_those_of_qas_give_figure_5_alone() -> None:
    told = compare([_dialogues("one", "a")], vectors={"one": SetVectors(_vectors(0))})
    assert told.sets[0].pairs is not None
    assert told.sets[0].own is None
    assert told.beyond == ()


def test_names_are_told_apart() -> None:
    with pytest.raises(UsageError, match="Two sets are called 'a'"):
        compare([_qas("a"), _qas("a")])
    with pytest.raises(UsageError, match="none of the sets"):
        compare([_qas("a")], vectors={"b": SetVectors(_vectors(0))})


def _held(ids: list[str], what: list[str], array: Vectors, digests: tuple[str, ...] = ()) -> Held:
    return Held(tuple(ids), tuple(what), (False,) * len(ids), array.astype(np.float32), digests)


def test_vectors_are_laid_beside_their_texts_by_id_and_those_that_lack_are_counted() -> None:
    there = [number for number in reversed(range(ROWS)) if number not in {3, 5}]
    ids = [*map(str, there), *map(str, there[:10])]
    what = ["dialogue"] * len(there) + ["qa"] * 10
    array = np.arange(len(ids), dtype=np.float32)[:, None]
    held = laid_beside(_dialogues("one", "a"), _held(ids, what, array))
    assert held.lacking == 2
    assert held.fates == {"unchecked": ROWS - 2, "missing": 2}  # a file of before there were digests
    assert held.texts[:3, 0].tolist() == [37.0, 36.0, 35.0]  # of 0, 1, 2, which stand last; 38 are there
    assert held.texts.shape == (ROWS - 2, 1)
    assert held.dialogues is not None
    assert held.questions is not None
    assert held.dialogues[:, 0].tolist() == list(range(9, -1, -1))  # of 30 to 39
    assert held.questions[:, 0].tolist() == list(range(38 + 9, 38 - 1, -1))


def test_qas_are_their_own_texts() -> None:
    held = laid_beside(_qas("PsyQA*"), _held(["0", "1", "2"], ["qa"] * 3, np.eye(3)))
    assert held.texts.tolist() == np.eye(3).tolist()
    assert held.questions is None


def test_vectors_of_other_texts_are_refused() -> None:
    with pytest.raises(UsageError, match="are of other texts"):
        laid_beside(_dialogues("one", "a"), _held(["x", "y"], ["dialogue"] * 2, np.eye(2)))


def _digest(number: int, word: str) -> str:
    return text_digest(f"{word}{number}。\n{number}好。{word}。")


def test_vectors_of_other_texts_under_the_same_ids_are_refused() -> None:
    """Each corpus of SMILECHAT's form calls its dialogues 0, 1, 2, ..."""
    others = tuple(_digest(number, "b") for number in range(ROWS))
    with pytest.raises(UsageError, match="are of other texts"):
        laid_beside(_dialogues("one", "a"), _held([*map(str, range(ROWS))], ["dialogue"] * ROWS, _vectors(0), others))


def test_a_text_that_has_changed_is_left_out_and_counted() -> None:
    digests = (_digest(0, "a"), _digest(1, "before"), _digest(2, "a"))
    held = laid_beside(_dialogues("one", "a"), _held(["0", "1", "2"], ["dialogue"] * 3, np.eye(3), digests))
    assert held.texts.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert held.fates == {"same": 2, "changed": 1, "missing": ROWS - 3}
    assert held.lacking == ROWS - 2
    assert compare([_dialogues("one", "a")], vectors={"one": held}).sets[0].as_json()["changed_texts"] == 1


def test_one_dialogue_with_its_vector_is_no_stranger_and_has_no_figure() -> None:
    single = TextSet("one", Path("one"), lambda: islice(_dialogues("one", "a").read(), 1))
    held = laid_beside(single, _held(["0", "0"], ["dialogue", "qa"], np.eye(2), (_digest(0, "a"), "")))
    [told] = compare([single], vectors={"one": held}).sets
    assert (told.pairs, told.own, told.lacking) == (None, None, 0)


def test_what_to_do_about_changed_texts_and_files_without_digests_is_told() -> None:
    lines = told({"same": 5, "changed": 2, "unchecked": 3, "missing": 1}, "labels", "t", "smile topics annotate c t")
    assert lines[0].startswith("2 of 11 texts are others than those that the labels in t were made of")
    assert lines[0].endswith("smile topics annotate c t")
    assert "3 of 11 were matched by id alone" in lines[1]
    assert told({"same": 5, "missing": 1}, "labels", "t", "") == []


def _lexical(texts: int, tokens: int) -> Lexical:
    return Lexical(texts, "characters", (Ngrams(1, 10, tokens),))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([(500, 1_000), (500, 1_199)], None),
        ([(500, 3_000), (100, 1_000)], "has 3.0 times the tokens of b, which by itself makes its share lower. Draw as many of each: --sample 100."),
        ([(500, 1_000), (500, 4_000)], "b has 4.0 times the tokens of a, which by itself makes its share lower. They have as many texts, of other lengths"),
        ([], None),
    ],
)  # fmt: skip
def test_sets_of_other_sizes_say_that_distinct_n_cannot_be_set_side_by_side(
    sizes: list[tuple[int, int]], words: str | None
) -> None:
    notes = size_notes([_lexical(*size) for size in sizes], ["a", "b"][: len(sizes)])
    assert (words in notes[0]) if words is not None else notes == ()
