"""Homes by inter-layer affinity: as an integer program where that is small enough, else step by step."""

from simulator.gpus.greedy import greedy, improved
from simulator.gpus.homes import Homes
from simulator.gpus.milp import MOST_VARIABLES, num_variables, solve
from simulator.gpus.transitions import Transitions


def by_affinity(transitions: Transitions, num_gpus: int, *, most_variables: int = MOST_VARIABLES) -> Homes:
    """Place experts so that tokens change GPUs least from layer to layer, as many of each bank on each GPU (or one more).

    Source: ExFlow, arXiv 2401.08383; see simulator/gpus/milp.py.
    """
    found, method, is_optimal, notes = greedy(transitions, num_gpus), "greedy", False, []
    size = num_variables(transitions, num_gpus)
    if size > most_variables:
        notes.append(
            f"experts are placed greedily: the integer program has {size} variables, and is solved up to {most_variables}"
        )
    else:
        try:
            solution = solve(transitions, num_gpus)
        except ImportError:
            notes.append("experts are placed greedily: scipy is not installed; pip install 'moesim[scipy]'")
        else:
            if solution is not None:
                solved = improved(transitions, solution.gpu_of_BE, num_gpus)
                if solution.is_optimal or transitions.cut(solved) < transitions.cut(found):
                    found, method, is_optimal = solved, "milp", solution.is_optimal
            if not is_optimal:
                notes.append("the integer program was not solved to the end: experts are placed as well as was found")
    return Homes(
        num_gpus=num_gpus,
        gpu_of_key=found.ravel().tolist(),
        method=method,
        is_optimal=is_optimal,
        cut=transitions.cut(found),
        total=transitions.total,
        notes=notes,
    )
