"""Use low-precision copies of missing experts that matter less."""

from collections.abc import Sequence

from simulator.miss.protocol import DROPPED, MissAction
from simulator.miss.tokens import mass_shares, missing_keys
from simulator.view import View


class LowPrecision:
    """Fetch a missing expert, use its low-precision copy, or skip it, by the gate mass of what ranks before it.

    For a token's pick of rank i, s_i is the gate mass before it, a share of the token's. Up to `high` the expert is
    fetched, up to `low` its copy does, beyond it is skipped; the first rank is always fetched. Where several tokens pick
    an expert, the one to which it matters most decides for all. With `always` every miss uses the copy.

    Source: HOBBIT, arXiv 2411.01433, token-level dynamic loading: T1 = .6 and T2 = .9 for Mixtral, where 67% of the
    experts are high, 30% low and 3% skipped. `always` is how FloE, arXiv 2505.05950, handles each miss: with its
    compressed copy.

    Limits: gate weights are taken as shares of the top-k's sum, which they are in Mixtral; HOBBIT is about one token at a
    time, the rule for several is ours; an expert to be skipped is skipped though its copy be on the GPU; FloE fetches the
    channels that it predicts to be active, not a whole copy.
    """

    def __init__(self, view: View, *, high: float = 0.6, low: float = 0.9, always: bool = False) -> None:
        if not 0 <= high <= low:
            raise ValueError(f"high is {high}; it should be a share of the gate mass from 0 to low, which is {low}")
        if not always:
            view.require_gate_weights()
        self._view = view
        self._high, self._low = high, low
        self._always = always
        self._needed: dict[int, float] = {}  # the least mass before each missing key, of this visit

    def reroute(self) -> Sequence[Sequence[int]]:
        """Skip the missing experts that matter little to every token."""
        picks = self._view.picks()
        self._needed = {}
        if self._always:
            return picks
        missing = missing_keys(self._view, picks)
        if not missing:
            return picks
        needed = self._needed
        for token, weights in zip(picks, self._view.weights(), strict=True):
            before = 0.0
            for key, share in zip(token, mass_shares(weights), strict=True):
                if key in missing:
                    needed[key] = min(before, needed.get(key, before))
                before += share
        skipped = {key for key, before in needed.items() if before > self._low}
        if not skipped:
            return picks
        return [[DROPPED if key in skipped else key for key in token] for token in picks]

    def similarity(self, wanted: int, substitute: int) -> float:
        """Nothing is substituted by another expert."""
        return float(wanted == substitute)

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Fetch what some token needs at full precision; use the copy of the others."""
        del num_tokens
        if self._always:
            return [MissAction.LOW] * len(keys)
        return [MissAction.FETCH if self._needed.get(key, 0.0) <= self._high else MissAction.LOW for key in keys]
