"""What the user says about a file to import, beside the file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

MAX_BYTES = 16 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How to read a foreign file, and what it does not say of itself.

    `fields` maps a tensor of the trace (`expert_ids`, `context_start`, ...) or a column of a table (`sequence`,
    `token`, `layer`, ...) to its name in the file; what is not mapped goes by its own name. `prompt_tokens` is how many
    leading tokens of each sequence are the prompt: `none`, `all` or a number; None asks the file. `num_layers` and
    `top_k` are needed only where ids come as a flat list. `skip_layers` are layers, as the file counts them, that hold
    no routing (dense ones). `max_bytes` bounds what is read into memory; `progress` is told bytes done and all bytes.
    """

    model: str | None = None
    num_experts: int | None = None
    num_layers: int | None = None
    top_k: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    prompt_tokens: Literal["none", "all"] | int | None = None
    skip_layers: frozenset[int] = frozenset()
    gate: str | None = None
    source: str = "unknown"
    licence: str = "unknown"
    captured: str | None = None
    max_bytes: int = MAX_BYTES
    progress: Callable[[int, int], None] | None = None
