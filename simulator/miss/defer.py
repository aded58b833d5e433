"""Compute on the CPU, and let the weakest experts finish one layer later."""

from collections.abc import Sequence

from simulator.miss.protocol import MissAction
from simulator.view import View


class Defer:
    """Leave all misses to the CPU; those that are weak for all their tokens may finish during the next layer.

    An expert is deferred if each of its tokens has it among the last `ranks` of its top-k; in a prefill only with
    `in_prefill`. Steps of `fetch_from` tokens or more fetch their misses instead (0: no step does).

    Source: KTransformers, SOSP 2025, Expert Deferral: the m lowest-ranked experts are added one layer later, 1 to 4
    recommended; and its layer-wise prefill on the GPU above a number of tokens. That experts are deferred in decode alone
    is UNVERIFIED; so is what it does where tokens of a batch disagree, and ours defers only if all agree.

    Limits: lossy, but no token does without an expert; what the later addition costs is not counted in gate mass here.
    """

    LOSSY = True

    def __init__(self, view: View, *, ranks: int = 1, in_prefill: bool = False, fetch_from: int = 0) -> None:
        if not 1 <= ranks < view.top_k:
            raise ValueError(f"ranks is {ranks}; it should be 1 or more and less than top-k, which is {view.top_k}")
        if fetch_from < 0:
            raise ValueError(f"fetch_from is {fetch_from}; it should be 0 (no step) tokens or more")
        self._view = view
        self._ranks = ranks
        self._in_prefill = in_prefill
        self._fetch_from = fetch_from

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Have the CPU compute them all, the strong ones now."""
        del num_tokens
        view = self._view
        picks = view.picks()
        if self._fetch_from and len(picks) >= self._fetch_from:
            return [MissAction.FETCH] * len(keys)
        if view.is_prefill and not self._in_prefill:
            return [MissAction.CPU] * len(keys)
        weak = {key for token in picks for key in token[-self._ranks :]}
        weak -= {key for token in picks for key in token[: -self._ranks]}
        return [MissAction.DEFER if key in weak else MissAction.CPU for key in keys]
