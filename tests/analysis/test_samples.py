"""Samples are drawn by seed, say out of how many, and show what a model wrote as it wrote it."""

from collections import Counter
from pathlib import Path

from smile_async.analysis.samples import LONGEST, Wanted, corpus_samples, run_samples, spoken_lines
from smile_async.corpus.formats import Record
from smile_async.dialogue.model import Dialogue, Utterance
from smile_async.engine import schema
from smile_async.prompt.recipe import load_recipe
from tests.analysis.hostile import HOSTILE, hostile_run

FORM = load_recipe("smile").format


def records(count: int, text: str = "好") -> list[Record]:
    dialogue = Dialogue(utterances=(Utterance(role="client", content=text),))
    return [Record(str(number), "", None, dialogue) for number in range(count)]


def test_a_seed_draws_the_same_again_and_another_seed_others() -> None:
    drawn = [[one.row_id for one in corpus_samples(records(500), Wanted(8, 0, seed)).samples] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == sorted(drawn[0], key=int)  # in the corpus's order


def test_every_record_has_the_same_chance() -> None:
    """4 of 10 in 2,000 draws: 800 each, with a standard deviation of sqrt(2000 * 0.4 * 0.6) = 21.9."""
    times = Counter(
        one.row_id for seed in range(2_000) for one in corpus_samples(records(10), Wanted(4, 0, seed)).samples
    )
    assert all(abs(times[str(number)] - 800) < 4.5 * 21.9 for number in range(10))


def test_a_run_shows_some_of_each_reason_and_says_of_how_many(tmp_path: Path) -> None:
    with schema.reading(hostile_run(tmp_path)) as reader:
        found = run_samples(reader, FORM, Wanted(2, 1))
    assert found.of == {"accepted": 3, "bad-speaker": 2}
    assert [one.reason for one in found.samples] == ["accepted", "accepted", "bad-speaker"]
    rejected = found.samples[-1]
    assert (rejected.end, rejected.detail) == ("set-aside", "line 3 of 13 has no speaker")
    assert rejected.said[2] == ("", HOSTILE[1])  # the line that has none, where it stood
    assert rejected.pair is not None


def test_nothing_wanted_is_no_word_of_anybody(tmp_path: Path) -> None:
    with schema.reading(hostile_run(tmp_path)) as reader:
        found = run_samples(reader, FORM, Wanted(0, 0))
    assert (found.samples, found.of["accepted"]) == ((), 3)


def test_written_line_breaks_part_lines_and_nothing_is_left_out() -> None:
    assert spoken_lines("前言\\n求助者: 你好\n支持者：在", FORM) == [
        ("", "前言"),
        ("client", "你好"),
        ("counselor", "在"),
    ]


def test_a_model_that_never_ended_fills_no_page() -> None:
    [one] = corpus_samples(records(1, "哈" * (LONGEST + 5)), Wanted(1)).samples
    assert (len(one.said[0][1]), one.cut) == (LONGEST, 5)
