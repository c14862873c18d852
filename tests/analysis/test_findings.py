"""Each kind of finding is made where it belongs, names its row, and tells nothing of what is said."""

from collections.abc import Iterable

import pytest

from smile_async.analysis.findings import CODES, cleaned, findings, one_sided, record_findings, without_contacts
from smile_async.corpus.formats import Record, RoleMap
from smile_async.dialogue.model import Dialogue, QAPair, Utterance


def record(row_id: str, *said: tuple[str, str], answer: str = "") -> Record:
    spoken = tuple(Utterance(role={"c": "client", "s": "counselor"}[who], content=text) for who, text in said)
    pair = QAPair(question="怎么办？", answer=answer) if answer else None
    return Record(row_id, "", pair, Dialogue(utterances=spoken))


GOOD = (("c", "我最近总是睡不着，心里很乱。"), ("s", "听起来你这段时间很不容易，是什么让你睡不着呢？"))
LONG = "你可以先试着把每天让你烦心的事情写下来，然后在旁边写上你当时的想法，再想一想有没有别的可能，慢慢地你会发现很多担心其实并没有发生，这样心里也会轻松一些。"


def codes(found: Iterable[object]) -> list[str]:
    return [one.code for one in found]  # type: ignore[attr-defined]


def test_a_good_dialogue_has_none() -> None:
    assert list(record_findings(record("1", *GOOD, answer=LONG))) == []


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ((*GOOD, ("c", "谢谢"), ("c", "再见，我去睡了。")), "non-alternating"),
        ((*GOOD, ("c", "  ")), "empty-utterance"),
        ((("c", "嗯"), ("s", "好" + "你说得很有道理，我们慢慢来" * 3)), "one-sided"),
        ((GOOD[0], ("s", "我明白你的感受。求助者：谢谢你。")), "leaked-label"),
        ((GOOD[0], ("s", "**支持者**: 我明白你的感受。")), "leaked-label"),
        ((GOOD[0], ("s", "我明白。\n咨询师：你愿意多说说吗？")), "leaked-label"),
        ((*GOOD, ("c", "我的微信号是abc12345，方便加一下吗？")), "contact-wechat"),
        ((GOOD[0], ("s", "你别担心，" * 40)), "repetition"),
    ],
)
def test_is_found(said: tuple[tuple[str, str], ...], code: str) -> None:
    found = list(record_findings(record("row-7", *said)))
    assert code in codes(found)
    assert {one.row_id for one in found} == {"row-7"}


def test_an_answer_that_is_handed_back_is_a_copy() -> None:
    assert "copied-answer" in codes(record_findings(record("1", GOOD[0], ("s", LONG), answer=LONG)))


@pytest.mark.parametrize("text", ["作为支持者，我理解你。", "有的求助者说过这样的话：慢慢来。", "他是我的咨询师。"])
def test_a_speakers_name_in_a_sentence_is_no_label(text: str) -> None:
    assert "leaked-label" not in codes(record_findings(record("1", GOOD[0], ("s", text))))


def test_one_sided_is_a_share_of_characters() -> None:
    said = [Utterance(role="client", content="嗯" * 5), Utterance(role="counselor", content="好" * 95)]
    assert one_sided(said) == "counselor has 95% of 100 characters"  # 95 / 100
    assert one_sided([said[0].model_copy(update={"content": "嗯" * 6}), said[1]]) is None  # 95 / 101
    assert one_sided([]) is None
    assert one_sided(said, RoleMap("a", "b")) is None  # neither says a word


def test_near_duplicates_stand_where_their_row_does() -> None:
    bad = record("2", GOOD[0], ("s", "我明白。求助者：谢谢你。"))
    corpus = [record("1", *GOOD), bad, record("3", *GOOD), record("4", GOOD[1], GOOD[0])]
    found = list(findings(corpus))
    assert [(one.row_id, one.code, one.place) for one in found] == [
        ("2", "leaked-label", 1),
        ("3", "near-duplicate", 2),
    ]
    assert found[1].detail == "1.00 alike to 1"
    assert codes(findings(corpus, threshold=None)) == ["leaked-label"]


def test_every_finding_has_a_known_code_and_shows_no_text() -> None:
    bad = record(
        "1",
        ("c", "我叫孙悟空，电话13812345678，邮箱wukong@example.com"),
        ("c", ""),
        ("s", "支持者：花果山见"),
        answer=LONG,
    )
    found = list(findings([bad, bad]))
    assert {one.code for one in found} <= set(CODES)
    assert not any(word in repr(found) for word in ("孙悟空", "138", "wukong", "花果山"))


def test_masking_reaches_the_dialogue_and_its_source() -> None:
    before = record("1", ("c", "电话13812345678"), ("s", "好的"), answer="加QQ：10001")
    after = without_contacts(before)
    assert [one.content for one in after.dialogue.utterances] == ["电话[电话]", "好的"]
    assert after.pair is not None
    assert after.pair.answer == "加QQ：[QQ号]"
    assert after.row_id == before.row_id


def test_a_cleaned_corpus_lacks_what_is_dropped_also_where_two_rows_have_one_id() -> None:
    corpus = [record("1", *GOOD), record("1", *GOOD), record("2", ("c", "电话13812345678"), ("s", "好的，收到"))]
    found = list(findings(corpus))
    assert list(cleaned(corpus, found)) == corpus
    kept = list(cleaned(corpus, found, drop=["near-duplicate"], mask="zh"))
    assert kept == [corpus[0], without_contacts(corpus[2])]
