"""docs/plan.md: its examples of spaces can be read, and every key of one is there."""

import re
import shutil
from pathlib import Path

import yaml

from simulator.plan.optimizer import size
from simulator.plan.search import num_choices
from simulator.plan.search_space import read_space
from simulator.sweep.points import sweep_points

ROOT = Path(__file__).resolve().parents[2]


def test_the_examples_are_spaces(tmp_path: Path) -> None:
    """Over the service that ships, with choices that can be run and a price for each; the second of a size without end."""
    page = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    example, large = re.findall(r"^```yaml\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "traces").symlink_to(ROOT / "traces")
    path = tmp_path / "examples" / "mine.yaml"
    path.write_text(example, encoding="utf-8")
    space = read_space(path)
    points = sweep_points(space.sweep, space.sweep.base).points
    assert len(points) == 12
    assert {space.stated_usd_per_hour(point.labels) for point in points} == {0.10, 0.22, 0.35}
    assert {bound.metric for bound in space.promise} == {"tpot_p99_s", "ttft_p99_s", "throughput_tokens_per_s"}
    path.write_text(large, encoding="utf-8")
    space = read_space(path)
    assert space.search is not None
    assert (num_choices(space, space.sweep.base), size(space.sweep.axes)) == (200, float("inf"))
    assert {"scenario", *yaml.safe_load(example), *yaml.safe_load(large)} == set(
        re.findall(r"`(\w+)`", _key_column(page))
    ) - {
        "zip",
        "sample",
        "constraints",
    }


def _key_column(page: str) -> str:
    """Return the first column of the table of keys."""
    rows = re.findall(r"^\| (`[^|]*`) \|", page.partition("| key | meaning |")[2], flags=re.MULTILINE)
    return " ".join(rows)
