"""Which GPU computes which expert."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EVERYWHERE = -1
"""The home of an expert that each GPU computes for its own tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Homes:
    """`gpu_of_key` [num_keys] is each expert's GPU, or EVERYWHERE.

    `method` says how they were found, `is_optimal` whether nothing better exists (None where that is not asked), `notes`
    what a reader should know. `cut` of the `total` transitions of training tokens lead from one GPU to another, None where
    nothing was learned.
    """

    num_gpus: int
    gpu_of_key: Sequence[int]
    method: str
    is_optimal: bool | None = None
    cut: int | None = None
    total: int | None = None
    notes: Sequence[str] = ()

    def keys_of(self, gpu: int) -> Sequence[int]:
        """Return the experts that a GPU may compute, in order."""
        return [key for key, home in enumerate(self.gpu_of_key) if home in (gpu, EVERYWHERE)]


def round_robin(*, num_gpus: int, num_keys: int, num_experts: int) -> Homes:
    """Deal the experts of each bank out in turn: expert e to GPU e mod N.

    Source: the strategy `round_robin` of vLLM's expert parallelism (`--expert-placement-strategy`).
    """
    gpu_of_key = [key % num_experts % num_gpus for key in range(num_keys)]
    return Homes(num_gpus=num_gpus, gpu_of_key=gpu_of_key, method="round_robin")


def replicated(popularity: NDArray[np.int64], *, num_gpus: int, num_experts: int, replicas: int) -> Homes:
    """Give the `replicas` most popular experts of each bank to every GPU, and deal the others out in turn.

    Ties in popularity go to the lowest key.

    Source: copies of popular experts on several GPUs, DeepSeek-V3, arXiv 2412.19437, section 3.4 (redundant experts); that
    each has a copy on every GPU is ours.
    """
    gpu_of_key: list[int] = []
    for counts in popularity.reshape(-1, num_experts):
        most_popular = set(np.argsort(-counts, kind="stable")[:replicas].tolist())
        others = [expert for expert in range(num_experts) if expert not in most_popular]
        home_of = {expert: at % num_gpus for at, expert in enumerate(others)}
        gpu_of_key += [home_of.get(expert, EVERYWHERE) for expert in range(num_experts)]
    return Homes(num_gpus=num_gpus, gpu_of_key=gpu_of_key, method="replicated")


def everywhere(*, num_gpus: int, num_keys: int) -> Homes:
    """Have each GPU compute whatever its own tokens need."""
    return Homes(num_gpus=num_gpus, gpu_of_key=[EVERYWHERE] * num_keys, method="shared")
