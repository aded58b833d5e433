"""Prefetch what is predicted, and refresh what is predicted and there already."""

from collections.abc import Sequence

from simulator.view import View


class ProMoE:
    """Prefetch what is predicted for the layer `stride` ahead; those predicted that are resident count as just used.

    Tokens come in batch order and each token's picks by rank. `TOUCHES` asks the executor to touch, in the order named,
    the resident keys among those that the policy names, so that an LRU cache does not give up an expert that is about to
    be used. At the start of a step nothing is known; the first `stride` layers are fetched on demand.

    Source: ProMoE, arXiv 2410.22134, sections 4.1 (predictor, stride 1; 2 hides more and predicts worse) and 4.2 (cached
    experts are refreshed).

    Limits: the learned predictor of each layer is replaced by the gate of the layer that is predicted. The paper measures
    an accuracy of 84.7 % for its own and 66.9 % for the gate's (Qwen2-57B): a stated lookahead of that recall stands in
    for it. Chunks, calling off prefetches that wait and the order of experts are the link's, the queue policy's and the
    order policy's.
    """

    TOUCHES = True

    def __init__(self, view: View, *, stride: int = 1) -> None:
        if stride < 1:
            raise ValueError(f"stride is {stride}; it should be 1 layer or more")
        view.require_lookahead(stride)
        self._view = view
        self._stride = stride

    def at_step_start(self) -> Sequence[int]:
        """Name nothing: there is no state yet."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name what is predicted, each once."""
        del keys
        return list(dict.fromkeys(key for token in self._view.lookahead(self._stride) for key in token))

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the prediction was made at the gate."""
        return ()
