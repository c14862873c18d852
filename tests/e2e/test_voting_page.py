"""The labelling page in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smile_async.chatbot.ballots import Case, Message, draw, write_ballots
from smile_async.chatbot.votes import read_votes
from smile_async.chatbot.voting.server import VotingServer
from tests.browser import OpenTab, Tab, chromium, open_tab
from tests.chatbot.study import study
from tests.e2e.processes import until
from tests.e2e.voting import voting

__all__ = ["chromium", "open_tab"]
pytestmark = pytest.mark.e2e
NAMES = ("Ann", "Bo", "陈老师")
ENGLISH = {"locale": "en-GB"}
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>&amp;\u202e"\'`${1}'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VotingServer]:
    write_ballots(study(4), tmp_path / "study.json", tmp_path / "study.key.json")
    with VotingServer(tmp_path / "study.json", tmp_path / "study.votes.sqlite3", NAMES) as there:
        yield there


def begun(tab: Tab) -> Any:
    """The page, past its instructions."""
    tab.page.wait_for_selector("dialog[open]")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("dialog:not([open])", state="attached")
    return tab.page


def calm(tab: Tab) -> bool:
    """No error of a script, no word on the console (where broken policies show)."""
    return tab.errors == [] and tab.told == []


def saved(page: Any) -> None:
    page.wait_for_selector('body[data-state="saved"]')


def at_case(page: Any, number: int) -> None:
    page.wait_for_selector(f'#where:text-is("Case {number} of 4")')


def votes(folder: Path, rater: str) -> dict[tuple[str, str], str]:
    cast = read_votes(folder / "study.votes.sqlite3")
    return {(vote.case, vote.pair): vote.choice for vote in cast.votes if vote.rater == rater}


def test_three_raters_vote_at_once_by_keyboard_each_for_themselves(
    server: VotingServer, open_tab: OpenTab, tmp_path: Path
) -> None:
    """Four cases of three pairs, by keys: Ann always the left, Bo the right, the third in turns."""
    keys = {"Ann": "1" * 12, "Bo": "2" * 12, "陈老师": "121212121212"}
    tabs = {name: open_tab(link, **ENGLISH) for name, link in server.links.items()}
    pages = {name: begun(tab) for name, tab in tabs.items()}
    for stroke in range(12):
        for name, page in pages.items():
            page.keyboard.press(keys[name][stroke])
        if stroke % 3 == 2 and stroke < 11:  # a finished case gives way to the next
            for page in pages.values():
                at_case(page, (stroke + 1) // 3 + 1)
    for page in pages.values():
        saved(page)
        assert "All cases are finished" in page.inner_text("#trouble")
    order = [ballot.case for ballot in server.ballots.ballots]
    places = [(case, pair) for case in order for pair in ("AB", "AC", "BC")]
    for name in NAMES:
        wanted = {place: place[1][int(key) - 1] for place, key in zip(places, keys[name], strict=True)}
        assert votes(tmp_path, name) == wanted
    assert all(calm(tab) for tab in tabs.values())


def test_progress_is_kept_and_a_vote_can_be_changed(server: VotingServer, open_tab: OpenTab, tmp_path: Path) -> None:
    first = begun(open_tab(server.links["Ann"], **ENGLISH))
    for key in "111":
        first.keyboard.press(key)
    at_case(first, 2)
    first.keyboard.press("2")
    saved(first)
    tab = open_tab(server.links["Ann"], **ENGLISH)  # another browser, the same link
    page = begun(tab)
    at_case(page, 2)
    assert page.get_attribute("#track", "aria-valuenow") == "1"
    page.keyboard.press("ArrowLeft")
    at_case(page, 1)
    page.keyboard.press("ArrowDown")  # the second comparison of three
    page.keyboard.press("2")
    saved(page)
    page.click('[data-pair="BC"] [data-choice="C"]')
    saved(page)
    page.wait_for_timeout(600)  # longer than a newly finished case stays
    at_case(page, 1)  # a change does not send the rater on
    case = server.ballots.ballots[0].case
    assert {pair: choice for (one, pair), choice in votes(tmp_path, "Ann").items() if one == case} == {
        "AB": "A", "AC": "C", "BC": "C",
    }  # fmt: skip
    page.keyboard.press("n")
    at_case(page, 2)
    page.click("#track span:nth-child(4)")
    at_case(page, 4)
    assert page.is_disabled("#next")
    assert read_votes(tmp_path / "study.votes.sqlite3").changed == {"Ann": 2}
    assert calm(tab)


def test_text_of_models_is_shown_and_never_obeyed(open_tab: OpenTab, tmp_path: Path) -> None:
    case = Case(
        id=HOSTILE, messages=(Message(role="user", content=HOSTILE), Message(role="assistant", content="# **x**"))
    )
    drawn = draw([case], {"one": {HOSTILE: HOSTILE}, "two": {HOSTILE: "[a](javascript:alert(1))\n<b>b</b>"}})
    write_ballots(drawn, tmp_path / "study.json", tmp_path / "study.key.json")
    name = '<b onclick="x">Eve</b>'
    with VotingServer(tmp_path / "study.json", tmp_path / "study.votes.sqlite3", [name]) as server:
        tab = open_tab(server.links[name], **ENGLISH)
        page = begun(tab)
        assert page.text_content("#history li:first-child .bubble") == HOSTILE
        assert sorted(page.locator(".card .text").all_text_contents()) == sorted(
            [HOSTILE, "[a](javascript:alert(1))\n<b>b</b>"]
        )
        assert page.text_content("#rater") == name
        assert page.locator("main img, main script, main b, main a, header b").count() == 0
        page.keyboard.press("1")
        saved(page)
        assert page.evaluate("window.hacked") is None
        assert calm(tab)
        assert {urlpath.partition("?")[0].rpartition("/")[2] for urlpath in tab.asked} <= {
            "", "page.css", "page.js", "words.js", "icon.svg", "study", "vote",
        }  # fmt: skip
    assert votes(tmp_path, name) == {(HOSTILE, "AB"): "A"}


def test_the_secret_leaves_the_address_and_scripts_cannot_read_the_cookie(
    server: VotingServer, open_tab: OpenTab
) -> None:
    page = begun(open_tab(server.links["Ann"], **ENGLISH))
    assert "token" not in page.url
    assert page.evaluate("document.cookie") == ""
    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["domain"]) == (True, "Strict", "127.0.0.1")
    page.reload()
    page.wait_for_selector("#pairs button")


def test_a_link_may_be_followed_from_another_site(server: VotingServer, open_tab: OpenTab, tmp_path: Path) -> None:
    """As from a letter read in the browser: the cookie is Strict, and the page's own requests bring it all the same."""
    (tmp_path / "letter.html").write_text(f'<a href="{server.links["Bo"]}">Vote</a>')
    tab = open_tab((tmp_path / "letter.html").as_uri(), **ENGLISH)
    tab.page.click("a")
    page = begun(tab)
    page.keyboard.press("2")
    saved(page)
    assert list(votes(tmp_path, "Bo").values()) == ["B"]
    assert calm(tab)


def test_another_raters_link_in_the_same_browser_does_not_mix_votes(
    server: VotingServer, open_tab: OpenTab, tmp_path: Path
) -> None:
    ann = begun(open_tab(server.links["Ann"], **ENGLISH))
    bo = ann.context.new_page()
    bo.goto(server.links["Bo"])
    bo.wait_for_selector("#pairs button")
    ann.keyboard.press("1")
    ann.wait_for_selector('body[data-state="refused"]')
    assert "Open your own link again" in ann.inner_text("#trouble")
    assert votes(tmp_path, "Ann") == votes(tmp_path, "Bo") == {}


def test_a_killed_server_costs_an_open_page_nothing(open_tab: OpenTab, tmp_path: Path) -> None:
    write_ballots(study(4), tmp_path / "study.json", tmp_path / "study.key.json")
    with voting(tmp_path / "study.json", "Ann") as first:
        tab = open_tab(first.links["Ann"], **ENGLISH)
        page = begun(tab)
        page.keyboard.press("1")
        saved(page)
        first.kill()
        page.keyboard.press("2")
        page.keyboard.press("1")
        page.wait_for_selector('body[data-state="lost"]')
        assert "not saved yet" in page.inner_text("#trouble")
        at_case(page, 2)
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("1")  # thought better of while nobody listens: AC is A's
    with voting(tmp_path / "study.json", "Ann", port=first.port):
        saved(page)
        until(lambda: len(votes(tmp_path, "Ann")) == 3)
        assert page.is_hidden("#trouble")
    assert {pair: choice for (_, pair), choice in votes(tmp_path, "Ann").items()} == {"AB": "A", "AC": "A", "BC": "B"}
    assert tab.errors == []


DESK, PHONE = (1280, 800), (390, 844)


@pytest.mark.parametrize(
    ("locale", "scheme", "size"),
    [("en-GB", "light", DESK), ("zh-CN", "dark", DESK), ("zh-CN", "light", PHONE), ("en-GB", "dark", PHONE)],
)
def test_all_is_in_sight_on_a_desk_and_on_a_phone(
    server: VotingServer, open_tab: OpenTab, locale: str, scheme: str, size: tuple[int, int]
) -> None:
    width, height = size
    tab = open_tab(
        server.links["Ann"], locale=locale, color_scheme=scheme, viewport={"width": width, "height": height},
        is_mobile=width < 500, has_touch=width < 500,
    )  # fmt: skip
    page = begun(tab)
    assert page.evaluate("document.documentElement.lang") == locale[:2]
    assert page.inner_text("#help") == {"en-GB": "Instructions", "zh-CN": "标注说明"}[locale]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator("footer button:visible").all():
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
    dark = (
        sum(map(int, page.evaluate("getComputedStyle(document.documentElement).backgroundColor")[4:-1].split(",")))
        < 200
    )
    assert dark is (scheme == "dark")
    page.click("#language")
    assert page.inner_text("#help") == {"en-GB": "标注说明", "zh-CN": "Instructions"}[locale]
    assert calm(tab)
