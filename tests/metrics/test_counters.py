"""Counters and their differences."""

from dataclasses import fields

from simulator.metrics.counters import ATTRIBUTION, Counters


def filled(factor: int) -> Counters:
    """Set every count to a number of its own, times a factor."""
    counters = Counters(num_layers=2)
    for number, item in enumerate(fields(Counters), start=1):
        if item.name in Counters.layer_fields():
            setattr(counters, item.name, [factor * number, factor * number * 10])
        elif item.name != "num_layers":
            setattr(counters, item.name, factor * number)
    return counters


def test_counts_start_at_zero_with_one_entry_per_round() -> None:
    """Each list is its own."""
    counters = Counters(num_layers=3)
    counters.hits[0] += 1
    assert (counters.hits, counters.misses, counters.now_ns) == ([1, 0, 0], [0, 0, 0], 0)


def test_minus_takes_every_count() -> None:
    """3 x - x = 2 x, for every field."""
    assert filled(3).minus(filled(1)) == filled(2)


def test_a_copy_does_not_follow() -> None:
    """What is counted after a copy does not show in it."""
    counters = filled(1)
    copied = counters.copy()
    assert copied == counters
    counters.hits[1] += 1
    counters.steps += 1
    assert copied == filled(1)


def test_attribution_names_each_cause_once() -> None:
    """Per-layer times are added up, overhead of layers and steps is one cause."""
    counters = Counters(num_layers=2)
    counters.expert_compute_ns = [1, 2]
    counters.non_expert_compute_ns = [10, 20]
    counters.step_compute_ns = 100
    counters.runtime_overhead_ns = [1000, 2000]
    counters.step_overhead_ns = 500
    counters.exposed_demand_fetch_ns = [10_000, 20_000]
    counters.exposed_late_prefetch_ns = [0, 100_000]
    counters.queued_behind_prefetch_ns = [1_000_000, 0]
    counters.exposed_cpu_expert_ns = [4_000_000, 6_000_000]
    counters.exposed_nvme_ns = [0, 100_000_000]
    attribution_ns = counters.attribution_ns()
    assert tuple(attribution_ns) == ATTRIBUTION
    assert list(attribution_ns.values()) == [3, 30, 100, 3500, 30_000, 100_000, 1_000_000, 10_000_000, 100_000_000]
