"""Where the tokens of a layer go: which GPU computes which of their picks.

Legend: N GPUs, n tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.gpus.homes import EVERYWHERE, Homes
from simulator.workload.step import TokenRouting


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """One layer of a step.

    `tokens_of` [N] is S of each GPU: its experts in order of first appearance, with the tokens of each. `sent` [N][N] counts
    the tokens that go from one GPU to another, once however many experts they use there. `transitions` are the pairs of
    a pick of the layer before and one of this, of the same token; `crossings` those computed on two GPUs.
    """

    tokens_of: Sequence[dict[int, int]]
    sent: Sequence[Sequence[int]]
    transitions: int
    crossings: int


class Router:
    """Follow the tokens of a step from layer to layer."""

    def __init__(self, homes: Homes) -> None:
        self._gpu_of_key = homes.gpu_of_key
        self._num_gpus = homes.num_gpus
        self._before: list[list[int]] = []

    def step_started(self) -> None:
        """Forget the tokens of the step before."""
        self._before = []

    def routes(self, tokens: Sequence[TokenRouting], gpu_of_token: Sequence[int], layer: int) -> Routes:
        """Follow the tokens through a layer; called for each, in order."""
        gpu_of_key, num_gpus = self._gpu_of_key, self._num_gpus
        tokens_of: list[dict[int, int]] = [{} for _ in range(num_gpus)]
        sent = [[0] * num_gpus for _ in range(num_gpus)]
        before, now = self._before, []
        transitions = stays = 0
        for index, (token, here) in enumerate(zip(tokens, gpu_of_token, strict=True)):
            picks_on = [0] * num_gpus
            for key in token[layer]:
                gpu = gpu_of_key[key]
                if gpu == EVERYWHERE:
                    gpu = here
                picks_on[gpu] += 1
                of_gpu = tokens_of[gpu]
                of_gpu[key] = of_gpu.get(key, 0) + 1
            for gpu, num_picks in enumerate(picks_on):
                if num_picks and gpu != here:
                    sent[here][gpu] += 1
            if before:
                transitions += sum(before[index]) * len(token[layer])
                stays += sum(one * other for one, other in zip(before[index], picks_on, strict=True))
            now.append(picks_on)
        self._before = now
        return Routes(tokens_of=tokens_of, sent=sent, transitions=transitions, crossings=transitions - stays)
