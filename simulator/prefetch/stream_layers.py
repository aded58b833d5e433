"""Stream whole layers, whatever the gates say."""

from collections.abc import Sequence

from simulator.view import View


class StreamLayers:
    """Prefetch all experts of the next `distance` layers, the nearest first, by expert number within a layer.

    After a step's last layers come the first ones of the next step. Nothing is predicted: each layer's weights come in
    their turn, as in a runtime that knows no experts. So `WHOLE_LAYERS` has the executor wait for all of a layer's experts.

    Source: DeepSpeed ZeRO-Inference, arXiv 2207.00032, section 6 (layers are fetched ahead of their use); MoE-Lightning,
    arXiv 2411.11217, section 4 (the next layer's weights are paged in while the current one is computed).

    Limits: what a layer still lacks at its gate comes as a demand, the experts that are used first, and these are computed
    while the others come; pages of MoE-Lightning,
    parts of an expert that are interleaved with activations, are not modelled.
    """

    WHOLE_LAYERS = True

    def __init__(self, view: View, *, distance: int = 1) -> None:
        if distance < 1:
            raise ValueError(f"distance is {distance}; it should be 1 layer or more")
        self._view = view
        self._following = [
            list(dict.fromkeys(key for ahead in range(distance) for key in _bank(view, layer + ahead)))
            for layer in range(view.num_layers)
        ]

    def at_step_start(self) -> Sequence[int]:
        """Name the experts of the first layers."""
        return self._following[0]

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name the experts of the layers that follow."""
        del keys
        return self._following[(self._view.visit + 1) % self._view.num_layers]

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gate was the moment."""
        return ()


def _bank(view: View, layer: int) -> range:
    first_key = view.first_key(layer % view.num_layers)
    return range(first_key, first_key + view.num_experts)
