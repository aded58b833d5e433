"""The comparison with the torch runtime on the CPU: what does not depend on time is the same to the last count."""

from pathlib import Path

import pytest

from tests.validation.compare import fake
from validation.compare.facts import processor_name
from validation.compare.simulate import read_profile
from validation.compare.suite import read_suite
from validation.compare.validate import TRACES, validate

pytest.importorskip("torch")

SUITE = """
name: tiny
repeats: 1
models:
  forced: {config: tiny.json, dtype: float32, routing: forced, trace: t.safetensors, sequences: 3, prompt_tokens: 1,
           output_tokens: 6}
  own: {config: tiny.json, dtype: float32, routing: own, sequences: 3, prompt_tokens: 2, output_tokens: 5}
defaults: {bandwidth: 2 GB/s, latency: 50 us, max_tokens: 12}
configurations:
  - {model: [forced, own], cache_frac: 0.5, eviction: [lru, belady], batch: [1, 2]}
  - {model: own, cache_frac: 0.5, prefetch: {name: gate_lookahead, distance: 1, experts: 2}}
"""


def test_counts_of_demand_fetching_are_those_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forced routing and the model's own, recorded beforehand; with a prefetcher every access is still one of three."""
    from validation.compare.backend import TorchBackend

    monkeypatch.setattr(fake, "NAME", processor_name())
    suite = read_suite(fake.fill(tmp_path, SUITE), trace_folder=tmp_path / TRACES)
    profiles = [
        read_profile(tmp_path / f"{name}.yaml", measured_on=name, device_name=fake.NAME) for name in suite.models
    ]
    backend = TorchBackend("cpu", dict(zip(suite.models, profiles, strict=True)))
    compared = validate(suite, profiles, backend, tmp_path)
    assert len(compared) == 9
    for item in compared:
        simulated, (replay,) = item.simulated.own.summary, item.replays
        for name in ("accesses", "tokens", "steps"):
            assert replay.summary[name] == simulated[name], (item.simulated.configuration.id, name)
        if item.simulated.configuration.prefetch.name == "none":
            for name in ("hits", "late_hits", "misses", "h2d_demand_bytes"):
                assert replay.summary[name] == simulated[name], (item.simulated.configuration.id, name)
        assert replay.num_other_picks == 0
        assert all(step.probe_ns for step in replay.steps)
        assert item.steady().num_steps == len(replay.steps)
