"""What is decided for a request: by seed, prompt and ordinal alone, in the shares that were asked for."""

import re
from collections import Counter

import pytest
from pydantic import ValidationError

from smile_async.engine.job import Message, Usage
from smile_async.simulate import Breach, Fault, Latency, LimitSettings, SimulatorSettings
from smile_async.simulate.behaviour import LOOPS, Action, Ask, Behaviour, Plan, count_tokens, cut_to_tokens, prompt_key

PREFIX = re.compile(r"(求助者|支持者)[:：] ?")
SEPARATOR = re.compile(r"(?:\\n|\n)+")


def ask(prompt: str, max_tokens: int | None = None) -> Ask:
    return Ask(prompt_key([Message("user", prompt)]), count_tokens(prompt), max_tokens=max_tokens)


def plans(count: int = 200, **settings: object) -> list[Plan]:
    behaviour = Behaviour(SimulatorSettings.model_validate(settings))
    return [behaviour.decide(ask(f"问题{n}"), 0) for n in range(count)]


def text_of(plan: Plan) -> str:
    assert plan.completion is not None
    assert plan.completion.text is not None
    return plan.completion.text


def test_the_same_seed_prompt_and_ordinal_give_the_same_plan_and_another_of_each_gives_another() -> None:
    def text(seed: int, prompt: str, ordinal: int) -> str:
        return text_of(Behaviour(SimulatorSettings(seed=seed)).decide(ask(prompt), ordinal))

    assert text(1, "甲", 0) == text(1, "甲", 0)
    assert len({text(1, "甲", 0), text(2, "甲", 0), text(1, "乙", 0), text(1, "甲", 1)}) == 4


def test_each_fault_and_breach_comes_in_its_share() -> None:
    shares = {"reset": 0.1, "content-filter": 0.2, "truncated": 0.1}
    found = Counter(plan.fault for plan in plans(4000, faults=shares, breaches={"bad-start": 0.2}))
    # 4,000 draws: the standard deviation of a share of 0.2 is sqrt(0.2 * 0.8 / 4000) = 0.0063; four of them are allowed
    for name, share in {**shares, "bad-start": 0.2, "": 0.4}.items():
        assert found[name] / 4000 == pytest.approx(share, abs=4 * 0.0078), name


def test_a_content_filter_belongs_to_the_prompt_and_other_faults_to_the_ask() -> None:
    behaviour = Behaviour(SimulatorSettings(faults={Fault.CONTENT_FILTER: 0.3, Fault.SERVER_ERROR: 0.3}))
    by_prompt = [[behaviour.decide(ask(f"{n}"), k).fault for k in range(12)] for n in range(60)]
    filtered = [row for row in by_prompt if "content-filter" in row]
    assert filtered
    assert all(set(row) == {"content-filter"} for row in filtered)
    assert any(len(set(row)) == 2 for row in by_prompt)


def test_after_fault_asks_a_prompt_meets_no_fault_any_more() -> None:
    behaviour = Behaviour(SimulatorSettings(faults={Fault.SERVER_ERROR: 1.0}, fault_asks=2))
    assert [behaviour.decide(ask("问"), n).status for n in range(4)] == [500, 500, 200, 200]


def test_shares_over_one_are_refused_with_their_sum() -> None:
    with pytest.raises(ValidationError, match=r"sum to 1\.2"):
        SimulatorSettings(faults={Fault.RESET: 0.7}, breaches={Breach.BAD_START: 0.5})


def test_ordinary_answers_are_twelve_to_sixteen_alternating_utterances_that_never_repeat_a_sentence() -> None:
    texts = [text_of(plan) for plan in plans(300)]
    for text in texts:
        lines = SEPARATOR.split(text)
        assert 12 <= len(lines) <= 16
        assert all(line.startswith(("求助者", "支持者")[n % 2]) for n, line in enumerate(lines))
        sentences = re.findall(r"[^。！？]+[。！？]", "".join(PREFIX.sub("", line) for line in lines))
        assert len(sentences) == len(set(sentences))
    assert 850 < sum(map(len, texts)) / len(texts) < 1050
    assert len(set(texts)) == 300


def test_answers_use_all_four_prefixes_and_both_kinds_of_separator() -> None:
    texts = [text_of(plan) for plan in plans(300)]
    assert {match.group()[3:] for text in texts for match in PREFIX.finditer(text)} == {":", ": ", "：", "： "}
    kinds = Counter(("\\n" in text, "\n" in text) for text in texts)
    assert set(kinds) == {(True, False), (False, True), (True, True)}


def test_bad_start_has_an_introduction_before_the_first_speaker() -> None:
    for plan in plans(20, breaches={"bad-start": 1}):
        assert not text_of(plan).startswith(("求助者", "支持者"))


def test_no_separator_has_none() -> None:
    assert not any(SEPARATOR.search(text_of(plan)) for plan in plans(20, breaches={"no-separator": 1}))


def test_bad_speaker_breaks_one_utterance_in_the_middle() -> None:
    for plan in plans(20, breaches={"bad-speaker": 1}):
        bad = [not PREFIX.match(line) for line in SEPARATOR.split(text_of(plan))]
        assert sum(bad) == 1
        assert not bad[0]
        assert not bad[-1]


def test_english_tail_ends_the_last_utterance_with_an_english_sentence() -> None:
    for plan in plans(20, breaches={"english-tail": 1}):
        last = SEPARATOR.split(text_of(plan))[-1]
        assert PREFIX.match(last)
        assert len(re.findall(r"[A-Za-z]+", last)) > 5


def test_too_few_turns_are_two_to_four_exchanges() -> None:
    found = {len(SEPARATOR.split(text_of(plan))) // 2 for plan in plans(60, breaches={"too-few-turns": 1})}
    assert found == {2, 3, 4}


def test_repetition_says_one_exchange_over_and_over() -> None:
    lines = [PREFIX.sub("", line) for line in SEPARATOR.split(text_of(plans(1, breaches={"repetition": 1})[0]))]
    assert max(Counter(lines).values()) == LOOPS


def test_a_truncated_answer_ends_inside_an_utterance_and_says_length() -> None:
    for plan in plans(50, faults={"truncated": 1}):
        assert plan.completion is not None
        assert plan.completion.finish_reason == "length"
        assert text_of(plan)[-1] not in "。！？ \n"


def test_max_tokens_cuts_the_answer_at_its_ceiling() -> None:
    completion = Behaviour(SimulatorSettings()).decide(ask("问", max_tokens=100), 0).completion
    assert completion is not None
    assert completion.finish_reason == "length"
    assert 99 <= completion.usage.completion_tokens <= 100


def test_tokens_are_seven_tenths_a_chinese_character_and_a_quarter_an_ascii_one() -> None:
    assert count_tokens("") == 0
    assert count_tokens("心" * 10) == 7
    assert count_tokens("abcd" * 10) == 10
    assert count_tokens("心ab") == 2  # 0.7 + 0.5, rounded up
    assert cut_to_tokens("心" * 100, 7) == "心" * 10


def test_latency_is_base_plus_tokens_spread_by_the_jitter() -> None:
    found = plans(500, latency=Latency(base=1, per_token=0.01, jitter=0.2))
    ratios = [p.latency / (1 + 0.01 * p.completion.usage.completion_tokens) for p in found if p.completion]
    assert all(0.8 <= ratio <= 1.2 for ratio in ratios)
    assert max(ratios) - min(ratios) > 0.35


def test_a_slow_answer_takes_slow_factor_times_as_long() -> None:
    ordinary = plans(1, latency=Latency(jitter=0, base=0.2))[0]
    slow = plans(1, latency=Latency(jitter=0, base=0.2), faults={"slow": 1}, slow_factor=7)[0]
    assert slow.latency == pytest.approx(7 * ordinary.latency)
    assert text_of(slow) == text_of(ordinary)


def test_what_is_charged_is_prompt_and_completion_or_prompt_and_max_tokens() -> None:
    actual = Behaviour(SimulatorSettings()).decide(ask("问" * 10, max_tokens=5000), 0)
    assert actual.completion is not None
    assert actual.charge == actual.completion.usage == Usage(7, actual.completion.usage.completion_tokens)
    ceiling = SimulatorSettings(limits=LimitSettings(charge="max_tokens"))
    assert Behaviour(ceiling).decide(ask("问" * 10, max_tokens=5000), 0).charge == Usage(7, 5000)


@pytest.mark.parametrize(
    ("fault", "billed", "action"),
    [
        (Fault.SERVER_ERROR, False, Action.ANSWER),
        (Fault.RESET, False, Action.RESET),
        (Fault.HANG, True, Action.HANG),
        (Fault.CUT_BODY, True, Action.CUT),
        (Fault.BROKEN_JSON, True, Action.ANSWER),
    ],
)
def test_what_was_generated_is_billed_whether_it_arrives_or_not(fault: Fault, billed: bool, action: Action) -> None:
    plan = plans(1, faults={fault: 1})[0]
    assert (plan.billed, plan.action) == (billed, action)


def test_a_prompt_is_named_by_roles_and_contents() -> None:
    keys = {
        prompt_key([Message("user", "甲")]),
        prompt_key([Message("system", "甲")]),
        prompt_key([Message("user", "甲"), Message("user", "乙")]),
    }
    assert len(keys) == 3


@pytest.mark.parametrize("fault", [Fault.TRUNCATED, Fault.REFUSAL, Fault.REFUSAL_TEXT])
def test_no_answer_takes_more_tokens_than_it_was_allowed(fault: Fault) -> None:
    behaviour = Behaviour(SimulatorSettings(faults={fault: 1.0}))
    for number in range(20):
        completion = behaviour.decide(ask(f"问题{number}", max_tokens=5), 0).completion
        assert completion is not None
        assert completion.usage.completion_tokens <= 5
        assert completion.finish_reason == "length"
