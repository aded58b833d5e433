"""A device that is none: it replays by simulating on a machine that differs a little, with noise of its own."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from simulator.model.load import load_model
from tests.traces import make
from traces.format import Sequences, TraceMetadata, write_trace
from validation.compare.replaying import Replay
from validation.compare.simulate import (
    CalibratedProfile,
    model_location,
    read_profile,
    simulate_configuration,
    simulate_steps,
)
from validation.compare.suite import Configuration, SuiteModel
from validation.replay.measured_step import MeasuredStep

NAME = "a processor"
PROBE_NS = 100_000
SHAPE = """{
  "_name_or_path": "tiny", "model_type": "qwen3_moe", "hidden_size": 64, "num_hidden_layers": 4, "vocab_size": 256,
  "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "intermediate_size": 64,
  "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16, "decoder_sparse_step": 1, "mlp_only_layers": [],
  "tie_word_embeddings": false, "dtype": "bfloat16"
}
"""
SUITE = """
name: tiny
description: made for a test
repeats: 3
seed: 5
models:
  forced: {config: tiny.json, dtype: float32, routing: forced, trace: t.safetensors, sequences: 3, prompt_tokens: 1,
           output_tokens: 6}
  own: {config: tiny.json, dtype: bfloat16, routing: own, sequences: 2, prompt_tokens: 2, output_tokens: 5}
defaults: {bandwidth: 2 GB/s, latency: 50 us, max_tokens: 12}
configurations:
  - {model: [forced, own], cache_frac: [0.25, 0.5], eviction: [lru, fifo]}
  - {model: forced, cache_frac: 0.5, eviction: belady, prefetch: {name: perfect, lookahead_layers: 2}, batch: 2}
"""


def fill(folder: Path, suite: str = SUITE) -> Path:
    """Write a suite with all that it names, and a profile for each model; return the suite's path."""
    (folder / "tiny.json").write_text(SHAPE, encoding="utf-8")
    write_trace(folder / "t.safetensors", make.sequences((9, 8, 12, 3), num_layers=4, seed=5), make.METADATA)
    library = Path(__file__).parents[3] / "hardware_profiles" / "library" / "fixed-costs.yaml"
    text = library.read_text(encoding="utf-8").replace('name: "none"', f'name: "{NAME}"')
    for model in ("forced", "own"):
        (folder / f"{model}.yaml").write_text(text.replace('"fixed-costs"', f'"on {model}"'), encoding="utf-8")
    (folder / "suite.yaml").write_text(suite, encoding="utf-8")
    return folder / "suite.yaml"


def profiles(folder: Path) -> list[CalibratedProfile]:
    """Return the profiles that `fill` has written, one measured on each model."""
    return [read_profile(folder / f"{name}.yaml", measured_on=name, device_name=NAME) for name in ("forced", "own")]


def probed_profiles(folder: Path) -> list[CalibratedProfile]:
    """Return the profiles that `fill` has written, with the probe of a fast machine."""
    return [replace(profile, speed_probe_ns=PROBE_NS) for profile in profiles(folder)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeReplayed:
    """As a replay returns it."""

    summary: Mapping[str, object]
    steps: Sequence[MeasuredStep]
    recording_frac: float = 0.01
    num_other_picks: int = 0


@dataclass(slots=True, kw_only=True)
class FakeBackend:
    """Replays `slower` times slower than simulated, give or take `noise`. `log` says what was called, in order.

    A share `slow_frac` of the steps, drawn at random, is twice as slow again, and so are their probes; without it no probes
    are taken. Stops with KeyboardInterrupt before replay number `stop_at`.
    """

    folder: Path
    slower: float = 1.1
    noise: float = 0.02
    slow_frac: float | None = None
    stop_at: int | None = None
    device: str = "cpu"
    device_name: str = NAME
    log: list[str] = field(default_factory=list)
    num_replays: int = 0

    def record(self, name: str, model: SuiteModel, target: Path) -> None:
        """Write random routing."""
        self.log.append(f"record {name}")
        spec = load_model(model_location(model, name))
        lengths = np.full(model.sequences, model.prompt_tokens + model.output_tokens)
        ids = make.random_ids(
            np.random.default_rng(model.seed),
            num_tokens=int(lengths.sum()),
            num_layers=spec.num_layers,
            num_experts=spec.num_experts,
            top_k=spec.top_k,
        )
        sequences = Sequences(
            expert_ids=ids,
            sequence_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            prompt_tokens=np.full(model.sequences, model.prompt_tokens, dtype=np.int32),
        )
        write_trace(target, sequences, TraceMetadata(model=name, num_experts=spec.num_experts))

    @contextmanager
    def open(self, name: str, model: SuiteModel) -> Iterator[Replay]:
        """Yield the replay."""
        del model
        self.log.append(f"open {name}")
        profile = read_profile(self.folder / f"{name}.yaml", measured_on=name, device_name=NAME)
        randomness = random.Random(name)

        def replay(configuration: Configuration, timeline: Path | None) -> FakeReplayed:
            if self.num_replays == self.stop_at:
                raise KeyboardInterrupt
            self.num_replays += 1
            self.log.append(f"{configuration.id}{' with timeline' if timeline else ''}")
            if timeline is not None:
                simulate_configuration(configuration, profile, timeline)
            result, simulated = simulate_steps(configuration, profile)
            factor = self.slower + randomness.uniform(-1, 1) * self.noise
            steps = []
            for step in simulated:
                slowdown = 2 if self.slow_frac is not None and randomness.random() < self.slow_frac else 1
                steps.append(
                    MeasuredStep(
                        duration_ns=round(step.duration_ns * factor * slowdown),
                        num_emits=step.num_emits,
                        hits=step.hits,
                        late_hits=step.late_hits,
                        misses=step.misses,
                        probe_ns=None if self.slow_frac is None else PROBE_NS * slowdown,
                    )
                )
            overall = sum(step.duration_ns for step in steps) / sum(step.duration_ns for step in simulated)
            return FakeReplayed(summary=scaled(result.summary, overall), steps=steps)

        yield replay
        self.log.append(f"close {name}")


def scaled(summary: Mapping[str, object], factor: float) -> dict[str, Any]:
    """Return a summary whose times are `factor` times as long."""
    scaled_: dict[str, Any] = dict(summary)
    for group in ("tpot_s", "itl_s", "ttft_s", "e2e_s"):
        values: Any = summary[group]
        scaled_[group] = {key: None if value is None else value * factor for key, value in values.items()}
    causes: Any = summary["attribution_ns"]
    scaled_["attribution_ns"] = {cause: round(value * factor) for cause, value in causes.items()}
    return scaled_
