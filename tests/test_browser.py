"""The browser that pages are tested with keeps to this machine."""

from pathlib import Path

import pytest

from tests.browser import OpenTab, chromium, open_tab

__all__ = ["chromium", "open_tab"]
pytestmark = pytest.mark.e2e


def test_what_a_page_asks_of_other_hosts_is_seen_and_goes_nowhere(open_tab: OpenTab, tmp_path: Path) -> None:
    """A picture from elsewhere: its address is noted, and it fails for want of an address."""
    (tmp_path / "page.html").write_text("<title>好</title><img src='http://elsewhere.example/a.png'>", "utf-8")
    tab = open_tab((tmp_path / "page.html").as_uri(), color_scheme="dark")
    assert tab.page.title() == "好"
    assert tab.strangers == ["http://elsewhere.example/a.png"]
    assert "ERR_NAME_NOT_RESOLVED" in tab.told[0]
    tab.asked.clear()  # seen: else the fixture fails this test


def test_an_error_of_a_script_is_seen(open_tab: OpenTab, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<script>nobody()</script>", "utf-8")
    tab = open_tab((tmp_path / "page.html").as_uri())
    assert tab.errors == ["nobody is not defined"]
