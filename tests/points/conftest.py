"""A scenario small enough to be run a hundred times."""

from pathlib import Path

import pytest

from tests.hand_made import random_routing
from tests.systems.play import load


@pytest.fixture
def values(tmp_path: Path) -> dict[str, object]:
    """Return a scenario of four sequences."""
    sequences = random_routing(1, lengths=[6, 5, 7, 6], num_layers=3, num_experts=6, top_k=2)
    loaded = load(tmp_path, sequences, num_experts=6, weights=[0.7, 0.3], prompts=[2, 0, 1, 0])
    return loaded | {"cache": {"experts": 9}, "seed": 3}
