"""A small service, and the command line."""

from pathlib import Path

import pytest

from tests.cli.conftest import moesim, place
from tests.hand_made import random_routing
from tests.systems.play import load

__all__ = ["moesim", "place", "service_values"]


@pytest.fixture
def service_values(tmp_path: Path) -> dict[str, object]:
    """Return a service on a machine of round durations: 8 sequences to draw from, 20 requests, short of time."""
    sequences = random_routing(1, lengths=[9, 7, 8, 9, 6, 8, 9, 7], num_layers=3, num_experts=6, top_k=2)
    values = load(tmp_path, sequences, num_experts=6, weights=[0.7, 0.3], prompts=[2, 1, 1, 2, 1, 3, 2, 1])
    return values | {
        "cache": {"experts": 9},
        "seed": 3,
        "workload": {
            "arrivals": {"process": "poisson", "rate": "40 /s"},
            "prompt_tokens": {"mean": 2, "cv": 0.5, "least": 1, "most": 4},
            "output_tokens": {"mean": 4, "cv": 0.5, "least": 1, "most": 8},
            "requests": 20,
        },
        "scheduler": {"max_batch": 4, "kv_cache": "1 GiB"},
        "slo": {"default": {"ttft": "60 ms"}},
    }
