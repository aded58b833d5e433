"""The command line's fixtures, and loads whose every figure can be worked out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import moesim, place
from tests.systems.play import load

__all__ = ["cycle", "moesim", "place"]

Cycle = Callable[..., dict[str, object]]
TOKENS = 12


@pytest.fixture
def cycle(tmp_path: Path) -> Cycle:
    """Return what makes scenarios of one sequence whose token t goes to expert t modulo `period` of both layers.

    One layer: 200 us of other work, 100 us for the expert, 1000 us to fetch it; 50 us for a step.
    """

    def make(*, period: int = 4, cache: int = 2, **changed: object) -> dict[str, object]:
        tokens = [[[token % period], [token % period]] for token in range(TOKENS)]
        values = load(tmp_path, [tokens], num_experts=4)
        return values | {"cache": {"experts": cache}, **changed}

    return make
