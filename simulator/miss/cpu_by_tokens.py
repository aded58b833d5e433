"""Compute on the CPU what it computes sooner than the link could bring it."""

from collections.abc import Sequence

from simulator.miss.protocol import MissAction
from simulator.view import View


class CpuByTokens:
    """Have the CPU compute a missing expert iff that takes less time than to fetch it and compute it on the GPU.

    For n tokens: the CPU's expert and the way of n states, against one transfer and the GPU's expert, from the machine's
    costs. With a `fixed_threshold` above 0, iff fewer tokens than that are routed to the expert.

    Source: Fiddler, arXiv 2402.07033, section 3: CPU iff cpu_lat(s) < gpu_lat(s) + trans_lat, where we count the states'
    way too, which the paper neglects. Its code has 7 per token on the CPU, 70 on the GPU, and adds them up, so that it
    is `fixed_threshold=10`.

    Limits: each expert by itself, as in Fiddler: what the CPU, the link and the GPU have to do besides is not looked at.
    """

    def __init__(self, view: View, *, fixed_threshold: int = 0) -> None:
        if fixed_threshold < 0:
            raise ValueError(f"fixed_threshold is {fixed_threshold}; it should be 0 (from the costs) tokens or more")
        self._view = view
        self._threshold = fixed_threshold
        self._action_for: dict[int, MissAction] = {}

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Weigh each expert by itself."""
        del keys
        return [self._action_for.get(tokens) or self._weigh(tokens) for tokens in num_tokens]

    def _weigh(self, tokens: int) -> MissAction:
        """Decide for a number of tokens, once for each."""
        if self._threshold:
            on_cpu = tokens < self._threshold
        else:
            costs = self._view.costs
            cpu_ns = costs.cpu_expert_ns(tokens) + costs.activation_ns(tokens)
            on_cpu = cpu_ns < costs.transfer_ns + costs.expert_ns(tokens)
        action = self._action_for[tokens] = MissAction.CPU if on_cpu else MissAction.FETCH
        return action
