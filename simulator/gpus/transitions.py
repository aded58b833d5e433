"""How tokens pass from the experts of a layer to those of the next.

Legend: L layers, T tokens, K top-k, E experts of a bank, N GPUs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.prefetch.counting import co_occurrences, experts_by_layer
from simulator.training import Training

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """`counts` [E, E] by (bank, later bank): how often a token picks one expert in a layer, and one in the next.

    Layers that draw from the same banks are counted together. Of a bank with itself, a pair is counted once, above the
    diagonal; an expert that follows itself never changes GPUs and is left out.
    """

    num_banks: int
    num_experts: int
    counts: Mapping[tuple[int, int], Counts]

    @property
    def total(self) -> int:
        """All transitions that could lead to another GPU."""
        return int(sum(counts.sum() for counts in self.counts.values()))

    def cut(self, gpu_of_BE: Counts) -> int:
        """Count the transitions that lead to another GPU, where `gpu_of_BE` [banks, E] is the home of each expert."""
        return int(
            sum(
                counts[gpu_of_BE[bank][:, None] != gpu_of_BE[later][None, :]].sum()
                for (bank, later), counts in self.counts.items()
            )
        )

    def pull(self, bank: int, gpu_of_BE: Counts, num_gpus: int) -> Counts:
        """Return [E, N] how many transitions of each expert of a bank lead to, or come from, experts of each GPU."""
        pull_EN = np.zeros((self.num_experts, num_gpus), np.int64)
        for (one, other), counts in self.counts.items():
            if one == bank:
                pull_EN += counts @ np.eye(num_gpus, dtype=np.int64)[gpu_of_BE[other]]
            if other == bank:
                pull_EN += counts.T @ np.eye(num_gpus, dtype=np.int64)[gpu_of_BE[one]]
        return pull_EN

    def within(self, bank: int) -> Counts:
        """Return [E, E] the transitions between two experts of one bank, the same both ways."""
        counts = self.counts.get((bank, bank))
        return np.zeros((self.num_experts,) * 2, np.int64) if counts is None else counts + counts.T


def count_transitions(training: Training, banks: Sequence[int]) -> Transitions:
    """Count the transitions of training tokens; `banks` [L] is what each layer draws from.

    Source: the conditional probability of experts in consecutive layers, ExFlow, arXiv 2401.08383; there for top-1
    gates. With K picks all K * K pairs of a token count.
    """
    experts_LTK, num_experts = experts_by_layer(training), training.num_experts
    found: dict[tuple[int, int], Counts] = {}
    for layer in range(len(banks) - 1):
        counts = co_occurrences(
            experts_LTK[layer], experts_LTK[layer + 1], num_rows=num_experts, num_columns=num_experts
        )
        bank, later = banks[layer], banks[layer + 1]
        if bank > later:
            bank, later, counts = later, bank, counts.T
        if bank == later:
            counts = np.triu(counts + counts.T, k=1)
        found[bank, later] = found.get((bank, later), 0) + counts
    return Transitions(num_banks=max(banks) + 1, num_experts=num_experts, counts=found)
