"""Homes by affinity: the integer program finds the optimum, and what is greedy is never better."""

from itertools import combinations, product
from pathlib import Path
from random import Random

import numpy as np
import pytest

from simulator.gpus.affinity import by_affinity
from simulator.gpus.greedy import greedy
from simulator.gpus.homes import EVERYWHERE, everywhere, replicated, round_robin
from simulator.gpus.milp import num_variables, solve
from simulator.gpus.transitions import Counts, Transitions, count_transitions
from simulator.training import Training
from tests.hand_made import make_trace, random_routing

pytest.importorskip("scipy")


def random_transitions(random: Random, *, num_banks: int, num_experts: int, shares_banks: bool = False) -> Transitions:
    """Draw counts between consecutive banks, and within one where layers share it."""
    pairs = [(bank, bank + 1) for bank in range(num_banks - 1)]
    counts = {pair: _drawn(random, num_experts) for pair in pairs}
    if shares_banks:
        counts[0, 0] = np.triu(_drawn(random, num_experts), k=1)
    return Transitions(num_banks=num_banks, num_experts=num_experts, counts=counts)


def _drawn(random: Random, num_experts: int) -> Counts:
    return np.array(
        [[random.choice([0, 0, random.randint(1, 9)]) for _ in range(num_experts)] for _ in range(num_experts)]
    )


def balanced(num_experts: int, num_gpus: int) -> list[tuple[int, ...]]:
    """List all ways to give experts of a bank to GPUs, as many to each or one more."""
    fewest, most = num_experts // num_gpus, -(-num_experts // num_gpus)
    ways = product(range(num_gpus), repeat=num_experts)
    return [way for way in ways if all(fewest <= way.count(gpu) <= most for gpu in range(num_gpus))]


@pytest.mark.parametrize("seed", range(16))
def test_the_program_finds_the_optimum(seed: int) -> None:
    """Its cut is the least over all balanced homes, by brute force; greedy's is no less."""
    random = Random(seed)
    num_banks, num_experts, num_gpus = random.choice([(2, 4, 2), (3, 4, 2), (2, 5, 2), (2, 4, 3), (3, 3, 3), (2, 3, 2)])
    transitions = random_transitions(
        random, num_banks=num_banks, num_experts=num_experts, shares_banks=random.random() < 0.4
    )
    ways = product(balanced(num_experts, num_gpus), repeat=num_banks)
    least = min(transitions.cut(np.array(way)) for way in ways)
    solution = solve(transitions, num_gpus)
    assert solution is not None
    assert solution.is_optimal
    assert transitions.cut(solution.gpu_of_BE) == least
    assert transitions.cut(greedy(transitions, num_gpus)) >= least


@pytest.mark.parametrize("seed", range(8))
def test_greedy_is_between_the_optimum_and_dealing_out_in_turn(seed: int) -> None:
    """It is balanced, no better than the program and no worse than round robin."""
    random = Random(f"between:{seed}")
    num_experts, num_gpus = random.choice([(6, 2), (8, 2), (6, 3), (7, 3)])
    transitions = random_transitions(random, num_banks=3, num_experts=num_experts, shares_banks=seed % 2 == 0)
    gpu_of_BE = greedy(transitions, num_gpus)
    for gpu_of_E in gpu_of_BE:
        sizes = np.bincount(gpu_of_E, minlength=num_gpus)
        assert sizes.max() - sizes.min() <= 1
    in_turn = np.tile(np.arange(num_experts) % num_gpus, (3, 1))
    solution = solve(transitions, num_gpus)
    assert solution is not None
    assert (
        transitions.cut(solution.gpu_of_BE)
        <= transitions.cut(gpu_of_BE)
        <= transitions.cut(in_turn)
        <= transitions.total
    )


def test_cliques_stay_together() -> None:
    """Tokens that keep to one half of the experts keep to one GPU: nothing is cut, and greedy finds that as well."""
    half = np.kron(np.eye(2, dtype=np.int64), np.full((3, 3), 5))
    order = [np.random.default_rng(seed).permutation(6) for seed in range(4)]
    counts = {(bank, bank + 1): half[np.ix_(order[bank], order[bank + 1])] for bank in range(3)}
    transitions = Transitions(num_banks=4, num_experts=6, counts=counts)
    homes = by_affinity(transitions, 2)
    assert (homes.method, homes.is_optimal, homes.cut, homes.total) == ("milp", True, 0, 3 * 2 * 9 * 5)
    assert transitions.cut(greedy(transitions, 2)) == 0


def test_large_programs_are_placed_greedily_and_say_so() -> None:
    """Above the limit in variables; the note has both numbers."""
    transitions = random_transitions(Random(1), num_banks=3, num_experts=6)
    size = num_variables(transitions, 2)
    homes = by_affinity(transitions, 2, most_variables=size - 1)
    assert homes.method == "greedy"
    assert str(size) in homes.notes[0]
    assert by_affinity(transitions, 2, most_variables=size).method == "milp"


def test_transitions_are_pairs_of_picks(tmp_path: Path) -> None:
    """Counted by hand: two tokens, two layers, top-2; and layers that share a bank."""
    sequences = [[[[0, 1], [2, 0]], [[0, 2], [2, 1]]]]
    training = Training(make_trace(tmp_path / "own.safetensors", sequences, num_experts=3), [0])
    own = count_transitions(training, [0, 1])
    assert own.counts[0, 1].tolist() == [[1, 1, 2], [1, 0, 1], [0, 1, 1]]
    assert own.total == 8
    assert own.cut(np.array([[0, 0, 1], [0, 0, 1]])) == 2 + 1 + 0 + 1
    shared = Training(make_trace(tmp_path / "shared.safetensors", sequences, num_experts=3, banks=(0, 0)), [0])
    one_bank = count_transitions(shared, [0, 0])
    assert one_bank.counts[0, 0].tolist() == [[0, 2, 2], [0, 0, 2], [0, 0, 0]]


@pytest.mark.parametrize("banks", [(0, 1, 2), (0, 0, 1), (1, 0, 1)])
def test_the_cut_is_what_tokens_do(tmp_path: Path, banks: tuple[int, ...]) -> None:
    """Count the transitions of each token, one by one, for some homes."""
    routing = random_routing(3, lengths=[9, 7], num_layers=3, num_experts=5, top_k=2)
    training = Training(make_trace(tmp_path / "t.safetensors", routing, num_experts=5, banks=banks), [0, 1])
    transitions = count_transitions(training, banks)
    gpu_of_BE = np.array([[(bank + expert * expert) % 3 for expert in range(5)] for bank in range(max(banks) + 1)])
    crossed = 0
    for token in [token for sequence in routing for token in sequence]:
        for layer in range(2):
            homes = [[gpu_of_BE[banks[at], expert] for expert in token[at]] for at in (layer, layer + 1)]
            crossed += sum(one != other for one, other in product(*homes))
    assert transitions.cut(gpu_of_BE) == crossed


def test_homes_without_affinity() -> None:
    """In turn; the most popular everywhere and the others in turn; all everywhere."""
    assert round_robin(num_gpus=3, num_keys=8, num_experts=4).gpu_of_key == [0, 1, 2, 0, 0, 1, 2, 0]
    popularity = np.array([5, 9, 9, 1, 0, 0, 0, 0])
    homes = replicated(popularity, num_gpus=2, num_experts=4, replicas=1)
    assert homes.gpu_of_key == [0, EVERYWHERE, 1, 0, EVERYWHERE, 0, 1, 0]
    assert homes.keys_of(1) == [1, 2, 4, 6]
    assert everywhere(num_gpus=2, num_keys=3).keys_of(0) == [0, 1, 2]


def test_no_two_experts_are_better_swapped() -> None:
    """Greedy's end is a local optimum, also where layers share a bank."""
    transitions = random_transitions(Random(5), num_banks=2, num_experts=8, shares_banks=True)
    gpu_of_BE = greedy(transitions, 2)
    cut = transitions.cut(gpu_of_BE)
    for bank in range(2):
        for one, other in combinations(range(8), 2):
            swapped = gpu_of_BE.copy()
            swapped[bank, [one, other]] = swapped[bank, [other, one]]
            assert transitions.cut(swapped) >= cut
