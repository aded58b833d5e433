"""The trace of the tests of serving."""

from pathlib import Path

import pytest

from tests.serving.harness import write_plain_trace
from traces.format import Trace


@pytest.fixture(scope="session")
def plain_trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Return a trace of one layer."""
    path: Path = tmp_path_factory.mktemp("plain") / "plain.safetensors"
    return write_plain_trace(path)
