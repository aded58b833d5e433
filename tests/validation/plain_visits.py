"""What a model computes behind a lossy policy, expert by expert and token by token, from what the policy has said alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from simulator.miss import Miss, MissAction
from simulator.miss.protocol import DROPPED, Reroutes, StartsEarly
from simulator.view import View
from validation.runtime.kernel import compute_expert
from validation.runtime.offload import OffloadedModel

Tensors = Mapping[str, Tensor]


@dataclass(slots=True)
class Said:
    """What a policy said, by visit: the picks as they shall be, what to do for each missing key, what to begin early."""

    picks: dict[int, Sequence[Sequence[int]]] = field(default_factory=dict)
    actions: dict[int, dict[int, MissAction]] = field(default_factory=dict)
    early: dict[int, set[int]] = field(default_factory=dict)

    def listen(self, miss: Miss, view: View) -> Miss:
        """Note from now on what a policy says."""

        if isinstance(miss, Reroutes):
            self._listen_to_reroute(miss, view)
        if isinstance(miss, StartsEarly):
            self._listen_to_start_early(miss, view)
        decides = miss.decide

        def decide(keys: Sequence[int], num_tokens: Sequence[int]) -> Sequence[MissAction]:
            actions = decides(keys, num_tokens)
            self.actions[view.visit] = dict(zip(keys, actions, strict=True))
            return actions

        miss.decide = decide  # type: ignore[method-assign]
        return miss

    def _listen_to_reroute(self, miss: Reroutes, view: View) -> None:
        reroutes = miss.reroute

        def reroute() -> Sequence[Sequence[int]]:
            self.picks[view.visit] = picks = reroutes()
            return picks

        miss.reroute = reroute  # type: ignore[method-assign]

    def _listen_to_start_early(self, miss: StartsEarly, view: View) -> None:
        starts_early = miss.start_early

        def start_early() -> Mapping[int, int]:
            early = starts_early()
            self.early[view.visit] = set(early)
            return early

        miss.start_early = start_early  # type: ignore[method-assign]


class PlainVisits:
    """`validation.runtime.offload.Visit` in the plainest way, for the decisions of a run that is over.

    `low` returns the tensors that the low-precision copy of an expert stands for. `keys_of` gives the picks of a visit where
    they are not the gates' own.
    """

    def __init__(
        self,
        offloaded: OffloadedModel,
        said: Said,
        *,
        low: Callable[[int], Tensors] | None = None,
        keys_of: Callable[[int], Sequence[Sequence[int]]] | None = None,
    ) -> None:
        self._offloaded = offloaded
        self._said = said
        self._low = low
        self._keys_of = keys_of
        self._number = 0
        self._carried: Tensor | float = 0.0
        self._hidden_before: Tensor | None = None

    def __call__(self, layer: int, hidden_NH: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
        """Compute one layer."""
        offloaded, said, visit = self._offloaded, self._said, self._number
        self._number += 1
        if layer == 0:
            self._carried = 0.0
        is_last = layer == offloaded.num_layers - 1
        first_key = offloaded.key(layer, 0)
        if self._keys_of is not None:
            picks = self._keys_of(visit)
        else:
            picks = [[first_key + pick for pick in row] for row in ids_NK.tolist()]
        picks = said.picks.get(visit, picks)
        actions = said.actions.get(visit, {})
        early = said.early.get(visit - 1, set()) if layer else set()
        output_NH, late_NH = torch.zeros_like(hidden_NH), torch.zeros_like(hidden_NH)
        for token, row in enumerate(picks):
            for rank, key in enumerate(row):
                if key == DROPPED:
                    continue
                action = actions.get(key)
                is_late = action is MissAction.DEFER and not is_last
                given_NH = hidden_NH
                if action in (MissAction.CPU, MissAction.DEFER) and not is_late and key in early:
                    assert self._hidden_before is not None
                    given_NH = self._hidden_before
                tensors = offloaded.host.tensors(key)
                if action is MissAction.LOW:
                    assert self._low is not None
                    tensors = self._low(key)
                made = compute_expert(offloaded.expert_module(layer), tensors, given_NH[token : token + 1])[0]
                (late_NH if is_late else output_NH)[token] += weights_NK[token, rank] * made
        output_NH = output_NH + self._carried
        self._carried, self._hidden_before = late_NH, hidden_NH.clone()
        return output_NH


def plain_low(offloaded: OffloadedModel, *, bits: int, group: int) -> Callable[[int], Tensors]:
    """Return what low-precision copies stand for: each group of a row rounded to integers, one fp16 scale each."""
    largest = 2 ** (bits - 1) - 1

    def rounded(weights: Tensor) -> Tensor:
        if weights.dim() < 2:
            return weights
        result = torch.empty_like(weights)
        for row in range(weights.shape[0]):
            for start in range(0, weights.shape[1], group):
                part = weights[row, start : start + group]
                scale = (part.abs().max() / largest).to(torch.float16).to(weights.dtype)
                steps = torch.round(part / scale).clamp(-largest, largest) if scale else torch.zeros_like(part)
                result[row, start : start + group] = steps * scale
        return result

    return lambda key: {name: rounded(tensor) for name, tensor in offloaded.host.tensors(key).items()}
