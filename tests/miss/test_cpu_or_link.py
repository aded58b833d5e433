"""Who computes what is missing: the CPU, now or later, or the GPU, on worked examples."""

import pytest

from simulator.miss.cpu_below import CpuBelow
from simulator.miss.cpu_by_tokens import CpuByTokens
from simulator.miss.defer import Defer
from simulator.miss.protocol import MissAction
from simulator.miss.schedule import HybridSchedule
from tests.miss.by_hand import TokenView

CPU, FETCH, DEFER = MissAction.CPU, MissAction.FETCH, MissAction.DEFER


def test_fiddler_crosses_where_the_costs_do() -> None:
    """On the CPU n tokens take 400 n + 10 n; to fetch and compute takes 1000 + 100: two tokens stay, three are fetched."""
    view = TokenView()
    assert CpuByTokens(view).decide([5, 6, 7], [2, 3, 1]) == [CPU, FETCH, CPU]
    view.costs.cpu_ns = 1090  # a tie: 1090 + 10 against 1100
    assert CpuByTokens(view).decide([5], [1]) == [FETCH]
    view.costs.activation_token_ns = 9
    assert CpuByTokens(view).decide([5], [1]) == [CPU]


def test_fiddlers_code_crosses_at_ten_tokens() -> None:
    """7 n < 70, whatever the machine."""
    assert CpuByTokens(TokenView(), fixed_threshold=10).decide([5, 6], [9, 10]) == [CPU, FETCH]


@pytest.mark.parametrize(
    ("num_tokens", "per_expert", "action"),
    [(31, False, CPU), (32, False, FETCH), (127, True, CPU), (128, True, FETCH)],
)
def test_large_steps_are_fetched(num_tokens: int, per_expert: bool, action: MissAction) -> None:
    """llama.cpp counts the step's 32 tokens; ik_llama.cpp 32 tokens for each of 8 experts, of which a token uses 2."""
    view = TokenView()
    view.show([[0, 1]] * num_tokens)
    assert CpuBelow(view, per_expert=per_expert).decide([1, 0], [1, 40]) == [action, action]


def test_defers_what_is_weak_for_all() -> None:
    """3 is last for both tokens, 2 third and second, 1 second and third, 0 first."""
    view = TokenView(top_k=4)
    view.show([[0, 1, 2, 3], [0, 2, 1, 3]])
    keys, counts = [0, 1, 2, 3], [2] * 4
    assert Defer(view).decide(keys, counts) == [CPU, CPU, CPU, DEFER]
    assert Defer(view, ranks=2).decide(keys, counts) == [CPU, CPU, CPU, DEFER]
    assert Defer(view, ranks=3).decide(keys, counts) == [CPU, DEFER, DEFER, DEFER]


def test_defers_in_decode_alone() -> None:
    """In a prefill the CPU does it all at once, unless told otherwise; large steps may go to the GPU."""
    view = TokenView(top_k=2)
    view.is_prefill = True
    view.show([[0, 1]] * 5)
    assert Defer(view).decide([0, 1], [5, 5]) == [CPU, CPU]
    assert Defer(view, in_prefill=True).decide([0, 1], [5, 5]) == [CPU, DEFER]
    assert Defer(view, fetch_from=5).decide([0, 1], [5, 5]) == [FETCH, FETCH]
    assert Defer(view, fetch_from=6).decide([0, 1], [5, 5]) == [CPU, CPU]


def test_schedules_heavy_ones_over_the_link() -> None:
    """2 has eight tokens: 3200 on the CPU, 1100 by way of the link. 4 has one: 410 on the CPU."""
    view = TokenView()
    view.show([[2, 4]] + [[2, 6]] * 7)
    view.resident = {6}
    policy = HybridSchedule(view)
    assert policy.decide([2, 4], [8, 1]) == [FETCH, CPU]
    assert policy.share([6], [7]) == []  # the GPU is done with it at 100


def test_an_idle_cpu_takes_light_residents() -> None:
    """The GPU needs 1000 for each, the CPU 410 for one and 820 for two: it takes the two lightest, 8 first."""
    view = TokenView(num_experts=16, top_k=3)
    view.costs.gpu_ns = 1000
    view.resident = {6, 7, 8}
    view.show([[6, 7, 8]])
    assert HybridSchedule(view).share([6, 7, 8], [1, 1, 1]) == [8, 7]
    assert HybridSchedule(view, shares=False).share([6, 7, 8], [1, 1, 1]) == ()


def test_the_cpu_takes_what_is_missing_before_residents() -> None:
    """9 is done there at 410, 8 at 820; the GPU has 6 by 1000, and would have 7 by 2000, the CPU by 1230."""
    view = TokenView(num_experts=16, top_k=4)
    view.costs.gpu_ns = 1000
    view.resident = {6, 7, 8}
    view.show([[6, 9, 7, 8]])
    policy = HybridSchedule(view)
    assert policy.decide([9], [1]) == [CPU]
    assert policy.share([6, 7, 8], [1, 1, 1]) == [8, 7]
    view.show([[6, 7, 8, 1]], visit=1)  # a later visit is scheduled afresh
    assert policy.share([6], [1]) == [6]
