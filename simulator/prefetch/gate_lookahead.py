"""Apply the gates of the layers ahead to the state of this one."""

from collections.abc import Sequence

from simulator.view import View


class GateLookahead:
    """Prefetch what the gates of the next `distance` layers would pick from the state that enters the current layer.

    The nearest layer comes first; within a layer, tokens in batch order and each token's picks by rank, `experts` of them
    (0: all top-k). With `low_precision` their low-precision copies are brought. A gate of the next step is never asked: its
    state does not exist yet.

    Source: A. Eliseev, D. Mazur: "Fast inference of mixture-of-experts language models with offloading",
    arXiv 2312.17238, section 3.2, with one layer and one or two experts.
    """

    def __init__(self, view: View, *, distance: int = 1, experts: int = 0, low_precision: bool = False) -> None:
        if distance < 1:
            raise ValueError(f"distance is {distance}; it should be 1 layer or more")
        if experts < 0:
            raise ValueError(f"experts is {experts}; it should be 0 (all top-k) or more")
        view.require_lookahead(distance)
        self._view = view
        self._distances = range(1, distance + 1)
        self._experts = experts or None
        self._copies_from = view.num_keys if low_precision else 0

    def at_step_start(self) -> Sequence[int]:
        """Name nothing: there is no state yet."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name the picks of the gates ahead, each once."""
        del keys
        picks = (
            key + self._copies_from
            for distance in self._distances
            for token in self._view.lookahead(distance)
            for key in token[: self._experts]
        )
        return list(dict.fromkeys(picks))

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gates have said it all."""
        return ()
