"""Prefetch what would shorten the layers ahead the most, as a simulated schedule of each says."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.schedule import Scheduler
from simulator.view import View


@dataclass(slots=True)
class _Layer:
    """A layer ahead as it is predicted: the tokens of each absent key, and the loads of those that are on the GPU."""

    absent: dict[int, int]
    there: list[int]


class ImpactSimulated:
    """Prefetch up to `most` experts of the next `layers` layers, each time the one that saves the most.

    What the gates ahead would pick from the state that enters the current layer makes a schedule of GPU, CPU and link for
    each of those layers (`simulator.schedule`, with `cpu_warmup_frac`); experts in flight count as resident. An expert saves
    the difference of the makespan without and with it resident. After each choice its layer is scheduled anew. Ties go to
    the nearest layer, the highest load, the lowest key; what saves nothing is not named.

    Source: HybriMoE, arXiv 2504.05897, section 4.3 (three layers; the largest reduction first). `most` is our default.

    Limits: every layer is scheduled as if nothing else used the link; recall further ahead is not discounted.
    """

    def __init__(self, view: View, *, layers: int = 3, most: int = 4, cpu_warmup_frac: float = 0.0) -> None:
        if layers < 1:
            raise ValueError(f"layers is {layers}; it should be 1 or more")
        if most < 1:
            raise ValueError(f"most is {most}; it should be 1 expert or more")
        view.require_lookahead(layers)
        self._view = view
        self._distances = range(1, layers + 1)
        self._most = most
        self._scheduler = Scheduler(view.costs, cpu_warmup_frac=cpu_warmup_frac)

    def at_step_start(self) -> Sequence[int]:
        """Name nothing: there is no state yet."""
        return ()

    def after_gate(self, keys: Sequence[int]) -> Sequence[int]:
        """Name the experts that save the most, one after the other."""
        del keys
        layers = [self._predicted(distance) for distance in self._distances]
        best = [self._best(layer) for layer in layers]
        named: list[int] = []
        while len(named) < self._most:
            at = max(range(len(layers)), key=lambda at: best[at][0])  # the first of several
            saved_ns, key = best[at]
            if saved_ns <= 0:
                break
            named.append(key)
            layer = layers[at]
            layer.there.append(layer.absent.pop(key))
            best[at] = self._best(layer)
        return list(dict.fromkeys(named))

    def at_layer_end(self) -> Sequence[int]:
        """Name nothing: the gates have said it all."""
        return ()

    def _predicted(self, distance: int) -> _Layer:
        view = self._view
        loads = Counter(key for token in view.lookahead(distance) for key in token)
        there = {key for key in loads if view.is_resident(key) or view.is_in_flight(key)}
        return _Layer(
            {key: tokens for key, tokens in loads.items() if key not in there},
            [tokens for key, tokens in loads.items() if key in there],
        )

    def _best(self, layer: _Layer) -> tuple[int, int]:
        """Return what the best absent expert saves, and its key; (0, -1) if none saves anything."""
        if not layer.absent:
            return 0, -1
        missing = list(layer.absent.values())
        now_ns = self._makespan_ns(layer.there, missing)
        saved_ns, tokens = 0, 0
        for load in sorted(set(missing), reverse=True):  # experts of one load save the same
            others = missing.copy()
            others.remove(load)
            saves_ns = now_ns - self._makespan_ns([*layer.there, load], others)
            if saves_ns > saved_ns:
                saved_ns, tokens = saves_ns, load
        return saved_ns, min((key for key, load in layer.absent.items() if load == tokens), default=-1)

    def _makespan_ns(self, resident: Sequence[int], missing: Sequence[int]) -> int:
        loads = [(tokens, True) for tokens in resident]
        return self._scheduler.makespan_ns([*loads, *((tokens, False) for tokens in missing)])
