"""What may tell who a client is: names, places, institutions, contact data. Recognisers propose, a person decides.

Patterns and a word cutter (rjieba), no model: they propose too much rather than too little, and still miss what is
written unlike anything they know. Source: section 6.3.1 (PsyTest's "names and addresses", removed by experts).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any

from smile_async.dialogue.contacts import MASKS, contacts_in
from smile_async.errors import MissingExtraError


class Identity(StrEnum):
    """What kind of thing it is; contact data has the kinds of `dialogue.contacts.Contact`."""

    NAME = "name"
    PLACE = "place"
    ADDRESS = "address"
    INSTITUTION = "institution"
    URL = "url"
    PLATE = "plate"


WORDS = {
    "zh": {"name": "姓名", "place": "地点", "address": "地址", "institution": "单位", "url": "网址", "plate": "车牌号"},
    "en": {"name": "name", "place": "place", "address": "address", "institution": "institution", "url": "web address",
           "plate": "number plate"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hint:
    """text[start:end] may be of this kind."""

    kind: str
    start: int
    end: int


_SURNAMES = (
    "欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|令狐|慕容|司徒|南宫|夏侯"
    "|[王李张刘陈杨黄赵吴周徐孙马朱胡郭林何高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付"
    "方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔汤葛傅]"
)
_HAN = "[\u4e00-\u9fff]"
_TITLES = "先生|女士|小姐|老师|医生|大夫|教授|同学|阿姨|叔叔|主任|经理|师傅|警官|律师|护士|总"
_NOT_GIVEN = "[的了吗呢吧啊呀是在和跟与也都就不很说想要有没去来给对让把被得着过你我他她它们这那个人]"
_INTRODUCED = re.compile(
    rf"(?:我(?:的名字)?(?:叫做?|名叫)|名字(?:叫做?|是)|叫做|(?:他|她|姓名)(?:叫做?|[是:：])|本名)\s{{0,2}}[“\"「]?"
    rf"(?P<name>(?:{_SURNAMES})(?:(?!{_NOT_GIVEN}){_HAN}){{1,2}})"
)
_RELATED = re.compile(
    rf"(?:叫|丈夫|老公|妻子|老婆|爱人|爸爸|妈妈|父亲|母亲|儿子|女儿|朋友|男友|女友|同事|领导|室友|前任|哥哥|姐姐|弟弟|妹妹)"
    rf"(?P<name>(?:{_SURNAMES})(?:(?!{_NOT_GIVEN}){_HAN}){{1,2}}?)(?=[，。！？,.!?\s经总是老就不又很对和跟与把说也都会让在常给的]|$)"
)
_SURNAME = re.compile(rf"(?:{_SURNAMES})")
_FULL_NAME = re.compile(rf"(?:{_SURNAMES})(?:(?!{_NOT_GIVEN}){_HAN}){{2}}")
_TITLED = re.compile(rf"(?<!{_HAN})?(?P<name>(?:{_SURNAMES})(?:(?!{_NOT_GIVEN}){_HAN}){{0,2}})(?={_TITLES})")
_NICKNAME = re.compile(
    rf"(?:叫我|我是|我叫|喊我|找)[“\"「]?(?P<name>[小老阿](?:{_SURNAMES}|{_HAN}(?=[，。！？,.!?\s”\"」吧啊呀哦呢]|$)))"
)
_SOMEBODY = re.compile(rf"(?P<name>(?:{_SURNAMES})某{{1,2}})")
_ENGLISH_NAME = re.compile(
    r"\b(?:[Mm]y name is|[Ii] am called|[Cc]all me|[Nn]ame's)\s+(?P<name>[A-Z][a-z]+(?: [A-Z][a-z]+){0,2})"
    r"|\b(?:Mr|Mrs|Ms|Miss|Dr|Prof)\.? (?P<titled>[A-Z][a-z]+(?: [A-Z][a-z]+)?)"
)
_ENGLISH_ADDRESS = re.compile(
    r"\b\d{1,5} (?:[A-Z][a-z]+ ){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Square|Sq)\b\.?"
)
_URL = re.compile(r"(?:https?://|www\.)[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{3,200}")
_PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·\s]?[A-HJ-NP-Z0-9]{5,6}(?![A-Z0-9])"
)
_INSTITUTION_END = re.compile(
    r"(?:大学|学院|中学|高中|初中|小学|幼儿园|医院|诊所|公司|集团|银行|派出所|法院|检察院|研究院|研究所|事务所)$"
)
_PLACE_END = re.compile(
    r"(?:自治[区州县]|[省市区县镇乡村路街巷弄]|大街|大道|胡同|小区|花园|公寓|大厦|家园|社区|广场|新村|街道)$"
)
_DOOR = re.compile(r"(?:[0-9０-９一二三四五六七八九十百零]+|[甲乙丙丁A-Za-z])?(?:号院?|号楼|栋|幢|楼|单元|层|室|户)?$")
_NO_NAME = frozenset(
    ("谢谢您", "谢谢你", "段时间", "高中生", "严重性", "戴眼镜", "白眼狼", "田字格", "金字塔", "夏令营", "高水平")
)
_TITLED_WORD = re.compile(rf"(?:{_TITLES})$")


def hints_in(text: str, language: str = "zh") -> tuple[Hint, ...]:
    """In the order of the text; of two that overlap the longer one."""
    found = [*_contacts(text), *_matches(text, language)]
    if language.partition("-")[0].lower() == "zh":
        found += _by_words(text)
    chosen: list[Hint] = []
    for hint in sorted(found, key=lambda one: (one.start - one.end, one.start)):
        if not any(hint.start < other.end and other.start < hint.end for other in chosen):
            chosen.append(hint)
    return tuple(sorted(chosen, key=lambda one: one.start))


def said_again(text: str, names: "frozenset[str] | set[str]") -> Iterator[Hint]:
    """Names that were found elsewhere in the dialogue, wherever they stand; of a full name the given name, too."""
    for name in names:
        whole = rf"\b{re.escape(name)}\b" if name.isascii() else re.escape(name)  # Ann is not in Anniversary
        for found in re.finditer(whole, text):
            yield Hint(Identity.NAME, found.start(), found.end())


def known_names(text: str, hints: "tuple[Hint, ...]") -> set[str]:
    """The names among the hints, and the parts of full ones: 王小明 is also called 小明, Anna Miller also Anna."""
    names = {text[one.start : one.end] for one in hints if one.kind == Identity.NAME}
    for name in list(names):
        found = _SURNAME.match(name)
        if found and len(name) - found.end() == 2 and not name.endswith("某"):
            names.add(name[found.end() :])
        elif name.isascii():
            names.update(name.split())
    return {name for name in names if len(name) > 1}


def mask_of(kind: str, number: int | None, language: str = "zh") -> str:
    """`[姓名1]`: `number` tells several of one kind apart."""
    code = "zh" if language.partition("-")[0].lower() == "zh" else "en"
    for contact, mask in MASKS[code].items():
        if contact == kind:
            return mask
    return f"[{WORDS[code][kind]}{'' if number is None else number}]"


def _contacts(text: str) -> Iterator[Hint]:
    for one in contacts_in(text):
        yield Hint(one.kind, one.start, one.end)


def _matches(text: str, language: str) -> Iterator[Hint]:
    for kind, pattern in ((Identity.URL, _URL), (Identity.PLATE, _PLATE), (Identity.ADDRESS, _ENGLISH_ADDRESS)):
        for found in pattern.finditer(text):
            yield Hint(kind, found.start(), found.end())
    for found in _ENGLISH_NAME.finditer(text):
        group = "name" if found["name"] else "titled"
        yield Hint(Identity.NAME, found.start(group), found.end(group))
    if language.partition("-")[0].lower() == "zh":
        for pattern in (_INTRODUCED, _TITLED, _RELATED, _NICKNAME, _SOMEBODY):
            for found in pattern.finditer(text):
                if pattern not in (_TITLED, _RELATED) or not _is_word(found["name"]):
                    yield Hint(Identity.NAME, found.start("name"), found.end("name"))


def _is_word(name: str) -> bool:
    """高中 before 同学 is no name: the dictionary has it, as something else."""
    tags = [tag for _, tag in _cutter().tag(name)]
    return (
        not _SURNAME.fullmatch(name)
        and len(name) > 1
        and len(tags) == 1
        and not tags[0].startswith("nr")
        and bool(_cutter().has_word(name))
    )


def _by_words(text: str) -> Iterator[Hint]:
    """Places, addresses and institutions: runs of words that are such, or end as such do."""
    run: list[tuple[str, int]] = []
    place = 0
    for word, tag in [*_cutter().tag(text), ("", "")]:
        if tag == "nr" and _FULL_NAME.fullmatch(word) and word not in _NO_NAME and not _TITLED_WORD.search(word):
            yield Hint(Identity.NAME, place, place + len(word))
        if word and _goes_on(word, tag, bool(run)):
            run.append((word, place))
        else:
            yield from _of_run(run)
            run = []
        place += len(word)


def _goes_on(word: str, tag: str, inside: bool) -> bool:  # noqa: FBT001
    if word in _words("common_places_zh") and not inside:
        return False
    if (
        word in _places()
        or (tag == "ns" and word[:2] in _places())
        or tag == "nt"
        or (_INSTITUTION_END.search(word) and (inside or len(word) > 3))
    ):
        return True
    if _PLACE_END.search(word) and len(word) > 2 and tag in {"ns", "nz", "nr", "nrt"}:
        return True
    return inside and (
        tag in {"ns", "m", "eng", "nz", "nr"} or bool(_DOOR.fullmatch(word)) or bool(_PLACE_END.search(word))
    )


def _of_run(run: list[tuple[str, int]]) -> Iterator[Hint]:
    while run and not _closes(run[-1][0]):
        run = run[:-1]
    if not run:
        return
    start, end = run[0][1], run[-1][1] + len(run[-1][0])
    words = [word for word, _ in run]
    if _INSTITUTION_END.search(words[-1]):
        if sum(map(len, words)) > 3:
            yield Hint(Identity.INSTITUTION, start, end)
        return
    exact = len(words) > 1 and any(re.search(r"[路街巷弄号栋幢室]|小区|花园|大厦|公寓|单元", word) for word in words)
    yield Hint(Identity.ADDRESS if exact else Identity.PLACE, start, end)


def _closes(word: str) -> bool:
    return bool(
        word in _places()
        or word[:2] in _places()
        or _INSTITUTION_END.search(word)
        or _PLACE_END.search(word)
        or re.search(r"[号楼栋幢层室户]$|单元$", word)
    )


@cache
def _words(name: str) -> frozenset[str]:
    """The words of a data file."""
    return frozenset(files("smile_async.chatbot").joinpath(f"data/{name}.txt").read_text(encoding="utf-8").split())


@cache
def _places() -> frozenset[str]:
    """Provinces and large cities, with and without what they are called after their name."""
    names = _words("places_zh")
    return names | {name + end for name in names for end in ("市", "省")}


@cache
def _cutter() -> Any:
    try:
        return import_module("rjieba")
    except ModuleNotFoundError as error:
        raise MissingExtraError("Finding places and institutions in Chinese text", "analysis") from error
