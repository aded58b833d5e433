"""How often two experts of a layer serve the same token: what BuddyMoE and its like take for likeness.

Legend: L routing rounds, E experts of a bank.

Limits: experts that serve the same tokens need not compute alike; a comparison of weights or outputs would say more.
"""

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from simulator.training import Training

_COUNTED: WeakKeyDictionary[Training, NDArray[np.int64]] = WeakKeyDictionary()


def co_activation(training: Training) -> NDArray[np.int64]:
    """Count the tokens that pick both of two experts, [L, E, E], with zeros on the diagonal; counted once per training.

    Source: BuddyMoE, arXiv 2511.10054, the matrix M of its offline stage.
    """
    counts = _COUNTED.get(training)
    if counts is None:
        counts = _COUNTED[training] = _count(training)
    return counts


def _count(training: Training) -> NDArray[np.int64]:
    num_experts = training.num_experts
    num_layers, top_k = training.keys_TLK.shape[1:]
    counts = np.zeros((num_layers, num_experts * num_experts), np.int64)
    for layer in range(num_layers):
        experts = training.keys_TLK[:, layer] % num_experts
        for rank in range(top_k):
            for lower in range(rank + 1, top_k):
                pairs = experts[:, rank] * num_experts + experts[:, lower]
                counts[layer] += np.bincount(pairs, minlength=num_experts * num_experts)
    square = counts.reshape(num_layers, num_experts, num_experts)
    return square + square.transpose(0, 2, 1)
