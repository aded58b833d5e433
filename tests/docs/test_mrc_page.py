"""docs/mrc.md shows the committed results."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    """`python docs/make_mrc.py --page` would write it again as it is."""
    script = runpy.run_path(str(ROOT / "docs" / "make_mrc.py"))
    text = (ROOT / "docs" / "mrc.md").read_text(encoding="utf-8")
    assert script["page"](text) == text
