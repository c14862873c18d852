"""Contact data is found in the forms in which people write it, and ordinary words and numbers are not."""

import pytest

from smile_async.dialogue.contacts import HELP_LINES, Contact, contacts_in, is_id_card, masked

ID_CARD = "11010519491231002X"  # the standard's own example
FOUND = [
    ("打我电话13812345678吧", Contact.PHONE, "13812345678"),
    ("我的号码是 138-1234-5678。", Contact.PHONE, "138-1234-5678"),
    ("手机：１３８１２３４５６７８", Contact.PHONE, "１３８１２３４５６７８"),
    ("座机010-62345678，上午在", Contact.PHONE, "010-62345678"),
    ("座机(0571)87654321", Contact.PHONE, "(0571)87654321"),
    ("拨打400-123-4567咨询", Contact.PHONE, "400-123-4567"),
    ("call me at +44 20 7946 0958", Contact.PHONE, "+44 20 7946 0958"),
    ("call me at (212) 555-0187", Contact.PHONE, "(212) 555-0187"),
    ("写信到 some.one+x@mail.example.com 吧", Contact.EMAIL, "some.one+x@mail.example.com"),
    ("邮箱ａｂｃ＠ｅｘａｍｐｌｅ．ｃｏｍ", Contact.EMAIL, "ａｂｃ＠ｅｘａｍｐｌｅ．ｃｏｍ"),
    ("加我微信：abc_12345", Contact.WECHAT, "abc_12345"),
    ("微信号是wxid_9x8y7z", Contact.WECHAT, "wxid_9x8y7z"),
    ("加V：someonelse", Contact.WECHAT, "someonelse"),
    ("vx abcd1234", Contact.WECHAT, "abcd1234"),
    ("微信同号 微信13812345678", Contact.WECHAT, "13812345678"),
    ("加我薇信：lovelygirl", Contact.WECHAT, "lovelygirl"),
    ("call +33 6 12 34 56 78 please", Contact.PHONE, "+33 6 12 34 56 78"),
    ("我的QQ是123456789", Contact.QQ, "123456789"),
    ("qq号：10001", Contact.QQ, "10001"),
    ("扣扣 1234567", Contact.QQ, "1234567"),
    (f"身份证{ID_CARD}，请查收", Contact.ID_CARD, ID_CARD),
]
NOT_FOUND = [
    "我今年24岁，2019年毕业，月薪8000元。",
    "微信聊天的时候他回复很慢",
    "我用微信message他，他不回",
    "他把我QQ空间屏蔽了",
    "一年有525600分钟",
    "呜呜呜5555555",
    "订单号20241124123456789012345",
    "他@了所有人",
    "得分是3.13812345678",
    "110105194912310021",  # the check digit would be X
    "110105194913310021",  # no thirteenth month
    "",
]


@pytest.mark.parametrize(("text", "kind", "wanted"), FOUND)
def test_is_found(text: str, kind: Contact, wanted: str) -> None:
    assert [(one.kind, text[one.start : one.end]) for one in contacts_in(text)] == [(kind, wanted)]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_is_nobodys_contact(text: str) -> None:
    assert contacts_in(text) == ()


def test_lines_for_people_in_a_crisis_stay() -> None:
    text = "请拨打400-161-9995或者010-82951332，也可以打12356。"
    assert {"4001619995", "01082951332", "12356"} <= HELP_LINES
    assert masked(text) == text


def test_the_check_digit_decides() -> None:
    # 1*7+1*9+0*10+1*5+0*8+5*4+1*2+9*1+4*6+9*3+1*7+2*9+3*10+1*5+0*8+0*4+2*2 = 167; 167 mod 11 = 2 -> X
    assert is_id_card(ID_CARD)
    assert is_id_card(ID_CARD.lower())
    assert not any(is_id_card(ID_CARD[:17] + digit) for digit in "0123456789")


def test_masks_stand_in_place_of_all_of_it_and_the_rest_stays() -> None:
    text = f"你好，微信abc12345，QQ：10001，电话13812345678，邮箱a@b.cn，证件{ID_CARD}。再见"
    assert masked(text) == "你好，微信[微信号]，QQ：[QQ号]，电话[电话]，邮箱[邮箱]，证件[身份证号]。再见"
    assert masked("mail a@b.org now", "en-GB") == "mail [e-mail] now"


def test_what_is_approved_stays() -> None:
    text = "电话13812345678，13912345678"
    assert masked(text, keep=lambda one: one.start == 2) == "电话13812345678，[电话]"


def test_what_was_found_does_not_show_it() -> None:
    assert "138" not in repr(contacts_in("13812345678"))


def test_a_hostile_text_takes_no_time() -> None:
    for text in ("1" * 100_000, "微信" * 50_000, "a@" * 50_000, "+1 " * 30_000, "a." * 50_000 + "@"):
        assert contacts_in(text) == ()  # and the suite's time limit: no pattern runs away
