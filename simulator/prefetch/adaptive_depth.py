"""Apply the gates of the layers ahead, one after the other, until one asks for an expert that is missing."""

from collections.abc import Sequence
from itertools import chain

from simulator.view import View


class AdaptiveDepth:
    """Prefetch for the nearest layer, of the next `max_distance`, of whose predicted experts some are absent.

    A prediction is what a layer's gate picks from the state that enters the current layer: of each token the first
    `experts` by rank (0: all top-k). Where all of them are resident or on their way, the next layer is looked at. With
    `only_first` the first absent expert alone is named. With more than `batch_limit` tokens in the step (0: any number)
    nothing is.

    Source: HOBBIT, arXiv 2411.01433, section 3 (max_distance 1 to 3, experts 0: goes on until some predicted expert is
    missing). AdapMoE, arXiv 2408.10284: the paper has experts 2 and looks 2 to 3 layers ahead where all are resident; its
    code has max_distance 1, experts 2, only_first and batch_limit 1. The default is HOBBIT's.

    Limits: HOBBIT keeps predicted experts from being evicted, and a prefetch policy cannot hold those that are resident
    already; its prefetches of mixed precision and AdapMoE's gate for the first layer of the next token are left out.
    """

    def __init__(
        self,
        view: View,
        *,
        max_distance: int = 3,
        experts: int = 0,
        only_first: bool = False,
        batch_limit: int = 0,
    ) -> None:
        if max_distance < 1:
            raise ValueError(f"max_distance is {max_distance}; it should be 1 layer or more")
        if experts < 0:
            raise ValueError(f"experts is {experts}; it should be 0 (all top-k) or more")
        if batch_limit < 0:
            raise ValueError(f"batch_limit is {batch_limit}; it should be 0 (no limit) or more")
        view.require_lookahead(max_distance)
        self._view = view
        self._distances = range(1, max_distance + 1)
        self._experts = experts or None
        self._only_first = only_first
        self._batch_limit = batch_limit

    def at_step_start(self) -> Sequence[int]:
        """Name nothing: there is no state yet."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name the absent experts of the nearest layer that has some."""
        del keys
        view = self._view
        if self._batch_limit and len(view.picks()) > self._batch_limit:
            return ()
        for distance in self._distances:
            predicted = chain.from_iterable(token[: self._experts] for token in view.lookahead(distance))
            absent = [key for key in dict.fromkeys(predicted) if not (view.is_resident(key) or view.is_in_flight(key))]
            if absent:
                return absent[:1] if self._only_first else absent
        return ()

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gates have said it all."""
        return ()
