"""Run a sweep over the recording that the README shows, and photograph its page: docs/images/explorer.png.

MOESIM_DATA=FOLDER python docs/make_screenshot.py                     simulate, minutes, and photograph
MOESIM_DATA=FOLDER python docs/make_screenshot.py --page FILE.html    write the page alone; needs no browser

The picture needs chromium, chromedriver and selenium: make test-browser.
"""

import base64
import os
import runpy
import shlex
import subprocess
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
from simulator.scenario import build_scenario  # noqa: E402

IMAGE = ROOT / "docs" / "images" / "explorer.png"
MAX_TOKENS = 200
FRACS = (0.15, 0.25, 0.35, 0.5, 0.75)
LINKS = ("gen3x16", "gen4x16", "gen5x16")
BATCHES = (1, 4)
SYSTEMS = ("on_demand", "static", "mixtral-offloading-paper", "fiddler", "oracle_eviction", "oracle_prefetch")
VIEW = "only.batch=1"
IMPORT = runpy.run_path(str(ROOT / "docs" / "make_results.py"))["IMPORT"]
WIDTH, HEIGHT = 1280, 1440

Row = Mapping[str, object]


def rows(trace: Path) -> Sequence[Row]:
    """Run every point; one that cannot be run says why."""
    places = list(product(FRACS, LINKS, SYSTEMS, BATCHES))
    found: list[Row] = []
    for number, (frac, link, system, batch) in enumerate(places, 1):
        given = {"model": "gpt-oss-20b", "hardware": "rtx-4090", "pcie": link, "system": system, "batch": batch}
        given["max_tokens"] = MAX_TOKENS
        options = {"trace": trace.name, **given, "cache_frac": frac}
        words = ["moesim", "run"]
        words += [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        axes = {"cache.frac": frac, "pcie": link, "system": system, "batch": batch}
        row: dict[str, object] = {"key": f"{number:03}", "command": shlex.join(words), **axes}
        try:
            scenario = build_scenario({"trace": str(trace), **given, "cache": {"frac": frac}}, "sweep")
            found.append({**simulate(scenario).summary, **row, "status": "ok"})
        except InputError as error:
            found.append(row | {"status": "failed", "reason": "; ".join(error.faults)})
        if sys.stderr.isatty():
            print(f"\r{number} of {len(places)} points", end="", file=sys.stderr)  # noqa: T201
    return found


def page(folder: Path) -> str:
    """Return the sweep's page; the recording is imported into a folder."""
    recording = "gpt-oss-20b_decode.npz"
    Path(folder, recording).symlink_to(Path(os.environ["MOESIM_DATA"]).resolve() / "traces" / recording)
    command = [sys.executable, "-c", "from simulator.cli import main; main()", *IMPORT.split()[1:]]
    subprocess.run(
        command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    notes = [
        f"A public recording of the model's routing, {MAX_TOKENS} tokens from the first sequence on; the machine as its "
        "data sheet says. Systems, cache sizes, links and batches."
    ]
    axes = ("cache.frac", "pcie", "system", "batch")
    return explorer_page(
        rows(folder / "gpt-oss.safetensors"), axes=axes, title="gpt-oss-20b on an RTX 4090", notes=notes
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
            browser.get(f"{path.as_uri()}#{VIEW}")
            time.sleep(4)
            taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
        finally:
            browser.quit()
    return base64.b64decode(taken["data"])


def main(arguments: Sequence[str]) -> None:
    """Write the page or its picture."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(arguments[1]) if arguments[:1] == ["--page"] else Path(folder, "sweep.html")
        path.write_text(page(Path(folder)), encoding="utf-8")
        if not arguments:
            IMAGE.parent.mkdir(exist_ok=True)
            IMAGE.write_bytes(photograph(path))


if __name__ == "__main__":
    main(sys.argv[1:])
