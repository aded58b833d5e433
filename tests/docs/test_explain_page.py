"""docs/explain.md: it has every knob that is turned."""

import re
from pathlib import Path

import pytest

from simulator.explain.baseline import baseline_of
from simulator.explain.explain import DEFAULT_SHARE
from simulator.explain.knobs import KNOBS, changes_of
from simulator.explain.runner import Runner
from tests.explain.conftest import Cycle, cycle

__all__ = ["cycle"]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")
TABLE = {name.strip() for row in re.findall(r"^\| (.*?) \|", PAGE, flags=re.MULTILINE) for name in row.split(",")}


@pytest.mark.parametrize("changed", [{}, {"miss": "cpu"}, {"prefetch": "gate_lookahead"}])
def test_every_knob_stands_in_the_table(cycle: Cycle, changed: dict[str, object]) -> None:
    """Those that are turned, and those that are left out."""
    values = cycle(**changed)
    (result,) = Runner(values, store=None, jobs=1).run("as it is", [{}])
    assert result.summary is not None
    changes, left_out = changes_of(baseline_of(values, result.summary, "x"))
    turned = {change.knob for change in changes} | {left.knob for left in left_out}
    assert len(turned) > len(KNOBS) / 2
    assert turned - TABLE == set()


def test_the_share_is_the_default() -> None:
    """What is too little to matter."""
    assert f"`--share` ({DEFAULT_SHARE:.0%})".replace("%", " %") in PAGE
