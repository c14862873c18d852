"""What may tell who somebody is gets proposed; ordinary words do not."""

import pytest

from smile_async.chatbot.identities import hints_in, known_names, mask_of, said_again

pytest.importorskip("rjieba", reason="pip install 'smile-async[analysis]'")

FOUND = [
    ("我叫王小明，今年二十四岁。", [("name", "王小明")]),
    ("你好，我叫小李。", [("name", "小李")]),
    ("叫我小鱼吧。", [("name", "小鱼")]),
    ("张老师和欧阳女士都这么说", [("name", "张"), ("name", "欧阳")]),
    ("黄某对我不好", [("name", "黄某")]),
    ("妈妈李秀英身体不好", [("name", "李秀英")]),
    ("住在北京市海淀区中关村大街27号", [("address", "北京市海淀区中关村大街27号")]),
    ("我住在上海浦东。", [("place", "上海浦东")]),
    ("我男朋友叫张伟。", [("name", "张伟")]),
    ("我丈夫李强经常骂我", [("name", "李强")]),
    ("我在上海工作", [("place", "上海")]),
    ("在清华大学读书，常去协和医院", [("institution", "清华大学"), ("institution", "协和医院")]),
    ("车牌京A·12345", [("plate", "京A·12345")]),
    ("看 https://example.com/me?id=7 吧", [("url", "https://example.com/me?id=7")]),
    ("我的微信号是abc12345", [("wechat", "abc12345")]),
    ("打13812345678", [("phone", "13812345678")]),
]
NOT_FOUND = [
    "我是一名医生，在一家公司上班。",
    "我们小区里的大学老师都很忙。",
    "高中同学对我很好。",
    "金钱不是问题，方面很多，谢谢您。",
    "这座城市让我累，心里空空的，屋子里也是。",
    "人生道路上总有上坡路。",
    "",
]


@pytest.mark.parametrize(("text", "wanted"), FOUND)
def test_is_proposed(text: str, wanted: list[tuple[str, str]]) -> None:
    assert [(str(one.kind), text[one.start : one.end]) for one in hints_in(text)] == wanted


@pytest.mark.parametrize("text", NOT_FOUND)
def test_is_nobody_in_particular(text: str) -> None:
    assert hints_in(text) == ()


def test_english_names_and_addresses() -> None:
    text = "My name is John Smith, I live at 12 Baker Street and see Dr. Watson. I am tired."
    assert [(str(one.kind), text[one.start : one.end]) for one in hints_in(text, "en")] == [
        ("name", "John Smith"),
        ("address", "12 Baker Street"),
        ("name", "Watson"),
    ]


def test_a_full_name_is_also_known_by_its_given_name_and_one_character_is_none() -> None:
    text = "我叫王小明，张老师认识我"
    assert known_names(text, hints_in(text)) == {"王小明", "小明"}
    assert [(one.start, one.end) for one in said_again("小明，小明！", {"小明"})] == [(0, 2), (3, 5)]


def test_masks_are_numbered_and_speak_the_language() -> None:
    assert mask_of("name", 2) == "[姓名2]"
    assert mask_of("institution", 1, "en") == "[institution1]"
    assert mask_of("phone", None, "en") == "[phone]"


def test_an_english_full_name_is_also_known_by_its_parts_as_whole_words() -> None:
    text = "Hi, my name is Anna Miller."
    assert known_names(text, hints_in(text, "en")) == {"Anna Miller", "Anna", "Miller"}
    assert [(one.start, one.end) for one in said_again("Hello Anna. Annabel, too.", {"Anna"})] == [(6, 10)]
