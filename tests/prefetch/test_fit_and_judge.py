"""What is learned comes from the training alone, and once."""

from pathlib import Path

import pytest

from simulator.prefetch import PREFETCH
from simulator.training import Training
from tests.hand_made import HandView, make_trace, random_routing
from tests.prefetch.routing import decisions, keys_of, view_of

LEARNED = ["popularity", "affinity", "edgemoe", "whole_path", "ridge"]
SHAPE = {"num_layers": 3, "num_experts": 6, "top_k": 2}


def visits_of(seed: int) -> list[list[int]]:
    """Draw the visits of a run."""
    (tokens,) = random_routing(seed, lengths=[8], num_layers=3, num_experts=6, top_k=2)
    return [visit for token in tokens for visit in keys_of(token, 6)]


@pytest.mark.parametrize("name", LEARNED)
def test_the_judged_sequences_teach_nothing(name: str, tmp_path: Path) -> None:
    """Two traces with the same first sequences: the same decisions, whatever the others are. With other firsts, others."""
    fit, other_fit, rest, other_rest = (
        random_routing(seed, lengths=[30, 20], num_layers=3, num_experts=6, top_k=2) for seed in range(4)
    )
    made = []
    for number, sequences in enumerate([fit + rest, fit + other_rest, other_fit + rest]):
        trace = make_trace(tmp_path / f"{number}.safetensors", sequences, num_experts=6)
        view = view_of(Training(trace, range(2)), visits_of(9))
        made.append(decisions(PREFETCH[name](view), view))
    assert made[0] == made[1]
    assert made[0] != made[2]
    assert any(made[0])


@pytest.mark.parametrize("name", LEARNED)
def test_what_is_to_come_changes_nothing(name: str, tmp_path: Path) -> None:
    """Two runs that part after some steps: until then the same decisions."""
    routing = random_routing(5, lengths=[40], num_layers=3, num_experts=6, top_k=2)
    training = Training(make_trace(tmp_path / "trace.safetensors", routing, num_experts=6), range(1))
    visits, others = visits_of(10), visits_of(11)
    runs = []
    for last in (visits[12:], others[12:]):
        view = view_of(training, visits[:12] + last)
        runs.append(decisions(PREFETCH[name](view), view))
    until = 12 // 3 * (1 + 2 * 3) + 1  # a step's start, and a gate and an end for each layer; and the next start
    assert runs[0][:until] == runs[1][:until]


def test_a_fit_is_shared(tmp_path: Path) -> None:
    """The same function and parameters are fitted once for a training, others and those of another training anew."""
    routing = random_routing(6, lengths=[5], num_layers=2, num_experts=3, top_k=1)
    trace = make_trace(tmp_path / "trace.safetensors", routing, num_experts=3)
    fits: list[int] = []

    def fit(training: Training, *, degree: int) -> list[int]:
        fits.append(degree)
        return [len(training.keys_TLK) * degree]

    first, second = Training(trace, [0]), Training(trace, [0])
    assert first.fitted(fit, degree=2) is first.fitted(fit, degree=2)
    assert first.fitted(fit, degree=3) == [15]
    assert second.fitted(fit, degree=2) == [10]
    assert fits == [2, 3, 2]


@pytest.mark.parametrize("name", sorted(set(LEARNED) - {"popularity"}))
def test_needs_a_training(name: str) -> None:
    """Without one the policy is refused as it is built."""
    with pytest.raises(ValueError, match="learns from recorded routing, and there is none"):
        PREFETCH[name](HandView(num_layers=2))
