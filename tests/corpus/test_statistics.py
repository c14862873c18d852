"""Tables 3 and 6 on a corpus small enough to count by hand, and the sentence splitter against one written without it."""

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smile_async.corpus.formats import Record, RoleMap
from smile_async.corpus.statistics import ENDS, UNITS, Amount, Speech, corpus_statistics, paper_table, sentences
from smile_async.dialogue.model import Dialogue, Utterance
from tests.corpus.said import record

# Client: 我累。睡不着！！ (2 sentences of 3 and 5), 好 (1 of 1). Counselor: 嗯？多久了？说说看 (3 of 2, 4, 3).
FIRST = "c:我累。睡不着！！ s:嗯？多久了？说说看 c:好"
# Counselor: 你好。 (1 of 3), 在吗。 (1 of 3). Client: 在 (1 of 1).
SECOND = "s:你好。 s:在吗。 c:在"


def test_a_corpus_counted_by_hand() -> None:
    found = corpus_statistics([record(1, FIRST), record(2, SECOND)])
    assert asdict(found.sentences) == {
        "client": {"count": 2 + 1 + 1, "characters": 8 + 1 + 1},
        "counselor": {"count": 3 + 1 + 1, "characters": 9 + 3 + 3},
        "others": {"count": 0, "characters": 0},
    }
    assert asdict(found.utterances) == {
        "client": {"count": 3, "characters": 8 + 1 + 1},
        "counselor": {"count": 3, "characters": 9 + 3 + 3},
        "others": {"count": 0, "characters": 0},
    }
    assert found.dialogues == 2
    assert found.turns_per_dialogue == (3 + 3) / 2 / 2
    assert found.turns == {1: 2}  # 3 // 2, twice
    assert found.below_min_turns == 2
    assert found.test_cases == 1 + 1  # the one in FIRST, and in SECOND the one that has a line before it
    assert (found.non_alternating, found.spoken_twice, found.one_sided) == (1, 1, 0)
    assert (found.opened_by_counselor, found.ended_by_client) == (1, 2)


def test_the_tables_are_printed_as_the_papers() -> None:
    """Sentences: 9 in 2 dialogues are 4.5, 25 characters / 9 = 2.78; utterances: 6, 25 / 6 = 4.17."""
    found = corpus_statistics([record(1, FIRST), record(2, SECOND)])
    assert [(line.name, *line.printed()) for line in paper_table(found, "sentences")] == [
        ("Dialogues", "2", "-", "-"),
        ("Sentences", "9", "4", "5"),
        ("Turns per dialogue", "1.5", "-", "-"),
        ("Sentences per dialogue", "4.5", "2.0", "2.5"),
        ("Characters per sentence", "2.8", "2.5", "3.0"),
    ]
    assert [(line.name, *line.printed()) for line in paper_table(found, "utterances")] == [
        ("Dialogues", "2", "-", "-"),
        ("Utterances", "6", "3", "3"),
        ("Turns per dialogue", "1.5", "-", "-"),
        ("Utterances per dialogue", "3.0", "1.5", "1.5"),
        ("Characters per utterance", "4.2", "3.3", "5.0"),
        ("Test cases", "2", "-", "-"),
    ]


def test_table_3s_averages_follow_from_its_counts() -> None:
    """1,833,856, 693,756 and 1,140,100 sentences in 55,165 dialogues are printed as 33.2, 12.6 and 20.7."""
    speech = Speech(client=Amount(693_756, 0), counselor=Amount(1_140_100, 0))
    scaled = replace(corpus_statistics([]), dialogues=55_165, sentences=speech)
    printed = {line.name: line.printed() for line in paper_table(scaled, "sentences")}
    assert printed["Sentences"] == ("1833856", "693756", "1140100")
    assert printed["Sentences per dialogue"] == ("33.2", "12.6", "20.7")
    assert paper_table(scaled, "sentences")[1].printed(",")[0] == "1,833,856"


@pytest.mark.parametrize(
    ("spoken", "seen"),
    [
        ("c:一 s:二 c:三 s:四", {}),
        ("", {"one_sided": 1}),
        ("c:一", {"one_sided": 1, "ended_by_client": 1}),
        ("s:一", {"one_sided": 1, "opened_by_counselor": 1}),
        ("c:一 c:二 c:三", {"one_sided": 1, "non_alternating": 1, "spoken_twice": 2, "ended_by_client": 1}),
        ("s:一 c:二", {"opened_by_counselor": 1, "ended_by_client": 1}),
        ("x:一 c:二 s:三", {}),
    ],
)
def test_what_is_odd_about_a_dialogue_is_seen(spoken: str, seen: dict[str, int]) -> None:
    found = corpus_statistics([record(1, spoken)])
    names = ("non_alternating", "spoken_twice", "one_sided", "opened_by_counselor", "ended_by_client")
    assert {name: getattr(found, name) for name in names} == dict.fromkeys(names, 0) | seen


def test_other_roles_are_in_the_totals_only() -> None:
    found = corpus_statistics([record(1, "x:旁白。 c:一 s:二")])
    assert (found.utterances.total.count, found.utterances.others.count) == (3, 1)
    assert (found.sentences.total.characters, found.sentences.others.characters) == (5, 3)


def test_roles_of_another_recipe_are_told_apart() -> None:
    spoken = Dialogue(utterances=(Utterance(role="asker", content="问？"), Utterance(role="lawyer", content="答")))
    found = corpus_statistics([Record("r", "", None, spoken)], RoleMap("asker", "lawyer"))
    assert (found.utterances.client.characters, found.utterances.counselor.characters) == (2, 1)
    assert found.test_cases == 1


def test_nothing_has_no_averages() -> None:
    found = corpus_statistics([])
    assert found.as_json()["turns_per_dialogue"] is None
    assert found.as_json()["sentences"] == {
        who: {"count": 0, "per_dialogue": None, "characters": 0, "mean_length": None}
        for who in ("total", "client", "counselor", "others")
    }
    assert paper_table(found, "sentences")[2].printed() == ("-", "-", "-")


def slowly(text: str) -> list[str]:
    """Sentences, one character at a time."""
    found, current = [], ""
    for sign in text:
        if sign not in ENDS and current and current[-1] in ENDS:
            found.append(current)
            current = ""
        if sign in ENDS and not current:
            continue  # at the very start
        current += sign
    return [*found, current] if current else found


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", []),
        ("。", []),
        ("！？好", ["好"]),
        ("好。", ["好。"]),
        ("好？！。真的", ["好？！。", "真的"]),
        ("一。二！三", ["一。", "二！", "三"]),
        ("Hi. Bye!", ["Hi. Bye!"]),  # half-width signs end none
        ("一…\n二。\n", ["一…\n二。", "\n"]),
    ],
)
def test_sentences_end_where_the_authors_end_them(text: str, cut: list[str]) -> None:
    assert sentences(text) == cut
    assert slowly(text) == cut


TEXTS = st.text(st.sampled_from("好吗，. \n。！？!…") | st.characters())


@given(TEXTS)
def test_the_splitter_agrees_with_one_that_goes_sign_by_sign(text: str) -> None:
    assert sentences(text) == slowly(text)


@given(TEXTS)
def test_sentences_hold_the_text_but_for_ends_at_its_start(text: str) -> None:
    cut = sentences(text)
    assert "".join(cut) == text.lstrip(ENDS)
    assert all(one[-1] in ENDS for one in cut[:-1])
    assert all(one.rstrip(ENDS) and not set(one.rstrip(ENDS)) & set(ENDS) for one in cut)


@given(st.lists(st.lists(st.tuples(st.sampled_from("csx"), TEXTS), max_size=6), max_size=4))
def test_the_counts_agree_with_a_count_from_the_definitions(corpus: list[list[tuple[str, str]]]) -> None:
    roles = {"c": "client", "s": "counselor", "x": "narrator"}
    records = [
        Record("", "", None, Dialogue(utterances=tuple(Utterance(role=roles[who], content=said) for who, said in one)))
        for one in corpus
    ]
    found = corpus_statistics(records)
    whole: dict[str, Any] = {who: [said for one in corpus for speaker, said in one if speaker == who] for who in "csx"}
    cut = {who: [part for said in texts for part in slowly(said)] for who, texts in whole.items()}
    for unit, texts in zip(UNITS, (cut, whole), strict=True):
        speech = found.speech(unit)
        for who, amount in zip("csx", (speech.client, speech.counselor, speech.others), strict=True):
            assert (amount.count, amount.characters) == (len(texts[who]), sum(map(len, texts[who])))
    assert sum(found.turns.values()) == found.dialogues == len(corpus)
