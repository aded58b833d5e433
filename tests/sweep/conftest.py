"""The command line in a folder of its own, and sweeps there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import moesim, place

__all__ = ["moesim", "place", "write"]


@pytest.fixture
def write(place: Path) -> Callable[[str], Path]:
    """Return what writes a sweep file into the folder, beside a scenario that works (`ok.yaml`)."""

    def written(text: str) -> Path:
        path = Path("sweep.yaml")
        path.write_text(text, encoding="utf-8")
        return path

    del place
    return written
