"""What lossy policies cost, as gate mass.

The mass of a pick is its gate weight as a share of all that its token picked, so every token has a mass of 1 in each
layer. What is dropped loses its mass; what is substituted loses as much of it as the pair is not alike; what is computed
in low precision, or added a layer later, is counted, and how much of it is lost is for a measurement to say. Without
recorded gate weights each pick has the same mass. What is dropped or substituted of tokens' strongest picks is counted apart
as well: a token misses its strongest expert far more than its mass says (docs/quality.md).

Masses are kept in billionths, rounded pick by pick, so that counts are whole numbers.

Limits: a mass says how much the gate wanted an expert, not how much the output changes without it.
"""

from collections.abc import Iterable, Sequence

from simulator.metrics.counters import Counters
from simulator.miss.protocol import DROPPED, Reroutes
from simulator.run_view import RunView

WHOLE_MASS = 10**9
"""The mass of a token in one layer."""


class Losses:
    """Count what is lost, layer by layer, from the current gate's picks and weights."""

    def __init__(self, view: RunView, counters: Counters, reroutes: Reroutes | None) -> None:
        self._view = view
        self._counters = counters
        self._reroutes = reroutes
        self._taken: Sequence[Sequence[int]] | None = None

    def rerouted(self, layer: int, picks: Sequence[Sequence[int]]) -> None:
        """Count what a policy has made of a gate's picks."""
        wanted = self._view.picks()
        assert len(picks) == len(wanted), "reroute returns one entry for each token"
        assert self._reroutes is not None
        counters = self._counters
        self._taken = picks
        for (token, masses), changed in zip(self._masses(), picks, strict=True):
            for rank, (key, mass, taken) in enumerate(zip(token, masses, changed, strict=True)):
                if taken == key:
                    continue
                if taken == DROPPED:
                    counters.dropped_picks[layer] += 1
                    counters.dropped_mass[layer] += mass
                    if not rank:
                        counters.dropped_strongest_mass[layer] += mass
                else:
                    unlike = round(mass * (1 - self._reroutes.similarity(key, taken)))
                    counters.substituted_picks[layer] += 1
                    counters.substituted_mass[layer] += mass
                    counters.unlike_mass[layer] += unlike
                    if not rank:
                        counters.substituted_strongest_mass[layer] += mass
                        counters.unlike_strongest_mass[layer] += unlike

    def deferred(self, layer: int, keys: Iterable[int]) -> None:
        """Count the mass of experts that are added one layer later."""
        self._counters.deferred_mass[layer] += self._mass_of(set(keys))

    def low(self, layer: int, keys: Iterable[int]) -> None:
        """Count the mass of experts whose low-precision copies stand for them."""
        self._counters.low_mass[layer] += self._mass_of(set(keys))

    def _mass_of(self, keys: set[int]) -> int:
        taken = self._view.picks() if self._taken is None else self._taken
        return sum(
            mass
            for token, (_, masses) in zip(taken, self._masses(), strict=True)
            for key, mass in zip(token, masses, strict=True)
            if key in keys
        )

    def _masses(self) -> Iterable[tuple[Sequence[int], Sequence[int]]]:
        """Yield per token its picks and their masses."""
        view = self._view
        picks = view.picks()
        if not view.needs_gate_weights:
            for token in picks:
                yield token, [WHOLE_MASS // len(token)] * len(token)
            return
        for token, weights in zip(picks, view.weights(), strict=True):
            total = sum(weights)
            yield (
                token,
                [round(WHOLE_MASS * weight / total) if total else WHOLE_MASS // len(token) for weight in weights],
            )
