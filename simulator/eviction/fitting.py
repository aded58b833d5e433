"""Fit once what many pools' policies learn from the same recorded routing."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from simulator.training import Training

P = ParamSpec("P")
T = TypeVar("T")


def fit_once(fit: Callable[Concatenate[Training, P], T]) -> Callable[Concatenate[Training, P], T]:
    """Return `fit`, which then works once for each training and arguments, however often it is asked.

    Nothing is kept beyond the training's life.
    """
    fits: WeakKeyDictionary[Training, dict[object, T]] = WeakKeyDictionary()

    def fitted(training: Training, /, *args: P.args, **kwargs: P.kwargs) -> T:
        of_training = fits.setdefault(training, {})
        asked = (args, tuple(kwargs.items()))
        if asked not in of_training:
            of_training[asked] = fit(training, *args, **kwargs)
        return of_training[asked]

    return fitted


@fit_once
def uses_per_token(training: Training) -> NDArray[np.float64]:
    """Return the share of tokens that use each key, [num_keys], summed over the layers that share its bank."""
    return training.popularity() / len(training.keys_TLK)


@fit_once
def next_token_uses(training: Training) -> NDArray[np.float32]:
    """Count what follows what in a layer: [layer, e, f] is how often a token used f whose predecessor used e.

    float32 [L, E, E]. The first token of a sequence has no predecessor.
    """
    num_layers, num_experts = training.num_layers, training.num_experts
    experts = training.keys_TLK % num_experts  # [T, L, K]
    follows = np.ones(len(experts), bool)
    follows[training.sequence_start[:-1]] = False
    before, after = experts[:-1][follows[1:]], experts[1:][follows[1:]]
    counts = np.empty((num_layers, num_experts, num_experts), np.float32)
    for layer in range(num_layers):
        pairs = before[:, layer, :, None] * num_experts + after[:, layer, None, :]
        counts[layer] = np.bincount(pairs.ravel(), minlength=num_experts**2).reshape(num_experts, num_experts)
    return counts


@fit_once
def expert_maps(training: Training, capacity: int) -> NDArray[np.float32]:
    """Return how each of up to `capacity` tokens, spread evenly, was routed: gate weights by expert, float32 [L, tokens, E].

    Where the trace has no gate weights, each of a token's experts has the same.
    """
    num_tokens, num_layers, top_k = training.keys_TLK.shape
    chosen = np.linspace(0, num_tokens - 1, min(capacity, num_tokens)).astype(np.int64)
    experts = training.keys_TLK[chosen] % training.num_experts
    weights = training.weights_TLK()[chosen] if training.has_gate_weights else np.float32(1 / top_k)
    maps = np.zeros((num_layers, len(chosen), training.num_experts), np.float32)
    of_layers = np.broadcast_to(weights, experts.shape).transpose(1, 0, 2)
    np.put_along_axis(maps, experts.transpose(1, 0, 2).astype(np.int64), of_layers, axis=2)
    return maps
