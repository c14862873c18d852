"""The page: what came from outside stays text, and nothing is fetched or run but what it brings."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import orjson
import pytest

from smile_async.analysis.page import SCRIPTS, embedded, page_html, words
from tests.analysis.hostile import HOSTILE

ROOM = files("smile_async.analysis.page")
SCRIPT = "".join(ROOM.joinpath(name).read_text("utf-8") for name in SCRIPTS)
STYLE = ROOM.joinpath("page.css").read_text("utf-8")
TOLD: dict[str, Any] = {"name": HOSTILE[0], "samples": list(HOSTILE)}


class Elements(HTMLParser):
    """What a parser sees: tags with attributes, and the text inside each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.inside:
            self.inside[tag].append("")
            self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[self._open][-1] += data


def test_hostile_text_neither_ends_its_element_nor_changes() -> None:
    page = Elements(page_html(TOLD))
    assert [tag for tag, _ in page.tags].count("script") == 2  # the data and the one script
    assert {"img", "iframe", "svg", "base"}.isdisjoint(tag for tag, _ in page.tags)
    read_again = orjson.loads(page.inside["script"][0])
    assert read_again["samples"] == list(HOSTILE)
    assert page.inside["title"] == [f"{HOSTILE[0]} · SMILE"]  # escaped, for `</title>` would end it


def test_nothing_that_html_reads_stands_in_embedded_json() -> None:
    text = embedded({"said": HOSTILE})
    assert not set("<>&\u2028\u2029") & set(text)
    assert orjson.loads(text) == {"said": list(HOSTILE)}


def test_the_policy_names_the_one_script_and_the_one_style_and_allows_nothing_else() -> None:
    page = Elements(page_html(TOLD))
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = {
        name: "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for name, text in (("script-src", page.inside["script"][1]), ("style-src", page.inside["style"][0]))
    }
    assert (
        rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"} | digest
    )


def test_the_script_knows_no_way_from_text_to_markup_or_network() -> None:
    ways = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser|fetch\(|XMLHttp|import\("
    )
    assert not re.search(ways, SCRIPT)
    addresses = {*re.findall(r"https?://[^\"'`\s)]+", SCRIPT + STYLE)}
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a namespace, which nobody asks


@pytest.mark.parametrize(("language", "given"), [("zh", [1]), ("en", [0]), ("both", [0, 1])])
def test_a_page_speaks_the_languages_that_were_wanted(language: Any, given: list[int]) -> None:
    page = Elements(page_html(TOLD, language))
    assert orjson.loads(page.inside["script"][0])["languages"] == given
    assert dict(page.tags)["html"] == {"lang": "zh-CN" if language == "zh" else "en"}


def test_every_word_is_there_in_both_languages_and_with_the_same_holes() -> None:
    for key, pair in words().items():
        assert len(pair) == 2, key
        assert all(pair), key
        holes = [sorted(re.findall(r"\{\w+\}", text)) for text in pair]
        assert holes[0] == holes[1], key


def test_every_word_that_the_script_says_is_known() -> None:
    said = {*re.findall(r"\bt\(\"([\w.-]+)\"[,)]", SCRIPT)}
    assert len(said) > 80
    assert said <= words().keys()


def _luminance(color: str) -> float:
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark by the system", "dark by choice"])
def test_words_stand_out_from_what_they_stand_on(theme: int) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text of any size."""
    blocks = re.findall(r":root[^{]*\{\s*color-scheme: (?:light|dark);(.*?)\}", STYLE, re.DOTALL)
    colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[theme]))
    pairs = [(ink, ground) for ink in ("ink", "ink-2", "ink-3") for ground in ("paper", "card")]
    pairs += [("ink-2", "wash"), ("ink", "client-soft"), ("ink", "accent-soft"), ("accent", "accent-soft")]
    pairs += [("client", "client-soft"), ("bad", "bad-soft"), ("paper", "ink"), ("ink", "raised"), ("accent", "paper")]
    assert {pair: round(_contrast(*(colors[one] for one in pair)), 2) for pair in pairs
            if _contrast(*(colors[one] for one in pair)) < 4.5} == {}  # fmt: skip
