"""What every prefetch policy must do. A policy added to PREFETCH is tested here at once."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.prefetch import PREFETCH, NoPrefetch, Prefetch
from simulator.prefetch.perfect import Perfect
from simulator.training import Training
from tests.hand_made import HandView
from tests.prefetch.recorded import drawn

NUM_KEYS = 9
NUM_LAYERS = 3
visits = st.lists(
    st.lists(st.integers(0, NUM_KEYS - 1), min_size=1, max_size=4, unique=True), min_size=NUM_LAYERS, max_size=18
)


def said(policy: Prefetch, view: HandView) -> list[tuple[str, list[int]]]:
    """Take a policy through every visit, and return what it names at each decision."""
    names: list[tuple[str, list[int]]] = []
    for visit, keys in enumerate(view.oracle.visits):
        if visit % NUM_LAYERS == 0:
            names.append(("step", list(policy.at_step_start())))
        view.oracle.visit = visit
        names.append(("gate", list(policy.after_gate(keys))))
        names.append(("end", list(policy.at_layer_end())))
    return names


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Routing to learn from."""
    return drawn(tmp_path_factory.mktemp("training"), num_layers=NUM_LAYERS, num_experts=NUM_KEYS)


@pytest.mark.parametrize("name", PREFETCH)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(visits=visits)
def test_names_known_experts_and_decides_alike_each_time(
    name: str, training: Training, visits: list[list[int]]
) -> None:
    """Every key is one of the model's, none is named twice at once, and the same run gives the same decisions."""
    first, second = (HandView(visits, num_layers=NUM_LAYERS, num_experts=NUM_KEYS, training=training) for _ in range(2))
    decisions = said(PREFETCH[name](first), first)
    assert decisions == said(PREFETCH[name](second), second)
    assert all(0 <= key < NUM_KEYS for _, keys in decisions for key in keys)
    assert all(len(set(keys)) == len(keys) for _, keys in decisions)


def test_none_names_nothing() -> None:
    """On-demand fetching alone."""
    view = HandView([[1, 2], [3], [4]], num_layers=NUM_LAYERS)
    assert [keys for _, keys in said(NoPrefetch(view), view) if keys] == []


@settings(derandomize=True, deadline=None, max_examples=100)
@given(visits=visits, lookahead_layers=st.integers(1, 4))
def test_perfect_names_exactly_the_next_visits(visits: list[list[int]], lookahead_layers: int) -> None:
    """At a step's start and after each gate: the experts of the next visits, nearest first; nothing past the end."""
    view = HandView(visits, num_layers=NUM_LAYERS)
    policy = Perfect(view, lookahead_layers=lookahead_layers)

    def following(visit: int) -> Sequence[int]:
        return [key for keys in visits[visit + 1 : visit + 1 + lookahead_layers] for key in keys]

    expected: list[tuple[str, Sequence[int]]] = []
    for visit in range(len(visits)):
        if visit % NUM_LAYERS == 0:
            expected.append(("step", following(visit - 1)))
        expected += [("gate", following(visit)), ("end", [])]
    assert said(policy, view) == expected


def test_perfect_looks_one_layer_ahead_by_default() -> None:
    """The default lookahead is the next visit."""
    view = HandView([[1, 2], [3], [4]], num_layers=NUM_LAYERS)
    assert PREFETCH["perfect"](view).at_step_start() == [1, 2]


@pytest.mark.parametrize("lookahead_layers", [0, -1])
def test_perfect_refuses_to_look_nowhere(lookahead_layers: int) -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=f"lookahead_layers is {lookahead_layers}; it should be 1 or more"):
        Perfect(HandView(), lookahead_layers=lookahead_layers)
