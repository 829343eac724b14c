"""Fixtures."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.browser.lab import CHROMIUM_ARGS, SHOTS
from tests.system import need


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path."""
    return need("chromium", "chromium")


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    """A page of a new browser, in which no script may fail."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1100})
        page.on("pageerror", lambda error: failures.append(str(error)))
        # nbgrader's pages get MathJax from the network and go on without it; what they show must not depend on it.
        page.route("https://cdnjs.cloudflare.com/**", lambda route: route.abort())
        yield page
        browser.close()
    assert [failure for failure in failures if failure != "MathJax is not defined"] == []
