"""Every system runs, on small loads and on recorded ones, and the laws of conservation hold."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from simulator.run import simulate
from simulator.scenario import build_scenario
from simulator.systems import POLICY_KINDS, read_system, system_names
from tests.hand_made import random_routing
from tests.systems.laws import assert_laws
from tests.systems.play import load
from traces.format import Sequences, TraceMetadata, write_trace

SYSTEMS = system_names()
RECORDED = {
    "gpt-oss-20b": ("gpt-oss-20b_decode.npz", 32, 0),
    "deepseek-v2-lite": ("deepseek-v2-lite_prefill.npz", 64, 20),
}
"""By model: the recording, its experts, and the tokens of each sequence that count as prompt."""


@pytest.mark.parametrize("name", SYSTEMS)
def test_descriptions(name: str) -> None:
    """One line that fits a terminal, a source, and what lossy policies lose."""
    system = read_system(name)
    assert len(system.description) <= 125
    assert "\n" not in system.description
    assert system.source
    lossy = {"buddy", "daop", "defer", "drop", "low_precision", "masked", "skip", "substitute_low_score"}
    miss = system.settings.get("miss")
    if (miss["name"] if isinstance(miss, Mapping) else miss) in lossy:
        assert system.quality
    assert any(kind in system.settings for kind in POLICY_KINDS)


@pytest.mark.parametrize("lookahead", [0, 3])
@pytest.mark.parametrize("name", SYSTEMS)
def test_small_loads(name: str, lookahead: int, tmp_path: Path) -> None:
    """Four layers of six experts, top-2, with prompts, in a batch; gates ahead recorded or stated."""
    sequences = random_routing(3, lengths=[5, 9, 7, 6, 8], num_layers=4, num_experts=6, top_k=2)
    values = load(tmp_path, sequences, num_experts=6, weights=[0.7, 0.3], prompts=[2, 0, 3, 1, 0], lookahead=lookahead)
    values |= {"system": name, "fit": {"sequences": 2}, "batch": 2, "cache": {"experts": 16}}
    result = simulate(build_scenario(values, name), source=name)
    assert result.summary["requests_finished"] == 3
    assert_laws(result.summary)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_same_again(name: str, tmp_path: Path) -> None:
    """The same inputs give the same summary."""
    sequences = random_routing(4, lengths=[6, 6, 6], num_layers=3, num_experts=8, top_k=2)
    values = load(tmp_path, sequences, num_experts=8, weights=[0.6, 0.4])
    values |= {"system": name, "fit": {"sequences": 1}, "cache": {"experts": 15}, "batch": 2}
    first, second = (simulate(build_scenario(values, name), source=name).summary for _ in range(2))
    assert first == second


@pytest.fixture(scope="module")
def slices(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return the first sequences of each recording as a trace: two to fit on, two to run."""
    folder = tmp_path_factory.mktemp("slices")
    return {model: write_slice(shared_data, folder, model) for model in RECORDED}


def write_slice(shared_data: Path, folder: Path, model: str, *, most: int = 60) -> Path:
    """Write four sequences of a recording, at most so many tokens of each."""
    name, num_experts, prompt = RECORDED[model]
    with np.load(shared_data / "traces" / name, allow_pickle=False) as arrays:
        start = arrays["sequence_start"]
        tokens = [np.arange(start[i], min(start[i + 1], start[i] + most)) for i in range(4)]
        chosen = np.concatenate(tokens)
        recorded = Sequences(
            expert_ids=arrays["expert_ids"][chosen],
            gate_weights=arrays["gate_weights"][chosen],
            sequence_start=np.cumsum([0, *map(len, tokens)]).astype(np.int64),
            prompt_tokens=np.array([min(prompt, len(of_sequence) - 1) for of_sequence in tokens], np.int32),
        )
    path = folder / f"{model}.safetensors"
    write_trace(path, recorded, TraceMetadata(model=model, num_experts=num_experts))
    return path


@pytest.mark.parametrize("frac", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("model", RECORDED)
@pytest.mark.parametrize("name", SYSTEMS)
def test_recorded_loads(name: str, model: str, frac: float, slices: Mapping[str, Path]) -> None:
    """A tenth, a quarter and half of the experts resident, on real routing."""
    values = {
        "trace": str(slices[model]),
        "model": model,
        "hardware": "rtx-4090",
        "system": name,
        "cache": {"frac": frac},
        "fit": {"sequences": 2},
        "max_tokens": 20,
    }
    summary = simulate(build_scenario(values, name), source=name).summary
    tokens = summary["tokens"]
    assert isinstance(tokens, int)
    assert tokens >= 20
    assert_laws(summary)
