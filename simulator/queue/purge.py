"""Prefetches that wait are called off at a gate."""

from collections.abc import Sequence

from simulator.view import View


class PurgePassed:
    """Call off prefetches for layers that the step has reached or passed: the gates have not asked for them.

    With `reach`, layers at most so many ahead count as still to come even past the end of the step, for prefetch policies
    that look into the next step (`reach` as far as they look); by default a step's end is the end.

    Source: MoE-Infinity, arXiv 2401.14361, whose task scheduler drops out-of-date layers (`expert_predictor.py` and the
    prefetcher's queue).
    """

    def __init__(self, view: View, *, reach: int = 0) -> None:
        num_layers = view.num_layers
        if not 0 <= reach < num_layers:
            raise ValueError(f"reach is {reach}; it should be 0 layers or more and below the model's {num_layers}")
        first_keys = [view.first_key(layer) for layer in range(num_layers)]
        self._view = view
        self._num_experts, self._num_keys = view.num_experts, view.num_keys
        self._ahead = [
            {first_keys[(layer + away) % num_layers] for away in range(1, max(num_layers - 1 - layer, reach) + 1)}
            for layer in range(num_layers)
        ]

    def stale(self, queued: Sequence[int], keys: Sequence[int]) -> Sequence[int]:
        """Name those whose bank no layer ahead draws from."""
        del keys
        ahead = self._ahead[self._view.visit % len(self._ahead)]
        return [key for key in queued if self._first_key(key) not in ahead]

    def _first_key(self, key: int) -> int:
        key %= self._num_keys  # a low-precision copy is of the expert that it is a copy of
        return key - key % self._num_experts


class PurgeAll:
    """Call off every prefetch that waits, so that at each gate only what is then predicted is queued.

    Source: ProMoE, arXiv 2410.22134: early preemption, the queue of low priority is cleared when the precise experts of a
    layer are pushed. MoE-Infinity, arXiv 2401.14361, queues all predictions anew after each layer.
    """

    def __init__(self, view: View) -> None:
        del view

    def stale(self, queued: Sequence[int], keys: Sequence[int]) -> Sequence[int]:
        """Name all."""
        del keys
        return list(queued)
