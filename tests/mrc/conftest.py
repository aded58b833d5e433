"""Traces to draw curves of, and loops compiled and plain."""

from pathlib import Path

import pytest

from tests.hand_made import make_trace, random_routing
from traces.format import Trace


@pytest.fixture
def drawn_trace(tmp_path: Path) -> Trace:
    """Return a trace of a few sequences, prompts among them, two rounds of which share a bank."""
    routing = random_routing(3, lengths=[40, 9, 25, 17], num_layers=4, num_experts=8, top_k=3)
    return make_trace(tmp_path / "trace", routing, num_experts=8, prompt_tokens=[5, 0, 25, 2], banks=(0, 1, 0, 2))


@pytest.fixture(params=["compiled", "plain"])
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run loops compiled, where numba is there, and as plain Python."""
    kind: str = request.param
    if kind == "plain":
        monkeypatch.setenv("MOESIM_PLAIN_LOOPS", "1")
    else:
        pytest.importorskip("numba")
    return kind
