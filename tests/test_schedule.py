"""Schedules of a layer's experts, by hand and against all that there are."""

from collections.abc import Iterator, Sequence
from itertools import permutations, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.schedule import Schedule, Scheduler, hybrid_schedule
from tests.hand_made import HandCosts


def scheduled(
    resident: dict[int, int], missing: dict[int, int], *, num_cpu_workers: int = 1, warmup: float = 0.0, **kwargs: bool
) -> tuple[list[int], list[int], list[int], int]:
    """Schedule experts given as {key: tokens} at 100 ns on the GPU, 400 ns a token on the CPU and 1000 ns over the link."""
    costs = HandCosts()
    costs.num_cpu_workers = num_cpu_workers
    experts = {**missing, **resident}
    result = hybrid_schedule(
        keys=list(experts),
        num_tokens=list(experts.values()),
        resident=[key in resident for key in experts],
        costs=costs,
        cpu_warmup_frac=warmup,
        **kwargs,
    )
    return list(result.on_gpu), list(result.on_cpu), list(result.fetched), result.makespan_ns


def test_the_cpu_computes_what_it_has_done_before_a_transfer_ends() -> None:
    """400 + 10 ns for the activation, against 1000 + 100."""
    assert scheduled({1: 1}, {2: 1}) == ([1], [2], [], 410)


def test_a_high_load_is_fetched() -> None:
    """Four tokens would take the CPU 1640 ns."""
    assert scheduled({}, {5: 4}) == ([], [], [5], 1100)


def test_link_and_cpu_work_from_opposite_ends() -> None:
    """While the link brings 7, the highest load, the CPU computes 9 and then 8, done at 400 + 800 + 30 ns, not at 2100."""
    assert scheduled({}, {7: 8, 8: 2, 9: 1}) == ([], [9, 8], [7], 1230)


def test_of_equal_loads_the_cpu_takes_the_last_and_the_link_the_first() -> None:
    """The CPU is done at 410, 820 and would be at 1230, after the link."""
    assert scheduled({}, {3: 1, 4: 1, 5: 1}) == ([], [5, 4], [3], 1100)


def test_an_idle_cpu_takes_low_loads_from_the_gpu() -> None:
    """Until 400 ns the GPU is done first; then the CPU would be, at 410, with the lowest load; then the GPU, at 500."""
    loads = {1: 6, 2: 5, 3: 4, 4: 3, 5: 2, 6: 1}
    assert scheduled(loads, {}) == ([1, 2, 3, 4, 5], [6], [], 500)
    assert scheduled(loads, {}, cpu_takes_resident=False) == ([1, 2, 3, 4, 5, 6], [], [], 600)


def test_the_first_expert_on_the_cpu_warms_its_caches() -> None:
    """400 ns and half of that; the second takes 400."""
    assert scheduled({}, {2: 1}, warmup=0.5) == ([], [2], [], 610)
    assert scheduled({}, {2: 1, 3: 1}, warmup=0.5) == ([], [3, 2], [], 1020)


def test_workers_share_what_the_cpu_computes() -> None:
    """Two at once until 400 ns, the third until 800; three activations come back together."""
    assert scheduled({}, {1: 1, 2: 1, 3: 1}, num_cpu_workers=2) == ([], [3, 2, 1], [], 830)


def test_nothing_takes_no_time() -> None:
    """A layer without experts."""
    assert scheduled({}, {}) == ([], [], [], 0)


def test_refuses_a_negative_warmup() -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=r"cpu_warmup_frac is -0.1; it should be 0 or more"):
        scheduled({}, {}, warmup=-0.1)


@st.composite
def layers(draw: st.DrawFn) -> tuple[list[int], list[bool], HandCosts]:
    """Draw the loads of up to four experts, which are resident, and a machine."""
    num_experts = draw(st.integers(1, 4))
    costs = HandCosts()
    costs.transfer_ns = draw(st.integers(1, 2000))
    costs.gpu_ns = draw(st.integers(1, 600))
    costs.cpu_ns = draw(st.integers(1, 600))
    costs.num_cpu_workers = draw(st.integers(1, 2))
    loads = draw(st.lists(st.integers(1, 40), min_size=num_experts, max_size=num_experts))
    return loads, draw(st.lists(st.booleans(), min_size=num_experts, max_size=num_experts)), costs


def makespans(loads: Sequence[int], resident: Sequence[bool], costs: HandCosts) -> Iterator[int]:
    """Work out every assignment in every order, each resource doing the next of its list as early as it can."""
    for where in product(("gpu", "cpu"), repeat=len(loads)):
        on_cpu = [key for key, place in enumerate(where) if place == "cpu"]
        on_gpu = [key for key, place in enumerate(where) if place == "gpu"]
        cpu_choices_ns = {_cpu_ns(order, loads, costs) for order in permutations(on_cpu)}
        for order in permutations(key for key in on_gpu if not resident[key]):
            arrival_ns = {key: costs.transfer_ns * (place + 1) for place, key in enumerate(order)}
            for kernels in permutations(on_gpu):
                gpu_ns = 0
                for key in kernels:
                    gpu_ns = max(gpu_ns, arrival_ns.get(key, 0)) + costs.expert_ns(loads[key])
                yield from (max(gpu_ns, cpu_ns) for cpu_ns in cpu_choices_ns)


def _cpu_ns(order: Sequence[int], loads: Sequence[int], costs: HandCosts) -> int:
    free_ns = [0] * costs.num_cpu_workers
    for key in order:
        free_ns.sort()
        free_ns[0] += costs.cpu_expert_ns(loads[key])
    return max(free_ns) + costs.activation_ns(sum(loads[key] for key in order)) if order else 0


@settings(derandomize=True, deadline=None, max_examples=300)
@given(layer=layers())
def test_greedy_gives_every_expert_a_place_and_is_no_better_than_the_best(
    layer: tuple[list[int], list[bool], HandCosts],
) -> None:
    """The makespan is one that some assignment and order has, on these layers at most twice the best; all experts count."""
    loads, resident, costs = layer
    result = hybrid_schedule(keys=range(len(loads)), num_tokens=loads, resident=resident, costs=costs)
    assert sorted([*result.on_gpu, *result.on_cpu, *result.fetched]) == list(range(len(loads)))
    assert all(resident[key] for key in result.on_gpu)
    assert not any(resident[key] for key in result.fetched)
    possible = set(makespans(loads, resident, costs))
    assert result.makespan_ns in possible
    assert min(possible) <= result.makespan_ns <= 2 * min(possible)


def test_schedules_compare_by_value() -> None:
    """Two calls give equal schedules."""
    calls = [
        hybrid_schedule(keys=[3, 1], num_tokens=[1, 2], resident=[True, False], costs=HandCosts()) for _ in range(2)
    ]
    assert calls[0] == calls[1]
    assert isinstance(calls[0], Schedule)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    some=st.lists(layers(), min_size=1, max_size=4),
    shuffle=st.randoms(use_true_random=False),
    takes_resident=st.booleans(),
)
def test_what_is_looked_up_is_what_would_come_out(
    some: list[tuple[list[int], list[bool], HandCosts]], shuffle: Random, takes_resident: bool
) -> None:
    """Whatever the keys and the order in which they are given, the first time and later."""
    costs = some[0][2]
    scheduler = Scheduler(costs, cpu_takes_resident=takes_resident)
    for loads, resident, _ in [*some, *some]:
        keys = shuffle.sample(range(100), len(loads))
        expected = hybrid_schedule(
            keys=keys, num_tokens=loads, resident=resident, costs=costs, cpu_takes_resident=takes_resident
        )
        assert scheduler.schedule(zip(keys, loads, resident, strict=True)) == expected
        by_rank = sorted(zip(loads, resident, strict=True), reverse=True)
        assert (
            scheduler.makespan_ns(shuffle.sample(by_rank, len(by_rank)))
            == scheduler.schedule(
                (rank, tokens, is_there) for rank, (tokens, is_there) in enumerate(by_rank)
            ).makespan_ns
        )
