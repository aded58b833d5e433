"""MARK&PREDICT: marking, with one bit per expert that says who goes first."""

from simulator.eviction.marking import Marking
from simulator.eviction.one_bit import make_bits
from simulator.view import View


class MarkAndPredict(Marking):
    """Evict at random among the unmarked keys that are not expected soon; if there are none, among all the unmarked.

    `predictor` says where the bits come from, see `simulator.eviction.one_bit`. They are those of the moment of
    eviction.

    Source: A. Antoniadis, J. Boyar, M. Eliáš, L. M. Favrholdt, R. Hoeksma, K. S. Larsen, A. Polak, B. Simon: "Paging
    with succinct predictions", ICML 2023, arXiv 2210.02775, on phase predictions. How bits are had for experts is ours.

    Limits: a published bit comes with each request and stays.
    """

    def __init__(self, view: View, *, predictor: str = "lookahead", distance: int = 1) -> None:
        super().__init__(view)
        self._bits = make_bits(view, predictor, distance)

    def at_gate(self) -> None:
        """Predict afresh."""
        self._bits.at_gate()

    def preferred(self, candidates: list[int]) -> list[int]:
        """Return those that are not expected soon, else all."""
        return [key for key in candidates if self._bits.is_one(key)] or candidates
