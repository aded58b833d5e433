"""Fixtures of the benchmarks: traces, and the folder of recorded ones that the tests use."""

from pathlib import Path

import numpy as np
import pytest

from bench.routing import sticky_zipf
from tests.conftest import shared_data as shared_data  # a fixture
from traces.format import Sequences, TraceMetadata, write_trace


@pytest.fixture(scope="session")
def recorded_trace(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the decode of gpt-oss-20b as a trace: 24 layers, 32 experts, top-4."""
    with np.load(shared_data / "traces" / "gpt-oss-20b_decode.npz") as archive:
        sequences = Sequences(
            expert_ids=archive["expert_ids"],
            sequence_start=archive["sequence_start"].astype(np.int64),
            prompt_tokens=np.zeros(len(archive["prompt_len"]), np.int32),
            context_start=archive["prompt_len"].astype(np.int32),
        )
    path = tmp_path_factory.mktemp("recorded") / "gpt-oss-20b.safetensors"
    write_trace(path, sequences, TraceMetadata(model="gpt-oss-20b", num_experts=32))
    return path


@pytest.fixture(scope="session")
def wide_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a synthetic trace of the shape of qwen3-30b-a3b: 48 layers, 128 experts, top-8."""
    path = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    sticky_zipf(path, num_tokens=4000, sequence_tokens=500, num_layers=48, num_experts=128, top_k=8, seed=1)
    return path


@pytest.fixture(scope="session")
def long_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a synthetic trace of 60,000 tokens that are alike throughout, of the shape of gpt-oss-20b."""
    path = tmp_path_factory.mktemp("long") / "long.safetensors"
    sticky_zipf(path, num_tokens=60_000, sequence_tokens=500, num_layers=24, num_experts=32, top_k=4, seed=2)
    return path
