"""A page in a real browser: what tests do to it, and what it did."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

DESK, PHONE = (1280, 900), (375, 800)
_FROM_ITSELF = ("file:", "data:", "blob:", "about:", "chrome:")
_PATIENCE_S = 20.0
_DRAWN = "return performance.getEntriesByName('redraw').length>0"


class Driver(Protocol):
    """What is used of selenium's Chrome."""

    def get(self, url: str) -> None:
        """Open an address."""

    def execute_script(self, script: str, *args: object) -> object:
        """Run a script in the page and return what it returns."""

    def execute_cdp_cmd(self, cmd: str, cmd_args: dict[str, object]) -> dict[str, object]:
        """Send the browser a command of the DevTools protocol."""

    def get_log(self, log_type: str) -> list[dict[str, str]]:
        """Return, and forget, what was logged."""


class Page:
    """One page. `show` opens it; the other methods act on it, or ask it."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def show(self, path: Path, size: tuple[int, int] = DESK, scheme: str = "light", fragment: str = "") -> None:
        """Open a page at a size, as on a system that is `light` or `dark`, and wait until it is drawn."""
        width, height = size
        metrics: dict[str, object] = {
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": width < DESK[0],
        }
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get("about:blank")  # another fragment of the same page would not load it anew
        self.driver.get(path.as_uri() + (f"#{fragment}" if fragment else ""))
        self.wait("return document.readyState==='complete'")
        if self.js("return document.getElementById('library')!==null"):
            self.wait("return document.documentElement.dataset.ready==='true'")
            self.wait(_DRAWN)

    def js(self, script: str, *args: object) -> object:
        """Return what a script returns."""
        return self.driver.execute_script(script, *args)

    def number(self, script: str, *args: object) -> float:
        """Return the number that a script returns."""
        value = self.js(script, *args)
        assert isinstance(value, int | float)
        return value

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self.js("return document.querySelector(arguments[0]).textContent", selector))

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements that a selector finds."""
        found = self.js("return [...document.querySelectorAll(arguments[0])].map(one=>one.textContent)", selector)
        assert isinstance(found, list)
        return [str(text) for text in found]

    def wait(self, script: str, *args: object) -> None:
        """Wait until a script returns something true."""
        until = time.monotonic() + _PATIENCE_S
        while not self.js(script, *args):
            assert time.monotonic() < until, f"still not so: {script}"
            time.sleep(0.02)

    def redraw(self, script: str, *args: object) -> float:
        """Run a script that changes what is shown; return the milliseconds until it was drawn."""
        self.js("performance.clearMeasures('redraw')")
        self.js(script, *args)
        self.wait(_DRAWN)
        return self.number("return performance.getEntriesByName('redraw').at(-1).duration")

    def choose(self, identifier: str, value: str) -> float:
        """Choose an option of a select, or a slider's position; return the milliseconds until it was drawn."""
        script = (
            "const one=document.getElementById(arguments[0]);one.value=arguments[1];"
            "one.dispatchEvent(new Event(one.tagName==='SELECT'?'change':'input',{bubbles:true}))"
        )
        return self.redraw(script, identifier, value)

    def press(self, key: str, code: int) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            event: dict[str, object] = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            if key == "Enter" and kind == "keyDown":
                event["text"] = "\r"
            self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", event)

    def click(self, x: float, y: float) -> None:
        """Move the pointer to a place of the window and click."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            event: dict[str, object] = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)

    def overflow_pixels(self) -> float:
        """Return by how much the page is wider than its window."""
        return self.number("const of=document.documentElement;return of.scrollWidth-of.clientWidth")

    def faults(self) -> Sequence[str]:
        """Return, and forget, what was complained of on the console."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> Sequence[str]:
        """Return, and forget, the addresses of what was asked for beside files, whether it was let through or not."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return [address for address in asked if not address.startswith(_FROM_ITSELF)]
