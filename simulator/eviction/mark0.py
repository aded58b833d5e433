"""MARK0: give up at once what is not expected soon, and mark the rest."""

from collections.abc import Iterable, Sequence

from simulator.eviction.marking import Marking
from simulator.eviction.one_bit import make_bits
from simulator.view import View


class Mark0(Marking):
    """Free an expert's slot when it has been computed and is not expected soon; evict at random among the unmarked.

    `predictor` says where the bits come from, see `simulator.eviction.one_bit`. With `lookahead` all is given up, as
    `release` does, unless layers share a bank: a gate of this step says nothing of a layer's next turn.

    Source: as `mark_and_predict`, on discard predictions. How bits are had for experts is ours.

    Limits: where an expert that this phase has discarded comes back, the published algorithm takes the place of a page of
    the phase's start that was not used since, even where another slot is free. Here a free slot is taken, and a full
    pool evicts an unmarked key whatever comes in: an eviction policy is not told for whom it makes room.
    """

    def __init__(self, view: View, *, predictor: str = "coactivation", distance: int = 1) -> None:
        super().__init__(view)
        self._bits = make_bits(view, predictor, distance)

    def at_gate(self) -> None:
        """Predict afresh."""
        self._bits.at_gate()

    def gives_up(self, keys: Iterable[int]) -> Sequence[int]:
        """Name those that are not expected soon, and take their marks: only what stays was used in this phase."""
        given_up = [key for key in keys if self._bits.is_one(key)]
        self._is_marked.update(dict.fromkeys(given_up, False))
        return given_up
