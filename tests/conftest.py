"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real traces and workloads, `MOESIM_DATA`; skip where it is unset."""
    folder = os.environ.get("MOESIM_DATA")
    if not folder:
        pytest.skip("MOESIM_DATA names no folder of real traces")
    return Path(folder)
