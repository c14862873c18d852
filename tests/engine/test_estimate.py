"""Tokens before they are known."""

import math
import random

import pytest

from smile_async.engine.estimate import FIRST_COMPLETION, MEMORY, MOST_COMPLETION, Expected, TokenEstimate, bounded
from smile_async.engine.job import Message, Request, Usage


def request(characters: int, max_tokens: int | None = None) -> Request:
    return Request((Message("user", "字" * characters),), max_tokens)


def taught(*completions: int, characters: int = 100, prompt: int = 80) -> TokenEstimate:
    estimate = TokenEstimate()
    for completion in completions:
        estimate.learn(request(characters), Usage(prompt, completion))
    return estimate


def test_before_any_reply_a_character_is_a_token_and_an_answer_a_thousand() -> None:
    assert TokenEstimate().expect(request(840)) == Expected(840.0, 1_000.0)
    assert TokenEstimate().expect(request(840)).total == 1_840.0


def test_the_first_reply_replaces_the_guess() -> None:
    expected = taught(500).expect(request(200))
    assert expected == Expected(160.0, 500.0)  # 80 tokens for 100 characters


def test_means_and_spread_are_those_of_the_replies() -> None:
    estimate = taught(400, 600, 500)
    assert estimate.expect(request(100)).completion == pytest.approx(500)
    # population variance: (100² + 100² + 0²) / 3
    assert estimate.spread == pytest.approx(math.sqrt(20_000 / 3))


def test_max_tokens_caps_what_is_expected() -> None:
    assert taught(500).expect(request(100, max_tokens=300)).completion == 300.0


def test_older_replies_fade_so_that_a_change_of_the_source_is_followed() -> None:
    estimate = taught(*[100] * 5_000, *[900] * 3 * MEMORY)
    # after 3 memories, e**-3 = 5 % of the old 100 is left: 900 - 0.05 * 800
    assert estimate.expect(request(1)).completion == pytest.approx(900 - math.exp(-3) * 800, abs=2)


def test_the_ceiling_is_max_tokens_where_set_else_mean_and_four_deviations() -> None:
    assert taught(500).ceiling(request(100, max_tokens=700)).completion == 700.0
    estimate = taught(400, 600)
    assert estimate.ceiling(request(100)).completion == pytest.approx(500 + 4 * 100)
    assert TokenEstimate().ceiling(request(100)).completion == 2 * FIRST_COMPLETION


def test_the_ceiling_of_a_prompt_is_a_token_a_byte_and_what_a_template_adds_whatever_was_seen() -> None:
    """No byte-level tokenizer makes more: three bytes a Chinese character, 16 tokens a message."""
    assert taught(500).ceiling(request(100)).prompt == 100 * 3 + 16
    two = Request((Message("system", "ab"), Message("user", "字")))
    assert TokenEstimate().ceiling(two).prompt == 2 + 16 + 3 + 16


def test_a_bounded_request_has_a_max_tokens() -> None:
    assert bounded(request(1, max_tokens=7)).max_tokens == 7
    assert bounded(request(1)).max_tokens == MOST_COMPLETION


def test_an_empty_prompt_teaches_nothing_about_prompts() -> None:
    estimate = TokenEstimate()
    estimate.learn(request(0), Usage(10, 500))
    assert estimate.expect(request(100)) == Expected(100.0, 500.0)


def test_doubt_about_a_sum_has_the_spread_of_its_parts_and_of_the_mean() -> None:
    estimate = taught(*[400, 600] * 50)  # spread 100, 100 replies
    assert estimate.doubt(1) == pytest.approx(100 * math.sqrt(1 + 1 / 100))
    assert estimate.doubt(100) == pytest.approx(100 * math.sqrt(100 + 100))


def test_doubt_holds_for_sums_of_requests_in_flight() -> None:
    """Of 2,000 sums of 30 completions about 30 times the learned mean, 3 deviations hold all but a few."""
    chance = random.Random(1)
    beyond = 0
    for _ in range(2_000):
        estimate = taught(*(chance.randint(200, 800) for _ in range(60)))
        in_flight = sum(chance.randint(200, 800) for _ in range(30))
        beyond += abs(in_flight - 30 * estimate.expect(request(1)).completion) > 3 * estimate.doubt(30)
    assert beyond <= 20  # a normal distribution leaves 0.27 percent: 5


def test_its_repr_says_what_it_has_learned() -> None:
    assert repr(taught(400, 600)) == "<TokenEstimate [0.80 tokens a character, 500 ± 100 a completion, 2 seen]>"
