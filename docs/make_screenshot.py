"""Run a sweep of the trace that ships, and photograph its page for the README: docs/images/explorer.png.

python docs/make_screenshot.py                     simulate 288 points (a minute or two) and photograph them
python docs/make_screenshot.py --page FILE.html    write the page alone; needs no browser

Needs chromium, chromedriver and selenium: make test-browser.
"""

import base64
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hardware_profiles.errors import InputError  # noqa: E402
from simulator.explorer import explorer_page  # noqa: E402
from simulator.run import simulate  # noqa: E402
from simulator.scenario import build_scenario, read_scenario  # noqa: E402

IMAGE = ROOT / "docs" / "images" / "explorer.png"
DEMO = ROOT / "examples" / "demo.yaml"
MAX_TOKENS = 400
FRACS = (0.1, 0.15, 0.2, 0.25, 0.35, 0.5)
LINKS = ("gen3x16", "gen4x8", "gen4x16", "gen5x16")
BATCHES = (1, 4)
SYSTEMS = ("on_demand", "static", "mixtral-offloading-paper", "pre-gated", "fiddler", "oracle_prefetch")
WIDTH, HEIGHT = 1280, 1010

Row = Mapping[str, object]


def rows() -> Sequence[Row]:
    """Run every point; one that cannot be run says why."""
    places = list(product(FRACS, LINKS, SYSTEMS, BATCHES))
    found: list[Row] = []
    for number, (frac, link, system, batch) in enumerate(places, 1):
        place = {"cache.frac": frac, "pcie": link, "system": system, "batch": batch}
        options = {"cache-frac": frac, "pcie": link, "system": system, "batch": batch, "max-tokens": MAX_TOKENS}
        words = ["moesim", "run", str(DEMO.relative_to(ROOT))]
        words += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        row: dict[str, object] = {"key": f"{number:03}", "command": shlex.join(words), **place}
        values = read_scenario(DEMO)
        del values["eviction"]
        values |= {"cache": {"frac": frac}, "pcie": link, "system": system, "batch": batch, "max_tokens": MAX_TOKENS}
        try:
            summary = simulate(build_scenario(values, "sweep")).summary
            found.append({**summary, **row, "status": "ok"})
        except InputError as error:
            found.append(row | {"status": "failed", "reason": "; ".join(error.faults)})
        if sys.stderr.isatty():
            print(f"\r{number} of {len(places)} points", end="", file=sys.stderr)  # noqa: T201
    return found


def page() -> str:
    """Return the sweep's page."""
    notes = [
        f"Routing of moesim-nano (traces/nano), {MAX_TOKENS} tokens from the first sequence on, on an RTX 4090 as its data "
        "sheet says: systems, cache sizes, links and batches."
    ]
    return explorer_page(
        rows(), axes=("cache.frac", "pcie", "system", "batch"), title="moesim-nano on an RTX 4090", notes=notes
    )


def photograph(path: Path) -> bytes:
    """Return a picture of the page as it opens, on a desk's screen. Colours are few: it is small."""
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for flag in ("headless", "no-sandbox", "disable-gpu", "hide-scrollbars", f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        browser = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        try:
            size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.get(path.as_uri())
            time.sleep(4)
            taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        finally:
            browser.quit()
    return base64.b64decode(taken["data"])


def main(arguments: Sequence[str]) -> None:
    """Write the page or its picture."""
    if arguments[:1] == ["--page"]:
        Path(arguments[1]).write_text(page(), encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sweep.html")
        path.write_text(page(), encoding="utf-8")
        IMAGE.parent.mkdir(exist_ok=True)
        IMAGE.write_bytes(photograph(path))


if __name__ == "__main__":
    main(sys.argv[1:])
