"""What a scheduler keeps to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a batch and of the queue, and what happens when KV cache runs out.

    `batch` requests run at once; a step holds at most `step_tokens`, a chunk of a prompt at most `chunk_tokens` (None:
    prompts are divided only where they are longer than a step, or where they share one with tokens that decode). A request
    that finds `waiting` others in the queue is refused. The queue's head is let in while `spare_frac` of what KV cache may
    have stays free. With `displaces`, it takes the place of a running request of lower priority where there is no other.
    `priorities` are by class, higher first, 0 where nothing is said.
    """

    batch: int
    step_tokens: int
    chunk_tokens: int | None = None
    waiting: int | None = None
    preemption: Literal["recompute", "swap"] = "recompute"
    spare_frac: float = 0.01
    displaces: bool = False
    priorities: Mapping[str, int] = field(default_factory=dict)
