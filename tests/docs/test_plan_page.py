"""docs/plan.md: its example of a space can be read, and every key of one is there."""

import re
import shutil
from pathlib import Path

from simulator.plan.search_space import read_space
from simulator.sweep.points import sweep_points

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_is_a_space(tmp_path: Path) -> None:
    """Over the service that ships, with choices that can be run and a price for each."""
    page = (ROOT / "docs" / "plan.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```yaml\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "traces").symlink_to(ROOT / "traces")
    path = tmp_path / "examples" / "mine.yaml"
    path.write_text(example, encoding="utf-8")
    space = read_space(path)
    points = sweep_points(space.sweep, space.sweep.base).points
    assert len(points) == 12
    assert {space.stated_usd_per_hour(point.labels) for point in points} == {0.10, 0.22, 0.35}
    assert {bound.metric for bound in space.promise} == {"tpot_p99_s", "ttft_p99_s", "throughput_tokens_per_s"}
