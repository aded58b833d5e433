"""What is dropped, skipped or taken at low precision, on worked examples."""

from pathlib import Path

import pytest

from simulator.miss.drop import Drop
from simulator.miss.low_precision import LowPrecision
from simulator.miss.protocol import DROPPED, MissAction
from simulator.miss.skip import Skip
from tests.miss.by_hand import TokenView, learn_from


def test_drops_by_rank() -> None:
    """Missing experts below the kept ranks go; residents and what is in flight stay."""
    view = TokenView(top_k=4)
    view.resident, view.in_flight = {2}, {3}
    view.show([[0, 1, 2, 3], [3, 2, 1, 0]])
    policy = Drop(view)
    assert policy.reroute() == [[0, DROPPED, 2, 3], [3, 2, DROPPED, DROPPED]]
    assert Drop(view, keep_ranks=2).reroute() == [[0, 1, 2, 3], [3, 2, DROPPED, DROPPED]]
    assert Drop(view, keep_ranks=0).reroute()[0] == [DROPPED, DROPPED, 2, 3]
    assert policy.decide([0], [1]) == [MissAction.FETCH]


def test_drops_by_mass() -> None:
    """Shares are of the token's own sum: 6 : 3 : 1 are .6, .3, .1, and what is just .3 is not below it."""
    view = TokenView(top_k=3)
    view.show([[0, 1, 2]], [[6.0, 3.0, 1.0]])
    assert Drop(view, below=0.3).reroute() == [[0, 1, DROPPED]]
    assert Drop(view, below=0.31).reroute() == [[0, DROPPED, DROPPED]]
    assert Drop(view, below=0.61).reroute() == [[0, DROPPED, DROPPED]]
    assert Drop(view, below=0.61, keep_ranks=0).reroute() == [[DROPPED] * 3]


def test_skips_by_sensitivity() -> None:
    """T = .005: s = 50 lets go of shares below .01, s = .05 of those below .316; residency plays no part."""
    view = TokenView(num_layers=3)
    policy = Skip(view, skip_share=0, first_sensitivity=50, last_sensitivity=0.05)
    weights = [[0.995, 0.005], [0.95, 0.05], [0.94, 0.06], [0.7, 0.3], [0.6, 0.4]]
    for layer, num_single in enumerate([1, 2, 4]):  # in between, s = sqrt(50 * .05) = 1.58 and the limit .0562
        first_key = layer * 8
        view.resident = {first_key}
        view.show([[first_key, first_key + 1]] * 5, weights, visit=3 + layer)
        single = [DROPPED in token for token in policy.reroute()]
        assert single == [True] * num_single + [False] * (5 - num_single)


def test_skips_the_whole_tail() -> None:
    """The strongest stays, however even the token."""
    view = TokenView(top_k=4)
    view.show([[0, 1, 2, 3], [4, 5, 6, 7]], [[5.0, 3.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    policy = Skip(view, skip_share=0, threshold=0.25**2 + 1e-9)
    assert policy.reroute() == [[0, 1, DROPPED, DROPPED], [4, DROPPED, DROPPED, DROPPED]]


@pytest.mark.parametrize(("skip_share", "num_single"), [(0.25, 1), (0.24, 0), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_skips_a_calibrated_share(tmp_path: Path, skip_share: float, num_single: int) -> None:
    """Of four tokens with second shares of 1 to 4 eighths, the stated share uses a single expert."""
    weights = [[[1 - eighths / 8, eighths / 8]] for eighths in (3, 1, 4, 2)]
    training = learn_from(tmp_path / "t.safetensors", [[[[0, 1]]] * 4], num_experts=8, weights=weights)
    view = TokenView(training=training)
    view.show([[0, 1]] * 4, [weight[0] for weight in weights])
    assert sum(DROPPED in token for token in Skip(view, skip_share=skip_share).reroute()) == num_single


def test_calibration_minds_sensitivity(tmp_path: Path) -> None:
    """Shares are alike: half of all picks are those of the layer that is a hundred times less sensitive."""
    weights = [[[0.75, 0.25], [0.75, 0.25]]] * 6
    training = learn_from(tmp_path / "t.safetensors", [[[[0, 1]] * 2] * 6], num_experts=8, weights=weights)
    view = TokenView(num_layers=2, training=training)
    policy = Skip(view, skip_share=0.5, first_sensitivity=10, last_sensitivity=0.1)
    view.show([[0, 1]], [[0.75, 0.25]], visit=0)
    assert policy.reroute() == [[0, 1]]
    view.show([[8, 9]], [[0.75, 0.25]], visit=1)
    assert policy.reroute() == [[8, DROPPED]]


def test_precision_of_mixtral() -> None:
    """T1 = .6, T2 = .9: of a hundred picks of two-expert tokens, all missing, 67 are high, 30 low, 3 skipped."""
    view = TokenView(num_experts=100)
    first = [0.55] * 17 + [0.75] * 30 + [0.95] * 3
    view.show([[2 * at, 2 * at + 1] for at in range(50)], [[weight, 1 - weight] for weight in first])
    policy = LowPrecision(view)
    picks = policy.reroute()
    keys = [key for token in picks for key in token if key != DROPPED]
    actions = policy.decide(keys, [1] * len(keys))
    assert (actions.count(MissAction.FETCH), actions.count(MissAction.LOW), 100 - len(keys)) == (67, 30, 3)
    assert picks[-1] == [98, DROPPED]


def test_precision_at_the_thresholds() -> None:
    """s <= T1 is high, s <= T2 low: s is .5, then .75, then .875 of the mass, whatever the weights add up to."""
    view = TokenView(top_k=4)
    view.show([[0, 1, 2, 3]], [[4.0, 2.0, 1.0, 1.0]])
    policy = LowPrecision(view, high=0.5, low=0.75)
    assert policy.reroute() == [[0, 1, 2, DROPPED]]
    assert policy.decide([0, 1, 2], [1] * 3) == [MissAction.FETCH, MissAction.FETCH, MissAction.LOW]


def test_precision_follows_the_token_to_which_it_matters_most() -> None:
    """1 would be skipped by the first token and is high for the second; 2 low for the third; 3 resident stays."""
    view = TokenView(num_experts=8)
    view.resident = {3}
    view.show([[0, 1], [1, 4], [5, 2], [6, 2], [7, 3]], [[19, 1], [1, 1], [3, 1], [19, 1], [19, 1]])
    policy = LowPrecision(view)
    assert policy.reroute() == view.picks()
    assert policy.decide([1, 2], [2, 2]) == [MissAction.FETCH, MissAction.LOW]


def test_precision_low_always() -> None:
    """Every miss uses the copy, and nothing is skipped."""
    view = TokenView()
    view.show([[0, 1]], [[0.99, 0.01]])
    policy = LowPrecision(view, always=True)
    assert policy.reroute() == [[0, 1]]
    assert policy.decide([0, 1], [1, 1]) == [MissAction.LOW, MissAction.LOW]
