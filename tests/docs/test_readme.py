"""The README shows what its commands print."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "make_results.py"))


def test_readme_shows_the_committed_results() -> None:
    """The table is the one that the committed results give."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert SCRIPT["readme"](text) == text


def test_readme_names_the_commands_that_were_run() -> None:
    """The import and the first run of the README are those behind the results, --json aside."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ").split())
    committed = json.loads(SCRIPT["RESULTS"].read_text(encoding="utf-8"))
    first_import, first_run, *_ = committed["commands"]
    assert first_import in text
    assert first_run.removesuffix(" --json") in text


@pytest.mark.slow
def test_results_are_reproduced(shared_data: Path) -> None:
    """Simulating again gives the committed results, to the last digit."""
    committed = json.loads(SCRIPT["RESULTS"].read_text(encoding="utf-8"))
    assert SCRIPT["simulate"](shared_data) == committed
