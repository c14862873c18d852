"""The report in a real browser: hostile text runs nothing and asks nobody, and a reader finds what there is."""

import json
from pathlib import Path

import pytest

from smile_async.analysis.drawing import draw_report
from smile_async.analysis.samples import Wanted
from tests.analysis.hostile import HOSTILE, hostile_run
from tests.browser import OpenTab, Tab, chromium, open_tab

__all__ = ["chromium", "open_tab"]
pytestmark = pytest.mark.e2e

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
FOREIGN = (
    "[...document.body.querySelectorAll('*')].filter((one) => ['IMG', 'IFRAME', 'BASE', 'OBJECT', 'EMBED', 'SCRIPT'].includes(one.tagName) || "
    "[...one.attributes].some((each) => each.name.startsWith('on') || /^(javascript|data|http):/.test(each.value))).map((one) => one.tagName)"
)
READ = (
    "[...document.querySelectorAll('#dialogues .list > li > button')].map((one) => { one.click(); "
    "return [...document.querySelectorAll('.pane .bubble')].map((bubble) => bubble.textContent); })"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    draw_report(hostile_run(folder), folder / "report.html", wanted=Wanted(10, 10))
    return folder / "report.html"


def unharmed(tab: Tab, page: Path) -> None:
    """Nothing ran, nothing was asked for but the page itself, and no rule of its policy was broken."""
    assert tab.page.evaluate("window.pwned") is None
    assert (tab.errors, tab.told, tab.asked) == ([], [], [page.as_uri()])


def test_hostile_text_is_read_as_text_and_runs_nothing(open_tab: OpenTab, page: Path) -> None:
    tab = open_tab(page.as_uri(), locale="en-US")
    assert tab.page.evaluate(FOREIGN) == []
    read = tab.page.evaluate(READ)
    assert len(read) == 5  # three accepted and two rejected
    shown = {bubble for bubbles in read for bubble in bubbles}
    for text in HOSTILE[:8]:  # the rest holds what the parser of answers takes off
        assert text in shown
    tab.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert HOSTILE[0] in tab.page.locator("#rejections").inner_text()  # what the server said
    assert tab.page.evaluate(FOREIGN) == []
    unharmed(tab, page)


def test_the_policy_stops_a_script_that_gets_in_all_the_same(open_tab: OpenTab, page: Path) -> None:
    tab = open_tab(page.as_uri())
    failed: list[str | None] = []
    tab.page.on("requestfailed", lambda request: failed.append(request.failure))
    tab.page.evaluate(
        "const one = document.createElement('script'); one.textContent = 'window.pwned = 1'; document.body.append(one);"
        "const two = document.createElement('img'); two.src = 'http://elsewhere.example/a.png'; document.body.append(two);"
    )
    assert tab.page.evaluate("window.pwned") is None
    assert sum("Content Security Policy" in line for line in tab.told) == 2
    assert failed == ["csp"]  # the picture was stopped before it left
    assert tab.strangers == [tab.asked.pop()]  # seen: else the fixture fails this test


def test_a_reader_searches_filters_and_changes_language_and_theme(open_tab: OpenTab, page: Path) -> None:
    tab = open_tab(page.as_uri(), locale="zh-CN", color_scheme="light")
    listed, language = tab.page.locator("#dialogues .list > li > button"), tab.page.locator("html")
    assert (language.get_attribute("lang"), tab.page.locator("#dialogues h2").inner_text()) == ("zh-CN", "对话样例")
    tab.page.get_by_role("button", name="EN", exact=True).click()
    assert (language.get_attribute("lang"), tab.page.locator("#dialogues h2").inner_text()) == (
        "en",
        "Dialogues to look at",
    )

    assert "2 of 2 line without speaker" in tab.page.locator("#reason").inner_text()
    tab.page.locator("#reason").select_option("bad-speaker")
    assert listed.count() == 2
    tab.page.get_by_role("button", name="Clear").click()
    tab.page.locator("#search").fill("<SCRIPT>window.pwned=1")
    assert listed.count() == 5  # the question of every row holds it, and case says nothing
    assert tab.page.locator(".pane mark").first.text_content() == "<script>window.pwned=1"
    tab.page.locator("#search").fill("nowhere at all")
    assert listed.count() == 0
    tab.page.get_by_role("button", name="Clear").click()
    tab.page.get_by_label("Turns: from").fill("7")
    assert listed.count() == 0  # all have six

    ground = "getComputedStyle(document.body).backgroundColor"
    light = tab.page.evaluate(ground)
    tab.page.get_by_role("button", name="☾").click()
    assert tab.page.evaluate(ground) != light
    unharmed(tab, page)


def test_a_reason_leads_to_its_samples_and_keys_move_along_a_chart(open_tab: OpenTab, page: Path) -> None:
    tab = open_tab(page.as_uri(), locale="en-US")
    tab.page.locator("#rejections").get_by_role("button", name="line without speaker").first.click()
    assert tab.page.locator("#reason").input_value() == "bad-speaker"
    assert "no speaker" in tab.page.locator(".pane").inner_text()
    chart = tab.page.locator("#rates svg").first
    chart.focus()
    chart.press("ArrowRight")
    assert "in 60 s, at most" in tab.page.locator("#rates .tip.on").inner_text()
    unharmed(tab, page)


def test_a_sample_shows_its_labels_and_marks_those_of_a_crisis(open_tab: OpenTab, tmp_path: Path) -> None:
    run = hostile_run(tmp_path)
    ids = [json.loads(line)["id"] for line in (run / "corpus.jsonl").read_bytes().splitlines()]
    line = {
        "topics": ["焦虑", "自杀倾向"],
        "indices": [34, 58],
        "near_misses": [],
        "others": [HOSTILE[0]],
        "crisis": True,
    }
    (tmp_path / "labels").mkdir()
    lines = "".join(json.dumps({"id": ident, **line}) + "\n" for ident in ids)
    (tmp_path / "labels" / "topics.jsonl").write_text(lines, "utf-8")
    draw_report(run, tmp_path / "page.html", topics=tmp_path / "labels")

    tab = open_tab((tmp_path / "page.html").as_uri(), locale="en-US", **PHONE)
    tab.page.locator("#dialogues .list > li > button").first.click()

    assert tab.page.locator(".pane .topics .tag").all_inner_texts() == ["Anxiety", "Suicidal Tendency"]
    assert tab.page.locator(".pane .topics .tag.crisis").all_inner_texts() == ["Suicidal Tendency"]
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
    unharmed(tab, tmp_path / "page.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_telephone(open_tab: OpenTab, page: Path, scheme: str) -> None:
    tab = open_tab(page.as_uri(), locale="zh-CN", color_scheme=scheme, **PHONE)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
    tab.page.locator("#dialogues .list > li > button").nth(1).click()
    assert tab.page.locator("#dialogues .list .pane .bubble").count() == 12  # opens in its place
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
    unharmed(tab, page)


def test_it_prints_on_white_with_the_dialogue_that_is_open(open_tab: OpenTab, page: Path) -> None:
    """As narrow as a sheet of A4 is: 794 pixels."""
    tab = open_tab(page.as_uri(), color_scheme="dark", viewport={"width": 794, "height": 1_123})
    assert tab.page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    tab.page.emulate_media(media="print")
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not tab.page.locator(".bar").is_visible()
    assert not tab.page.locator(".filters").is_visible()
    assert tab.page.locator(".pane .bubble").count() == 12  # the dialogue that is open
    unharmed(tab, page)
