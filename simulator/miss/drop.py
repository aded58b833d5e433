"""Do without weak experts that are missing."""

from collections.abc import Sequence

from simulator.miss.otherwise import action_otherwise
from simulator.miss.protocol import DROPPED, MissAction
from simulator.miss.tokens import mass_shares, missing_keys
from simulator.view import View


class Drop:
    """Drop a token's missing experts that are weak for it; the rest of the misses are handled as `otherwise` says.

    A missing expert is dropped if its rank is `keep_ranks` or lower (0 is the strongest) and its share of the token's gate
    mass is less than `below`. With `below` 1 the rank alone decides, and no gate weights are needed; with `keep_ranks` 0
    the mass alone.

    Source: our own baseline; by mass it is what arXiv 2411.01433 (HOBBIT) does with its least important experts.

    Limits: an expert that is dropped by one token and fetched for another is not used by the first; the weights of the
    others are not raised to make up for it.
    """

    def __init__(self, view: View, *, keep_ranks: int = 1, below: float = 1.0, otherwise: str = "fetch") -> None:
        if keep_ranks < 0:
            raise ValueError(f"keep_ranks is {keep_ranks}; it should be 0 (no rank is safe) or more")
        if not 0 < below <= 1:
            raise ValueError(f"below is {below}; it should be a share of the gate mass above 0, up to 1 (any)")
        if below < 1:
            view.require_gate_weights()
        self._view = view
        self._keep_ranks = keep_ranks
        self._below = below
        self._otherwise = action_otherwise(otherwise)

    def reroute(self) -> Sequence[Sequence[int]]:
        """Drop what is missing and weak."""
        picks = self._view.picks()
        missing = missing_keys(self._view, picks)
        if not missing:
            return picks
        if self._below == 1:
            return [
                [DROPPED if rank >= self._keep_ranks and key in missing else key for rank, key in enumerate(token)]
                for token in picks
            ]
        return [
            [
                DROPPED if rank >= self._keep_ranks and key in missing and share < self._below else key
                for rank, (key, share) in enumerate(zip(token, mass_shares(weights), strict=True))
            ]
            for token, weights in zip(picks, self._view.weights(), strict=True)
        ]

    def similarity(self, wanted: int, substitute: int) -> float:
        """Nothing is substituted."""
        return float(wanted == substitute)

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Handle what is kept and missing."""
        del num_tokens
        return [self._otherwise] * len(keys)
