"""Stack what all layers routed in one forward pass to a few tensors, on the devices where it was made.

Legend: N tokens of the pass, L routing rounds on one device, M = L * D lookahead routings, K top-k, D lookahead
distances.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from traces.capture.layers import Routing
from traces.capture.passes import PassRouting


def stack_routing(routing: PassRouting, *, num_experts: int, lookahead: int, gate_weights: bool) -> dict[str, Tensor]:
    """Return `ids.000` [N, L, K], `weights.000` [N, L, K] and `lookahead.000` [N, L, D, K], as far as asked for.

    Consecutive rounds on one device make a group, and the number in the names is that of the group.
    """
    columns: dict[str, Tensor] = {}
    for number, rounds in enumerate(device_groups(routing)):
        routings = [routing.routed[at] for at in rounds]
        top_k = routings[0][1].shape[-1]
        ids_NLK, weights_NLK = _sorted([(ids, weights) for _, ids, weights in routings], top_k, num_experts)
        columns[f"ids.{number:03d}"] = ids_NLK
        if gate_weights:
            columns[f"weights.{number:03d}"] = weights_NLK.to(torch.float16)
        if lookahead:
            foreseen = [
                pair
                for index, *own in routings
                for pair in _filled(routing.foreseen.get(index, ()), (own[0], own[1]), lookahead)
            ]
            ids_NMK, _ = _sorted(foreseen, top_k, num_experts)
            columns[f"lookahead.{number:03d}"] = ids_NMK.reshape(len(ids_NMK), len(rounds), lookahead, top_k)
    return columns


def device_groups(routing: PassRouting) -> list[list[int]]:
    """Group consecutive rounds by the device that they ran on."""
    groups: list[list[int]] = []
    last: torch.device | None = None
    for at, (_, ids, _) in enumerate(routing.routed):
        if ids.device != last:
            groups.append([])
        groups[-1].append(at)
        last = ids.device
    return groups


def _filled(foreseen: Sequence[Routing], own: Routing, lookahead: int) -> list[Routing]:
    """Return D routings that were foreseen at a layer, its own in place of layers that do not exist."""
    device = own[0].device
    pairs = [(ids.to(device), weights.to(device)) for ids, weights in foreseen]
    return pairs + [own] * (lookahead - len(pairs))


def _sorted(routings: Sequence[Routing], top_k: int, num_experts: int) -> Routing:
    """Stack routings to [N, rounds, K], by descending weight; equal weights keep the router's order."""
    ids_NLK = torch.stack([ids.reshape(-1, top_k) for ids, _ in routings], dim=1)
    weights_NLK = torch.stack([weights.reshape(-1, top_k).float() for _, weights in routings], dim=1)
    if top_k > 1:
        weights_NLK, order = weights_NLK.sort(dim=-1, descending=True, stable=True)
        ids_NLK = ids_NLK.gather(-1, order)
    return ids_NLK.to(torch.uint8 if num_experts <= 256 else torch.int16), weights_NLK
