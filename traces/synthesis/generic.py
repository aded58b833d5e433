"""A `RoutingModel` from a few numbers, for shapes of which no trace is at hand.

Source: the Zipf law of popularity is an assumption, as are the equal amplitudes of the parts that last; both are made
for lack of a trace, and are not a measurement of any model.

Limits: all layers alike but for the names of their experts; no templates, no eras, independent layers.
"""

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.synthesis.fit import fit_base
from traces.synthesis.model import LASTING_TOKENS, Block, RoutingModel

MAX_STICKINESS = 0.7  # the parts that last, in equal amplitudes, reach 0.75 without any white noise
_SEED = 0


def generic_model(
    *, num_layers: int, num_experts: int, top_k: int, skew: float, stickiness: float, sequence_tokens: int
) -> RoutingModel:
    """Return a model of any shape.

    `skew` is the exponent of popularity by rank (0: all alike); `stickiness` the correlation of an expert's score at
    adjacent tokens (0: independent tokens); every sequence has `sequence_tokens`, half of them prompt. Raises
    TraceError.
    """
    for name, value, low, high in (
        ("--layers", num_layers, 1, 10_000),
        ("--experts", num_experts, 1, 1 << 16),
        ("--top-k", top_k, 1, num_experts),
        ("--skew", skew, 0, 10),
        ("--stickiness", stickiness, 0, MAX_STICKINESS),
        ("--sequence-tokens", sequence_tokens, 1, 1 << 31),
    ):
        if not low <= value <= high:
            raise TraceError(name, f"is {value}; it should be {low} to {high}")
    names = np.arange(num_experts)
    base_E = fit_base(_zipf(num_experts, top_k, skew)[None], top_k, 1_000_000, names[None])[0]
    rng = np.random.default_rng(_SEED)
    base_LE = np.stack([base_E[rng.permutation(num_experts)] for _ in range(num_layers)])
    amplitude = _amplitude(stickiness)
    block = Block(
        base_LE=base_LE,
        token_frac=1.0,
        prefix_tokens=0,
        suffix_tokens=0,
        lengths_Q=(sequence_tokens, sequence_tokens),
        prompt_frac_Q=(0.5, 0.5),
    )
    return RoutingModel(
        num_experts=num_experts,
        top_k=top_k,
        blocks=(block,),
        fitted_tokens=sequence_tokens,
        strength_L=np.ones(num_layers),
        amplitudes=(0.0, amplitude, amplitude, amplitude, amplitude),
        affinity=0.0,
        companionship=0.0,
        chain_LE=np.tile(names, (num_layers, 1)),
        gate_rank_means_K=tuple((np.arange(top_k, 0, -1) / (top_k * (top_k + 1) / 2)).tolist()),
        gate_spread=0.2,
    )


def adjacent_correlation(amplitudes: tuple[float, ...]) -> float:
    """Return the correlation of the noise of adjacent tokens of one sequence, for strength 1."""
    era, topic, *parts = amplitudes
    amplitude_J = np.array(parts)
    decay_J = np.exp(-1 / np.array(LASTING_TOKENS))
    gain_J = np.sqrt(1 - decay_J**2)
    covariance_JJ = np.outer(gain_J, gain_J) / (1 - np.outer(decay_J, decay_J))
    with_now_J = gain_J + (covariance_JJ * amplitude_J).sum(axis=1)  # covariance of each part with the whole noise
    constant = era**2 + topic**2
    variance = 1 + (amplitude_J * gain_J).sum() + (amplitude_J * with_now_J).sum() + constant
    return float((constant + (amplitude_J * decay_J * with_now_J).sum()) / variance)


def _amplitude(stickiness: float) -> float:
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        if adjacent_correlation((0.0, middle, middle, middle, middle)) < stickiness:
            low = middle
        else:
            high = middle
    return high if stickiness else 0.0


def _zipf(num_experts: int, top_k: int, skew: float) -> NDArray[np.float64]:
    """Return shares of tokens that fall with rank**-skew, add up to K, and stay below 0.98."""
    falling_E = np.arange(1, num_experts + 1) ** -float(skew)
    if top_k == num_experts:
        return np.ones(num_experts)
    most = max(0.98, (1 + top_k / num_experts) / 2)
    low, high = 0.0, top_k / falling_E[-1]
    for _ in range(100):
        middle = (low + high) / 2
        if np.minimum(middle * falling_E, most).sum() < top_k:
            low = middle
        else:
            high = middle
    return np.asarray(np.minimum(high * falling_E, most))
