"""A real browser for pages of ours: Chromium from the system's packages, driven by Playwright.

Nothing may leave this machine: other hosts have no address for the browser, and a test whose page so much as tries to
ask one fails. Import `open_tab` (and `chromium`, which it needs) into a test module or its conftest.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)  # fmt: skip
INSTALL = "needs a browser: `apt-get install chromium fonts-wqy-microhei` and `pip install playwright`"
AT_HOME = frozenset({"file", "data", "blob", "about"})
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Tab:
    """A page in a profile of its own. `asked`: every address that it asked for, in order; `errors`: exceptions of its
    scripts; `told`: its console, as "error: ...", where broken content policies show, too."""

    page: "Page"
    asked: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def strangers(self) -> list[str]:
        """Addresses beyond this machine."""
        return [url for url in self.asked if not _at_home(url)]


OpenTab = Callable[..., Tab]


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """One browser a module: while Playwright is at work its thread has a running event loop, so that `asyncio.run`
    fails there. What a test needs of asyncio stands in another thread or process."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing()
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        _missing()
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS)) as browser,
    ):
        yield browser


@pytest.fixture
def open_tab(chromium: "Browser") -> Iterator[OpenTab]:
    """`open_tab(url, **context)`: a new tab at an address (a `Path.as_uri()`, a loopback server's), with what
    `Browser.new_context` takes: `viewport`, `color_scheme`, `locale`, `is_mobile`, ...

    At the test's end no tab may have asked for anything beyond this machine.
    """
    tabs: list[Tab] = []
    with ExitStack() as stack:

        def start(url: str, **context: Any) -> Tab:
            tab = Tab(stack.enter_context(chromium.new_context(**context)).new_page())
            tab.page.on("request", lambda request: tab.asked.append(request.url))
            tab.page.on("websocket", lambda socket: tab.asked.append(socket.url))
            tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
            tab.page.on("console", lambda line: tab.told.append(f"{line.type}: {line.text}"))
            tabs.append(tab)
            tab.page.goto(url)
            return tab

        yield start
    assert [tab.strangers for tab in tabs if tab.strangers] == []


def _at_home(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in AT_HOME or parts.hostname in LOOPBACK


def _missing() -> Any:
    if os.environ.get("CI") == "true":
        pytest.fail(INSTALL, pytrace=False)
    pytest.skip(INSTALL)
