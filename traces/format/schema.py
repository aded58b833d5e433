"""What a trace consists of: tensors, their dtypes, metadata; and what it looks like in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION = "1"
INDEX_NAME = "index.json"

Ids = NDArray[np.uint8] | NDArray[np.uint16]

REQUIRED = ("expert_ids", "sequence_start", "prompt_tokens")
DTYPES = {
    "expert_ids": ("U8", "U16"),
    "gate_weights": ("F16",),
    "sequence_start": ("I64",),
    "prompt_tokens": ("I32",),
    "context_start": ("I32",),
    "sequence_category": ("U16",),
    "lookahead_ids": ("U8", "U16"),
    "token_ids": ("I32",),
}
NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "U8": np.dtype(np.uint8),
    "U16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "I32": np.dtype(np.int32),
    "I64": np.dtype(np.int64),
}
PER_TOKEN = ("expert_ids", "gate_weights", "lookahead_ids", "token_ids")
METADATA_KEYS = ("format_version", "model", "shape", "banks", "gate", "captured", "source", "licence", "categories")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceMetadata:
    """What a trace says of itself, beside its tensors.

    `num_experts` counts the experts of one bank. `banks` has one entry per routing round, the bank that it draws from;
    empty means that each round has a bank of its own. `gate` names how weights come from logits (`softmax`,
    `softmax_top_k`, `sigmoid`, ...); `captured` how, when and on what device; `source` and `licence` whose data it is.
    `categories` names the values of `sequence_category`. `extra` holds further strings, kept as they are; a key of the
    format's own in it (`shape`, `model`, ...) is a ValueError when written.
    """

    model: str
    num_experts: int
    banks: tuple[int, ...] = ()
    gate: str = "unknown"
    captured: str = "unknown"
    source: str = "unknown"
    licence: str = "unknown"
    categories: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequences:
    """Recorded routing of S whole sequences, in memory. Shapes and meanings are those of the module's table."""

    expert_ids: Ids
    sequence_start: NDArray[np.int64]
    prompt_tokens: NDArray[np.int32]
    gate_weights: NDArray[np.float16] | None = None
    context_start: NDArray[np.int32] | None = None
    sequence_category: NDArray[np.uint16] | None = None
    lookahead_ids: Ids | None = None
    token_ids: NDArray[np.int32] | None = None

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the tensors that are there, by name."""
        named = {name: getattr(self, name) for name in DTYPES}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def expert_id_dtype(num_experts: int) -> type[np.uint8] | type[np.uint16]:
    """Return the narrowest dtype that the format allows for ids below `num_experts`."""
    return np.uint8 if num_experts <= 256 else np.uint16
