"""Gates that were trained to pick for the next layer."""

from collections.abc import Sequence

from simulator.view import View


class PreGated:
    """Prefetch exactly what the next layer of the step will use.

    The gate of each layer was fine-tuned to select for the layer after it, so that the selection is known one layer early
    and never wrong. The first layer of a step has nothing before it and is fetched on demand.

    Source: Pre-gated MoE, arXiv 2308.12066, section IV.

    Limits: it is read off the routing to come, so a run with it counts as an oracle's, and the routing is that of the
    model as it was recorded, not of one that was fine-tuned; keeping no cache beyond two layers' experts is for the cache
    and its eviction policy to say.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._oracle = view.oracle

    def at_step_start(self) -> Sequence[int]:
        """Name nothing: no gate has run."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name the experts of the next layer; nothing after the last."""
        del keys
        if (self._view.visit + 1) % self._view.num_layers == 0:
            return ()
        return self._oracle.upcoming(1)

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gate has said it all."""
        return ()
