"""Homes by affinity as an integer program.

    x[b, e, g] in {0, 1}      expert e of bank b has its home on GPU g
    y[b, e, c, f, g]          the transitions from (b, e) to (c, f) stay on GPU g; one for each pair that tokens take

    maximise    sum of count[b, e, c, f] * y[b, e, c, f, g]
    subject to  sum over g of x[b, e, g] = 1                      one home each
                floor(E / N) <= sum over e of x[b, e, g] <= ceil(E / N)    the same share of every bank on every GPU
                y[b, e, c, f, g] <= x[b, e, g],  y[b, e, c, f, g] <= x[c, f, g]
                sum over f of y[b, e, c, f, g] <= ceil(E / N) x[b, e, g]   no more of a bank are there; and over e
                x[0, 0, 0] = 1                                    GPUs are alike: one of all orders of them

What does not stay is what is cut. y may be a fraction: with whole x its best value is whole.

Source: J. Yao et al.: "Exploiting inter-layer expert affinity for accelerating mixture-of-experts model inference" (ExFlow),
arXiv 2401.08383: an integer program that minimises tokens' way from GPU to GPU, the same number of experts of each layer on
each. Theirs is for top-1 gates and for several nodes as well. Solved by HiGHS through scipy.optimize.milp.

Limits: the solver stops after a number of nodes, not after a time, so that the same machine gives the same homes; what it
has by then may not be the optimum, which the result says. Other versions of the solver may choose among equal optima
otherwise.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np

from simulator.gpus.transitions import Counts, Transitions

MOST_VARIABLES = 600
"""The largest program that is solved, in variables: seconds on one core, where tokens follow no pattern some ten."""

_MOST_NODES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The GPU of each expert, [banks, E], and whether it is proved that nothing is better."""

    gpu_of_BE: Counts  # noqa: N815
    is_optimal: bool


def num_variables(transitions: Transitions, num_gpus: int) -> int:
    """Count the variables of the program."""
    num_pairs = sum(int(np.count_nonzero(counts)) for counts in transitions.counts.values())
    return (transitions.num_banks * transitions.num_experts + num_pairs) * num_gpus


def solve(transitions: Transitions, num_gpus: int) -> Solution | None:
    """Solve the program; None if the solver has found nothing within its nodes. Raises ImportError without scipy."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    num_banks, num_experts = transitions.num_banks, transitions.num_experts
    num_x = num_banks * num_experts * num_gpus
    size = num_variables(transitions, num_gpus)
    gain = np.zeros(size)
    cells: list[tuple[int, int, int]] = []  # (row, variable, value)
    lower: list[float] = []
    upper: list[float] = []
    rows = count()

    def row(terms: list[tuple[int, int]], least: float, most: float) -> None:
        at = next(rows)
        cells.extend((at, variable, value) for variable, value in terms)
        lower.append(least)
        upper.append(most)

    def x(bank: int, expert: int, gpu: int) -> int:
        return (bank * num_experts + expert) * num_gpus + gpu

    fewest, most = num_experts // num_gpus, -(-num_experts // num_gpus)
    for bank in range(num_banks):
        for expert in range(num_experts):
            row([(x(bank, expert, gpu), 1) for gpu in range(num_gpus)], 1, 1)
        for gpu in range(num_gpus):
            row([(x(bank, expert, gpu), 1) for expert in range(num_experts)], fewest, most)
    at = num_x
    staying: dict[
        tuple[int, int, int, int], list[tuple[int, int]]
    ] = {}  # of one expert with those of a bank on one GPU
    for (bank, later), counts in sorted(transitions.counts.items()):
        for expert, following in np.argwhere(counts).tolist():
            for gpu in range(num_gpus):
                gain[at] = counts[expert, following]
                for one, place in (((bank, expert), later), ((later, following), bank)):
                    row([(at, 1), (x(*one, gpu), -1)], -np.inf, 0)
                    staying.setdefault((*one, place, gpu), []).append((at, 1))
                at += 1
    for (bank, expert, _, gpu), terms in staying.items():
        row([*terms, (x(bank, expert, gpu), -most)], -np.inf, 0)
    assert at == size
    where = np.array(cells, np.int64)
    matrix = coo_array((where[:, 2].astype(float), (where[:, 0], where[:, 1])), shape=(len(lower), size)).tocsr()
    least_x = np.zeros(size)
    least_x[x(0, 0, 0)] = 1
    found = milp(
        -gain,
        integrality=(np.arange(size) < num_x).astype(np.int64),
        bounds=Bounds(least_x, np.ones(size)),
        constraints=LinearConstraint(matrix, lower, upper),
        options={"node_limit": _MOST_NODES, "mip_rel_gap": 0.0},
    )
    if found.x is None:
        return None
    gpu_of_BE = np.argmax(found.x[:num_x].reshape(num_banks, num_experts, num_gpus), axis=2)
    return Solution(gpu_of_BE=gpu_of_BE.astype(np.int64), is_optimal=found.status == 0)
