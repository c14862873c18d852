"""Contact data in what is said: phone numbers, e-mail addresses, WeChat and QQ ids, numbers of Chinese identity cards.

Patterns, no model: what they find is shown to a person or masked, and what stands in words ("一三八...") is not found.
Full-width digits and letters count as their plain ones. Numbers of help lines are nobody's private data and stay.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

HELP_LINES = frozenset({
    "12355", "12356", "4001619995", "01082951332", "02087598882", "02132023", "988", "116123", "18002738255",
})  # fmt: skip
"""Public lines for people in a crisis, digits only."""


class Contact(StrEnum):
    """What kind of contact data. In this order: a number that is an identity card's is no phone's."""

    EMAIL = "email"
    ID_CARD = "id-card"
    WECHAT = "wechat"
    QQ = "qq"
    PHONE = "phone"


@dataclass(frozen=True, slots=True)
class Found:
    """`kind` at text[start:end]. No text: it is private."""

    kind: Contact
    start: int
    end: int


MASKS: Mapping[str, Mapping[Contact, str]] = {
    "zh": {
        Contact.EMAIL: "[邮箱]",
        Contact.ID_CARD: "[身份证号]",
        Contact.WECHAT: "[微信号]",
        Contact.QQ: "[QQ号]",
        Contact.PHONE: "[电话]",
    },
    "en": {
        Contact.EMAIL: "[e-mail]",
        Contact.ID_CARD: "[id number]",
        Contact.WECHAT: "[WeChat id]",
        Contact.QQ: "[QQ id]",
        Contact.PHONE: "[phone]",
    },
}
"""What stands in place of contact data, by the language of the dialogue."""

_PLAIN = str.maketrans({chr(wide): chr(wide - 0xFEE0) for wide in range(0xFF01, 0xFF5F)} | {"\u3000": " "})
_BETWEEN = r"[ \t]{0,2}(?:号码|账号|帐号|号|id|ID)?[ \t]{0,2}(?:是|为|就是|叫)?[ \t]{0,2}[:;,.：，]?[ \t]{0,2}"
_WECHAT_ID = r"(?P<told>[A-Za-z][A-Za-z0-9_-]{5,19}|1[3-9]\d{9})(?![A-Za-z0-9_@-])"
_PATTERNS: Mapping[Contact, "re.Pattern[str]"] = {
    Contact.EMAIL: re.compile(
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
    ),
    Contact.ID_CARD: re.compile(r"(?<![0-9A-Za-z])[1-8]\d{5}(?:18|19|20)\d{2}[01]\d[0-3]\d{4}[0-9Xx](?![0-9A-Za-z])"),
    Contact.WECHAT: re.compile(
        rf"(?:微信|威信|薇信|徽信|[Ww]e[Cc]hat|加[VvWw]|[VvWw][Xx]|[Vv]信)(?<![a-z][VvWw][Xx]){_BETWEEN}{_WECHAT_ID}"
    ),
    Contact.QQ: re.compile(rf"(?:[Qq]{{2}}|扣扣|球球|企鹅)(?:群)?{_BETWEEN}(?P<told>[1-9]\d{{4,10}})(?!\d)"),
    Contact.PHONE: re.compile(
        r"(?<![\dA-Za-z.])(?:"
        r"(?:\+|00)[1-9]\d{0,2}[ -]?(?:\(\d{1,4}\)[ -]?)?\d(?:[ -]?\d){5,12}"  # international
        r"|(?:86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}"  # Chinese mobile
        r"|\(?0(?:10|2\d|[3-9]\d{2})\)?[ -]?[1-9]\d{6,7}"  # Chinese fixed line with its area
        r"|[48]00[ -]?\d{3}[ -]?\d{4}|[48]00[ -]?\d{4}[ -]?\d{3}"  # Chinese service numbers
        r"|\(?[2-9]\d{2}\)?[ -][2-9]\d{2}-\d{4}"  # North American
        r")(?![\d])"
    ),
}
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"
_LONGEST_MONTH, _MONTHS = 31, 12


def contacts_in(text: str) -> tuple[Found, ...]:
    """In the order of the text, none over another."""
    plain = text.translate(_PLAIN)
    if not _may_hold(plain):
        return ()
    found: list[Found] = []
    for kind in Contact:
        found += [
            one for one in _of_kind(kind, plain) if not any(one.start < it.end and it.start < one.end for it in found)
        ]
    return tuple(sorted(found, key=lambda one: one.start))


def masked(text: str, language: str = "zh", *, keep: Callable[[Found], bool] = lambda _found: False) -> str:
    """The text with a word in place of each; those that `keep` approves stay. English masks but for Chinese."""
    words = MASKS.get(language.partition("-")[0].lower(), MASKS["en"])
    for one in reversed(contacts_in(text)):
        if not keep(one):
            text = text[: one.start] + words[one.kind] + text[one.end :]
    return text


_GLANCE = re.compile(r"@|\d{3}|(?:\+|00)[1-9]|微信|威信|薇信|徽信|[Ww]e[Cc]hat|[VvWw][Xx]|[Vv]信|加[VvWw]")


def _may_hold(plain: str) -> bool:
    """Most utterances hold no digit and no such word: one search in place of five."""
    return _GLANCE.search(plain) is not None


def _of_kind(kind: Contact, plain: str) -> Iterator[Found]:
    for found in _PATTERNS[kind].finditer(plain):
        named = "told" if "told" in found.re.groupindex else 0
        if kind is Contact.ID_CARD and not is_id_card(found[0]):
            continue
        if kind is Contact.PHONE and re.sub(r"\D", "", found[0]) in HELP_LINES:
            continue
        if kind is Contact.WECHAT and not re.search(r"[\d_-]", found[named]) and not _is_introduced(found):
            continue  # "微信 message": a plain word is an id only where it is said to be one
        yield Found(kind, found.start(named), found.end(named))


def _is_introduced(found: "re.Match[str]") -> bool:
    between = found.string[found.start() : found.start("told")]
    return bool(re.search(r"号|id|ID|[:：是为叫]", between))


def is_id_card(number: str) -> bool:
    """Whether 18 characters are a number of a Chinese identity card: a day of birth and the check digit (GB 11643-1999,
    ISO 7064 MOD 11-2)."""
    month, day = int(number[10:12]), int(number[12:14])
    if not (1 <= month <= _MONTHS and 1 <= day <= _LONGEST_MONTH):
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True))
    return _CHECK[total % 11] == number[17].upper()
