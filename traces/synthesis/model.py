"""The parameters of a routing generator, and what they mean.

Each expert of each layer has a latent score at each token, and the top-k scores are the token's set:

    score = base[block, layer, expert] + noise / sd(layer)
    noise = white + strength[layer] * (era + topic + slow + medium + fast)

`base` sets popularity. All noise is standard Gaussian, times its amplitude; the parts differ in how long they last:
`white` for one token, `fast`, `medium` and `slow` for some tokens (first-order autoregressions that share the white
part's innovations), `topic` for one sequence, `era` for some sequences. Along the layers the noise is a first-order
autoregression too, with coefficient `affinity`, over chains that hold one expert of each layer: that ties an expert to
one of the next layer, and leaves each layer by itself as it was. A share `companionship` of the noise's variance is
common to a group of top-k chains, whose experts are thus chosen together. As the noise of a layer is scaled to variance
1, popularity depends on `base` and `companionship` alone, recency then on the amplitudes, affinity on `affinity`, and
each is fitted by itself.

A *block* is a run of sequences of one kind, with popularity, lengths and a template of its own: leading and trailing
tokens that all of its sequences route alike. A trace without templates is one block.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTS = ("era", "topic", "slow", "medium", "fast")
LASTING_TOKENS = (48.0, 6.0, 0.8)  # time constants of slow, medium, fast: a factor of 8 apart, so that they cover 1-64
ERA_SEQUENCES = 20.0  # time constant of the era


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A run of sequences of one kind. Legend: L layers, E experts, Q quantiles (evenly spaced from 0 to 1).

    `base_LE` are scores in standard deviations of the noise; `token_frac` its share of the trace's tokens;
    `prefix_tokens` and `suffix_tokens` the template; `lengths_Q` tokens of a sequence; `prompt_frac_Q` prompt tokens as
    a share of them.
    """

    base_LE: NDArray[np.float64]
    token_frac: float
    prefix_tokens: int
    suffix_tokens: int
    lengths_Q: tuple[int, ...]
    prompt_frac_Q: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingModel:
    """A generator's parameters. Legend: L layers, K top-k, E experts.

    `fitted_tokens` is how long the blocks take, one after the other, before they start anew. `strength_L` has the
    geometric mean 1; `amplitudes` one entry per name in `PARTS`, in units of the white part. `chain_LE` names the chain
    of each expert, a permutation per layer; chains g * K to g * K + K - 1 form group g. `gate_rank_means_K` descend;
    `gate_spread` is the standard deviation of the logarithm of a weight around its rank's mean.
    """

    num_experts: int
    top_k: int
    blocks: tuple[Block, ...]
    fitted_tokens: int
    strength_L: NDArray[np.float64]
    amplitudes: tuple[float, ...]
    affinity: float
    companionship: float
    chain_LE: NDArray[np.int64]
    gate_rank_means_K: tuple[float, ...]
    gate_spread: float

    @property
    def num_layers(self) -> int:
        """Return L."""
        return len(self.strength_L)
