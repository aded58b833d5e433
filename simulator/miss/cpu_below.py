"""Compute on the CPU in small steps, fetch in large ones."""

from collections.abc import Sequence

from simulator.miss.protocol import MissAction
from simulator.view import View


class CpuBelow:
    """Leave all misses of a step of fewer than `tokens` tokens to the CPU; fetch them in larger steps.

    With `per_expert`, the step counts as large where an expert of the layer gets `tokens` tokens on average, that is
    where tokens * top-k / experts is no less.

    Source: llama.cpp's CUDA backend computes an operation on weights in host memory itself from 32 tokens of a micro-batch
    on (pull request 6083), for which only the experts that are used are copied (15346); ik_llama.cpp from
    32 * experts / top-k tokens on (its pull request 520), which is `per_expert`. KTransformers' layer-wise prefill on the
    GPU is the same with another threshold.

    Limits: the copies of a layer stay no longer than their slots; llama.cpp forgets them after each micro-batch.
    """

    def __init__(self, view: View, *, tokens: int = 32, per_expert: bool = False) -> None:
        if tokens < 1:
            raise ValueError(f"tokens is {tokens}; it should be 1 or more")
        self._view = view
        self._least = tokens * view.num_experts if per_expert else tokens
        self._per_token = view.top_k if per_expert else 1

    def decide(self, keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
        """Decide for the step as a whole."""
        del num_tokens
        is_large = len(self._view.requests()) * self._per_token >= self._least
        return [MissAction.FETCH if is_large else MissAction.CPU] * len(keys)
