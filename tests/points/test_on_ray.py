"""Points on a Ray cluster of two machines, one of which is taken away while it works."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.points.point import Point
from simulator.points.run import run_points

ROOT = Path(__file__).resolve().parents[2]

_DRIVER = """
import json, sys
from pathlib import Path

from ray.cluster_utils import Cluster

from simulator.points.point import Point
from simulator.points.run import run_points

values, store = json.loads(sys.argv[1]), Path(sys.argv[2])
points = [Point(values={**values, "cache": {"experts": size}}, labels={"size": size}) for size in range(1, 41)]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20})
other = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
cluster.wait_for_nodes()
ended = []


def progress(result):
    ended.append(result)
    if len(ended) == 5:
        cluster.remove_node(other, allow_graceful=False)


results = run_points(points, store=store, ray=cluster.address, progress=progress)
print(json.dumps([[result.key, result.summary, result.reason] for result in results]))
cluster.shutdown()
"""

_DEADLY = """
import os, signal, sys
from pathlib import Path

from ray.cluster_utils import Cluster

from simulator.points.on_ray import spread_on_ray


class Dies:
    def __init__(self, folder):
        self.folder = Path(folder)

    def __call__(self, number):
        mark = self.folder / str(number)
        if number == 3 or (number == 1 and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * number


cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 80 << 20})
results = {}
work = Dies(sys.argv[1])
spread_on_ray(work, range(6), address=cluster.address, lost=lambda number: -1, done=results.__setitem__)
print([results[number] for number in range(6)])
cluster.shutdown()
"""


def driven(code: str, *arguments: str) -> str:
    """Run a program that starts a cluster, and return what it prints last."""
    pytest.importorskip("ray")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_machine_that_is_lost_costs_no_point(values: dict[str, object], tmp_path: Path) -> None:
    """The results are those of one process, and stored by the one that asked for them."""
    store = tmp_path / "store"
    on_ray = json.loads(driven(_DRIVER, json.dumps(values), str(store)))
    points = [Point(values={**values, "cache": {"experts": size}}) for size in range(1, 41)]
    here = run_points(points)
    assert on_ray == [[result.key, result.summary, result.reason] for result in here]
    again = run_points(points, store=store)
    assert [result.is_reused for result in again] == [result.summary is not None for result in here]


@pytest.mark.slow
def test_a_process_that_dies_costs_one_task(tmp_path: Path) -> None:
    """Who dies once is tried again; who dies twice is lost."""
    assert driven(_DEADLY, str(tmp_path)) == "[0, 2, 4, -1, 8, 10]"
