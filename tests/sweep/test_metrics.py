"""A summary as columns: names that end in units, nothing lost, nothing twice."""

import json
from pathlib import Path

import pytest

from simulator.run import simulate
from simulator.scenario import build_scenario, read_scenario
from simulator.sweep.metrics import chosen, flat_metrics

ROOT = Path(__file__).resolve().parents[2]


def leaves(values: object) -> int:
    """Count the numbers of nested mappings."""
    if isinstance(values, dict):
        return sum(map(leaves, values.values()))
    return int(isinstance(values, int | float))


def test_names() -> None:
    """Units go to the end; a key that has one itself keeps it."""
    summary = {
        "tpot_s": {"mean": 1.0, "p99": None},
        "busy_frac": {"gpu": 0.5},
        "energy": {"total_j": 3.0, "by_resource_j": {"gpu": 2.0}, "not_counted": ["link"]},
        "cache": {"bytes": 3, "frac": 0.25, "scope": "global"},
        "quality": {"perplexity_ratio": {"low": 1.1}, "is_extrapolated": True},
        "service": {"goodput_requests_per_s": 2.0, "over_time": [1, 2], "classes": {"chat": {"ttft_s": {"p50": 0.1}}}},
        "warnings": ["w"],
    }
    assert flat_metrics(summary) == {
        "tpot_mean_s": 1.0,
        "busy_gpu_frac": 0.5,
        "energy_total_j": 3.0,
        "energy_by_resource_gpu_j": 2.0,
        "cache_bytes": 3,
        "cache_frac": 0.25,
        "quality_perplexity_ratio_low": 1.1,
        "quality_is_extrapolated": 1,
        "service_goodput_requests_per_s": 2.0,
        "service_classes_chat_ttft_p50_s": 0.1,
    }


def test_no_number_of_a_run_is_lost_and_no_name_stands_for_two() -> None:
    """As many columns as there are numbers in the summary of the example."""
    values = read_scenario(ROOT / "examples" / "fixed_costs.yaml")
    summary = json.loads(json.dumps(simulate(build_scenario(values, "x")).summary))
    assert len(flat_metrics(summary)) == leaves(summary) > 50


def test_choosing() -> None:
    """Names or patterns, in the order of the results; one that nothing matches is told with what is like it."""
    names = ["tpot_p50_s", "tpot_p99_s", "hit_frac"]
    assert chosen(names, []) == names
    assert chosen(names, ["hit_frac", "tpot_*"]) == names
    with pytest.raises(ValueError, match=r"'tpot_p9_s' is no metric of these results; did you mean 'tpot_p99_s'"):
        chosen(names, ["tpot_p9_s"])
