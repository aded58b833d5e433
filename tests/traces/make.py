"""Small traces to test with."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from traces.format import Ids, Sequences, TraceMetadata, expert_id_dtype, write_trace

PER_TOKEN = ("expert_ids", "gate_weights", "lookahead_ids", "token_ids")
METADATA = TraceMetadata(model="tiny", num_experts=8, gate="softmax_top_k", source="made for a test", licence="CC0")


def random_ids(
    rng: np.random.Generator,
    *,
    num_tokens: int,
    num_layers: int,
    num_experts: int,
    top_k: int,
    dtype: DTypeLike | None = None,
) -> Ids:
    """Return [num_tokens, num_layers, top_k] distinct ids per top-k set."""
    order = np.argsort(rng.random((num_tokens, num_layers, num_experts)), axis=-1)[..., :top_k]
    ids: Ids = order.astype(dtype or expert_id_dtype(num_experts))
    return ids


def sequences(
    lengths: tuple[int, ...] = (3, 5), *, num_layers: int = 2, num_experts: int = 8, top_k: int = 2, seed: int = 0
) -> Sequences:
    """Return random sequences with weights; the first two tokens of each are the prompt."""
    rng = np.random.default_rng(seed)
    num_tokens = sum(lengths)
    weights = np.sort(rng.random((num_tokens, num_layers, top_k)), axis=-1)[..., ::-1]
    return Sequences(
        expert_ids=random_ids(rng, num_tokens=num_tokens, num_layers=num_layers, num_experts=num_experts, top_k=top_k),
        sequence_start=np.cumsum([0, *lengths]).astype(np.int64),
        prompt_tokens=np.minimum(2, lengths).astype(np.int32),
        gate_weights=weights.astype(np.float16),
    )


def write(path: Path, *, metadata: TraceMetadata = METADATA, num_layers: int = 2, seed: int = 0) -> Path:
    """Write a small trace and return its path."""
    write_trace(path, sequences(num_layers=num_layers, seed=seed), metadata)
    return path


def header() -> dict[str, str]:
    """Return the metadata of a valid trace of `tensors()`."""
    return {
        "format_version": "1",
        "model": "tiny",
        "shape": json.dumps({"num_layers": 2, "num_experts": 8, "top_k": 2}),
        "banks": "[]",
        "categories": json.dumps(["law", "code"]),
    }


def tensors() -> dict[str, NDArray[Any]]:
    """Return the tensors of a valid trace, to spoil one of them."""
    return {
        **sequences().tensors(),
        "context_start": np.zeros(2, np.int32),
        "sequence_category": np.array([1, 0], np.uint16),
        "lookahead_ids": np.tile(np.array([1, 2], np.uint8), (8, 2, 1, 1)),
        "token_ids": np.arange(8, dtype=np.int32),
    }


def write_raw(path: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str] | None) -> Path:
    """Write a safetensors file that nothing has checked."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path, metadata)
    return path


def write_sparse(path: Path, *, num_tokens: int, num_layers: int, top_k: int) -> Path:
    """Write the header of a trace of one sequence, and a hole for its `expert_ids`."""
    ids_bytes = num_tokens * num_layers * top_k
    shape = {"num_layers": num_layers, "num_experts": 256, "top_k": top_k}
    described: dict[str, object] = {
        "__metadata__": {"format_version": "1", "model": "sparse", "shape": json.dumps(shape)},
        "sequence_start": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]},
        "prompt_tokens": {"dtype": "I32", "shape": [1], "data_offsets": [16, 20]},
        "expert_ids": {
            "dtype": "U8",
            "shape": [num_tokens, num_layers, top_k],
            "data_offsets": [20, 20 + ids_bytes],
        },
    }
    text = json.dumps(described).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + struct.pack("<qqi", 0, num_tokens, 0))
        file.truncate(8 + len(text) + 20 + ids_bytes)
    return path
