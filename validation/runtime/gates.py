"""What a layer's gate picks from a state that is not its own.

Legend: N tokens, K top-k, H hidden width.
"""

from collections.abc import Sequence

from torch import Tensor

from traces.capture.layers import MoELayer


def picks_by_weight(layer: MoELayer, hidden_NH: Tensor) -> Sequence[Sequence[int]]:
    """Return the ids that a layer's gate picks, by descending weight, [N][K], on the host."""
    ids_NK, weights_NK = layer.route(hidden_NH)
    order_NK = weights_NK.argsort(dim=-1, descending=True, stable=True)
    picks: list[list[int]] = ids_NK.gather(-1, order_NK).tolist()
    return picks
