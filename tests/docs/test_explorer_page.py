"""docs/explorer.md, and the picture in the README."""

import re
import runpy
import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "make_screenshot.py"))


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, from the project's folder."""
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/explorer.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    names: dict[str, object] = {}
    exec(code, names)
    assert "<title>moesim-nano on an RTX 4090</title>" in str(names["page"])


def test_the_readme_says_how_many_points_the_picture_shows() -> None:
    """As many as the script runs."""
    count = 1
    for levels in ("FRACS", "LINKS", "SYSTEMS", "BATCHES"):
        count *= len(SCRIPT[levels])
    assert f"\n{count} points of the same recording" in (ROOT / "README.md").read_text("utf-8")


def test_the_picture_is_small() -> None:
    """Of the size that the script photographs, and no burden to clone."""
    picture = SCRIPT["IMAGE"].read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (SCRIPT["WIDTH"], SCRIPT["HEIGHT"])
    assert len(picture) < 300_000
