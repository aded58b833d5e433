"""A real browser for the pages that moesim writes. Without one, or without selenium, these tests are skipped."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

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
    "--force-device-scale-factor=1",
)
_OWN_SCHEMES = ("file:", "data:", "blob:", "about:", "chrome:")
DESK, PHONE = (1280, 900), (375, 800)

Shown = Callable[[Path], "Chrome"]
"""Opens a page; when the test ends, the page must have had no fault on its console and asked for nothing."""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Chrome]":
    """Return a browser with a profile of its own."""
    selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install '.[browser]'")
    del selenium
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with its chromedriver is installed: apt-get install chromium chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driven = Chrome(options=options, service=Service(driver))
    driven.set_script_timeout(30)
    driven.set_page_load_timeout(60)
    yield driven
    driven.quit()


@pytest.fixture
def opened(browser: "Chrome") -> Iterator[Shown]:
    """Return a function that opens a page at the size of a desk's screen, light."""
    emulate(browser, DESK, "light")
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")

    def show(path: Path) -> "Chrome":
        browser.get("about:blank")
        browser.get(path.as_uri())
        return browser

    yield show
    assert console_faults(browser) == []
    assert requests_made(browser) == []


def emulate(browser: "Chrome", size: tuple[int, int], scheme: str) -> None:
    """Show pages at a size, and as on a system that is `light` or `dark`."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def console_faults(browser: "Chrome") -> Sequence[str]:
    """Return what the page complained of."""
    return [str(entry["message"]) for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def requests_made(browser: "Chrome") -> Sequence[str]:
    """Return the addresses of all that was asked for beside the page itself, refused by its policy or not."""
    found = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(str(message["params"]["request"]["url"]))
    return [address for address in found if not address.startswith(_OWN_SCHEMES)]


def overflow_pixels(browser: "Chrome") -> int:
    """Return by how much the page is wider than what shows it."""
    script = "const of=document.documentElement;return of.scrollWidth-of.clientWidth"
    return int(browser.execute_script(script))  # type: ignore[no-untyped-call]
