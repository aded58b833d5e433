"""Homes by affinity, found step by step: for models whose integer program is too large.

    for each bank but the first, dealt out in turn: the expert and the GPU of the largest pull, while the GPU has room
    then, bank after bank: swap the two experts whose swap saves most, until none saves anything

The result is never worse than dealing out in turn. Ties go to the lowest expert, then the lowest GPU.

Source: ours; swaps of pairs as in B. W. Kernighan and S. Lin, "An efficient heuristic procedure for partitioning graphs",
Bell System Technical Journal 49(2), 1970.

Limits: a local optimum: no swap of two experts of one bank improves on it.
"""

import numpy as np

from simulator.cache import split_slots
from simulator.gpus.transitions import Counts, Transitions

_MOST_ROUNDS = 50


def greedy(transitions: Transitions, num_gpus: int) -> Counts:
    """Return the GPU of each expert, [banks, E]; GPUs have as many experts of each bank as each other, or one more."""
    num_banks, num_experts = transitions.num_banks, transitions.num_experts
    in_turn_BE = np.tile(np.arange(num_experts) % num_gpus, (num_banks, 1)).astype(np.int64)
    pulled_BE = _pulled(transitions, in_turn_BE, num_gpus)
    found = [improved(transitions, start_BE, num_gpus) for start_BE in (pulled_BE, in_turn_BE)]
    return min(found, key=transitions.cut)


def _pulled(transitions: Transitions, in_turn_BE: Counts, num_gpus: int) -> Counts:
    """Place bank after bank where those before it pull."""
    gpu_of_BE = np.full_like(in_turn_BE, -1)
    gpu_of_BE[0] = in_turn_BE[0]
    for bank in range(1, transitions.num_banks):
        known = Transitions(
            num_banks=transitions.num_banks,
            num_experts=transitions.num_experts,
            counts={pair: counts for pair, counts in transitions.counts.items() if max(pair) == bank != min(pair)},
        )
        pull_EN = known.pull(bank, gpu_of_BE, num_gpus)
        room = split_slots(transitions.num_experts, num_gpus)
        for at in np.argsort(-pull_EN, axis=None, kind="stable").tolist():
            expert, gpu = divmod(at, num_gpus)
            if gpu_of_BE[bank, expert] < 0 and room[gpu]:
                gpu_of_BE[bank, expert] = gpu
                room[gpu] -= 1
    return gpu_of_BE


def improved(transitions: Transitions, start_BE: Counts, num_gpus: int) -> Counts:
    """Return balanced homes with experts of a bank swapped while that saves transitions."""
    gpu_of_BE = start_BE.copy()
    for _ in range(_MOST_ROUNDS):
        has_swapped = False
        for bank in range(transitions.num_banks):
            while _swap_best(transitions, bank, gpu_of_BE, num_gpus):
                has_swapped = True
        if not has_swapped:
            break
    return gpu_of_BE


def _swap_best(transitions: Transitions, bank: int, gpu_of_BE: Counts, num_gpus: int) -> bool:
    """Swap the two experts of a bank whose swap saves most; False if none saves anything."""
    gpu_of_E = gpu_of_BE[bank]
    pull_EN = transitions.pull(bank, gpu_of_BE, num_gpus)
    there_EE = pull_EN[:, gpu_of_E]  # what pulls each expert to where another is
    here_E = there_EE.diagonal()
    saved_EE = there_EE + there_EE.T - here_E[:, None] - here_E[None, :]
    saved_EE = saved_EE - 2 * transitions.within(bank) * (gpu_of_E[:, None] != gpu_of_E[None, :])
    best = int(np.argmax(saved_EE))
    one, other = divmod(best, len(gpu_of_E))
    if saved_EE[one, other] <= 0:
        return False
    gpu_of_E[[one, other]] = gpu_of_E[[other, one]]
    return True
