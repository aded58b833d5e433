"""docs/quality.md, and the curves that ship, are what the committed result gives."""

import json
import runpy
from importlib import resources
from pathlib import Path

import pytest

from simulator.quality import SHIPPED

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "make_quality.py"))


def test_the_page_is_that_of_the_result() -> None:
    """To the last character, with a row for each configuration."""
    page = SCRIPT["PAGE"].read_text(encoding="utf-8")
    result = SCRIPT["read_result"]()
    assert page == SCRIPT["quality_page"](result)
    for row in result["configurations"]:
        assert f"| {row['name']} |" in page


def test_the_curves_are_those_of_the_result() -> None:
    """As the documented command writes them."""
    shipped = (resources.files("simulator.quality") / SHIPPED).read_text(encoding="utf-8")
    assert json.loads(shipped) == SCRIPT["read_result"]()["curves"]


def test_the_fit_is_that_of_the_rows() -> None:
    """Fitting the committed rows again gives the committed curves."""
    pytest.importorskip("scipy")
    pytest.importorskip("torch")
    from validation.quality.result import curve_values, fit_kinds

    result = SCRIPT["read_result"]()
    again = curve_values(fit_kinds(result["rows"]), result["curves"]["measured_on"])
    for group in ("of_mass", "of_format"):
        assert again[group].keys() == result["curves"][group].keys()
        for name, one in again[group].items():
            for key in ("low", "mid", "high", "measured_to"):
                assert one[key] == pytest.approx(result["curves"][group][name][key], rel=1e-3, abs=1e-6)
