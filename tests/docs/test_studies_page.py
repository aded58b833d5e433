"""docs/studies.md shows the committed results, and these can be had again."""

import json
import re
import runpy
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "make_studies.py"))
RESULTS = json.loads(SCRIPT["RESULTS"].read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    """`python docs/make_studies.py --page` would write it again as it is, and its plots."""
    assert SCRIPT["page"](PAGE) == PAGE
    for name, plot in SCRIPT["plots"](RESULTS).items():
        assert (ROOT / "docs" / "images" / name).read_text(encoding="utf-8") == plot
        assert f"](images/{name})" in PAGE


def test_the_results_are_of_the_sweeps_that_ship() -> None:
    """The same axes and as many points, by the commands that the page shows."""
    from simulator.sweep.file import read_sweep
    from simulator.sweep.points import sweep_points

    shown = " ".join(PAGE.replace("\\\n", " ").split())
    for study in RESULTS["studies"].values():
        assert study["command"] in shown
        _, _, file, *_ = shlex.split(study["command"])
        sweep = read_sweep(ROOT / file)
        points = sweep_points(sweep, sweep.base).points
        assert study["axes"] == sweep.paths
        assert [row[sweep.paths[0]] for row in study["rows"]] == [point.labels[sweep.paths[0]] for point in points]


def test_a_plot_has_all_points() -> None:
    """A marker for each row, and one for each name beside it; more time is further up."""
    plot = SCRIPT["plots"](RESULTS)["cache_and_link.svg"]
    circles = [node for node in ElementTree.fromstring(plot).iter() if node.tag.endswith("circle")]
    rows = RESULTS["studies"]["cache_and_link"]["rows"]
    assert len(circles) == len(rows) + 4
    heights = [float(circle.attrib["cy"]) for circle in circles if float(circle.attrib["cx"]) <= 540]
    slowest = max(row["tpot_p50_s"] for row in rows)
    assert slowest == rows[0]["tpot_p50_s"]
    assert min(heights) == heights[0]


def test_answers_follow_from_the_results() -> None:
    """Other results, other words."""
    rows = [dict(row) for row in RESULTS["studies"]["cache_and_link"]["rows"]]
    said, _ = SCRIPT["cache_and_link"](rows)
    for row in rows:
        if row["pcie"] == "gen5x16":
            row["tpot_p50_s"] *= 5
    other, _ = SCRIPT["cache_and_link"](rows)
    assert len(re.findall("cache helps more", other)) == 2
    assert "cache helps more" not in said


@pytest.mark.slow
def test_results_are_reproduced(shared_data: Path) -> None:
    """Simulating again gives the committed results, to the last digit."""
    assert SCRIPT["simulate"](shared_data) == RESULTS
