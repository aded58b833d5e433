"""How good published gate lookahead is, for `StatedLookahead` where a trace has recorded none.

By layer: what AdapMoE measured on Mixtral-8x7B, `_MIXTRAL`: the share of a layer's picks that its gate finds in the state
that enters the layer before. By distance: HOBBIT's figures for Mixtral, 96 % one layer ahead and about 90 % two or three
ahead (top-1), so that each layer's figure falls by the factor .90 / .96 from the second layer on.

Limits: figures of one model, stretched over the depth of another. Models of many small experts are predicted less well:
ProMoE gives 66.9 % for Qwen2-57B-A14B (64 experts, top-8), the profile `promoe-qwen2`. Beyond three layers nobody has
published a figure; the third's stands for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MIXTRAL = (
    *(0.0, 0.566, 0.721, 0.789, 0.866, 0.859, 0.830, 0.840, 0.849, 0.801, 0.898, 0.898, 0.893, 0.910, 0.925, 0.881),
    *(0.915, 0.939, 0.905, 0.879, 0.876, 0.893, 0.879, 0.876, 0.888, 0.884, 0.922, 0.913, 0.886, 0.900, 0.903, 0.850),
)
_QWEN2_57B = 0.669
_BY_DISTANCE = (1.0, 0.90 / 0.96, 0.90 / 0.96)

PROFILES = ("adapmoe-mixtral", "promoe-qwen2")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRecall:
    """`recall` [layers][max_distance], by the layer that is predicted; `assumptions` say where it comes from."""

    recall: Sequence[Sequence[float]]
    assumptions: Sequence[str]


def published_recall(num_layers: int, max_distance: int, *, profile: str = "adapmoe-mixtral") -> PublishedRecall:
    """Return the recall of gate lookahead by layer and by distance 1 to `max_distance`, from published figures.

    Mixtral's layers after the first are stretched linearly over those of this model. The first has none before it: recall 0.
    Raises ValueError for a profile that is not among `PROFILES`.

    Source: AdapMoE, arXiv 2408.10284, its code's `src/dp.py` (`accs`, rounded to three digits); HOBBIT, arXiv 2411.01433;
    ProMoE, arXiv 2410.22134 (gate reuse on Qwen2-57B-A14B).
    """
    if num_layers < 1 or max_distance < 1:
        raise ValueError(f"{num_layers} layers and {max_distance} distances asked for; both should be 1 or more")
    if profile == "adapmoe-mixtral":
        depth = np.linspace(1, len(_MIXTRAL) - 1, num_layers - 1)
        nearest = [0.0, *np.interp(depth, np.arange(len(_MIXTRAL)), _MIXTRAL).tolist()]
        stretched = "" if num_layers == len(_MIXTRAL) else f", its 32 layers stretched linearly over {num_layers}"
        source = f"AdapMoE's for Mixtral-8x7B by layer, .57 to .94 (arXiv 2408.10284, src/dp.py{stretched})"
    elif profile == "promoe-qwen2":
        nearest = [0.0] + [_QWEN2_57B] * (num_layers - 1)
        source = "ProMoE's for gate reuse on Qwen2-57B-A14B, .669 for all layers (arXiv 2410.22134)"
    else:
        raise ValueError(f"profile is {profile!r}; it should be {' or '.join(PROFILES)}")
    factors = [_BY_DISTANCE[min(distance, len(_BY_DISTANCE) - 1)] for distance in range(max_distance)]
    assumptions = [f"recall of gate lookahead is not of this model: {source}"]
    if max_distance > 1:
        assumptions.append(
            "recall of gate lookahead two layers ahead and further is .90 / .96 of that one layer ahead "
            "(HOBBIT's for Mixtral, arXiv 2411.01433, top-1 experts, up to three layers)"
        )
    return PublishedRecall(
        recall=[[round(share * factor, 4) for factor in factors] for share in nearest], assumptions=assumptions
    )
