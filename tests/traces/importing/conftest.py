"""Fixtures of the import tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.cli import app
from traces.format import Trace, open_trace

Import = Callable[..., Trace]


@pytest.fixture
def run_import(tmp_path: Path) -> Import:
    """Return a function that runs `moesim trace import` in this process and opens the trace."""

    def run(*arguments: object, out: str = "out.safetensors") -> Trace:
        tokens = ["trace", "import", *map(str, arguments), "--out", str(tmp_path / out)]
        app(tokens, result_action="return_value", exit_on_error=False)
        trace = open_trace(tmp_path / out)
        trace.check()
        return trace

    return run
