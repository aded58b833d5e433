"""How unevenly a layer uses its experts.

Source: the load of an expert, as the share of tokens that choose it, is that of Fedus, Zoph and Shazeer, "Switch
Transformers" (2022), section 2.2; the skew that offloading lives on is what Kamahori et al., "Fiddler" (2024), call
expert popularity. Gini coefficient: Gini (1912); entropy: Shannon (1948).

Limits: one number per expert for the whole trace; how it moves is the business of `drift`.
"""

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids


def use_counts(ids_TLK: Ids, num_experts: int) -> NDArray[np.int64]:
    """Return how many tokens use each expert, [L, E]."""
    layers = range(ids_TLK.shape[1])
    return np.stack([np.bincount(ids_TLK[:, layer].ravel(), minlength=num_experts) for layer in layers])


def gini(counts_LE: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the Gini coefficient of each layer's counts, [L]: 0 if all experts are used alike, towards 1 if one is."""
    num_experts = counts_LE.shape[1]
    ascending = np.sort(counts_LE, axis=1)
    weighted = (2 * np.arange(1, num_experts + 1) - num_experts - 1) * ascending
    return np.asarray(weighted.sum(axis=1) / (num_experts * ascending.sum(axis=1)))


def normalised_entropy(counts_LE: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the entropy of each layer's accesses over that of uniform ones, [L]: 1 if all experts are used alike.

    1 for a layer with one expert.
    """
    num_experts = counts_LE.shape[1]
    share = counts_LE / counts_LE.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(share > 0, share * np.log(share), 0.0)
    return np.asarray(-terms.sum(axis=1) / np.log(num_experts)) if num_experts > 1 else np.ones(len(counts_LE))


def top_share(counts_LE: NDArray[np.int64], top_frac: float) -> NDArray[np.float64]:
    """Return the share of accesses that go to each layer's ceil(`top_frac` * E) most used experts, [L]."""
    top = int(np.ceil(top_frac * counts_LE.shape[1]))
    descending = -np.sort(-counts_LE, axis=1)
    return np.asarray(descending[:, :top].sum(axis=1) / counts_LE.sum(axis=1))
