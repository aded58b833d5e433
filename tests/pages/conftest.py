"""A real browser. Without one, or without selenium, the tests that ask for it are skipped."""

import shutil
from collections.abc import Iterator

import pytest

from tests.pages.browser import Driver, Page

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Return a browser with a new profile."""
    pytest.importorskip("selenium", reason="selenium is not installed: make test-browser")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed: make test-browser")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = Chrome(options=options, service=Service(driver))
    chrome.set_script_timeout(30)
    chrome.set_page_load_timeout(60)
    yield chrome
    chrome.quit()


@pytest.fixture
def page(driver: Driver) -> Iterator[Page]:
    """Return a page to be shown. At the end it must have had no fault on its console and asked for nothing."""
    page = Page(driver)
    driver.get("about:blank")
    page.faults()
    page.requests()
    yield page
    assert page.faults() == []
    assert page.requests() == []
