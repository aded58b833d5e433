"""Latencies of requests, from a run written out by hand."""

from collections.abc import Sequence

from simulator.metrics.collector import Collector
from simulator.metrics.counters import Counters
from simulator.metrics.distribution import Distribution
from simulator.workload.request import Request
from simulator.workload.step import Step


def request(index: int) -> Request:
    """Make a request of which only the identity counts here."""
    return Request(index=index, sequence=index, prompt_tokens=0, total_tokens=9)


def step(
    emits: Sequence[Request], *, joins: Sequence[Request] = (), ends: Sequence[Request] = (), is_prefill: bool = False
) -> Step:
    """Make a step of which only the requests count here."""
    return Step(is_prefill=is_prefill, tokens=[], contexts=[], requests=emits, emits=emits, joins=joins, ends=ends)


def values_ns(distribution: Distribution) -> list[int]:
    """Return what has been counted, in order."""
    return list(distribution._values)


def run(warmup_steps: int) -> tuple[Collector, list[Request]]:
    """Run three requests through six steps that end at 10, 30, 60, 100, 150 and 210.

    a joins at 0 and emits at 10, 60, 100; b joins at 0, waits for a prefill of its own that ends at 30, and emits at 30,
    60, 100, 150, 210; c takes a's place at 100, and emits at 150 and 210. The run stops with b and c unfinished.
    """
    a, b, c = requests = [request(index) for index in range(3)]
    collector = Collector(warmup_steps=warmup_steps, snapshot=lambda: Counters(num_layers=1))
    for now_ns, ended in [
        (10, step([a], joins=[a, b], is_prefill=True)),
        (30, step([b], is_prefill=True)),
        (60, step([a, b])),
        (100, step([a, b], ends=[a])),
        (150, step([c, b], joins=[c])),
        (210, step([c, b])),
    ]:
        collector.step_ended(ended, now_ns)
    collector.close()
    return collector, requests


def test_latencies_without_a_warm_up() -> None:
    """TTFT from the place in the batch, ITL between a request's tokens, TPOT their mean, E2E of those that finish."""
    collector, (a, b, c) = run(0)
    assert values_ns(collector.ttft) == [10, 30, 50]
    assert values_ns(collector.itl) == [50, 30, 40, 40, 50, 60, 60]
    assert values_ns(collector.e2e) == [100]
    assert values_ns(collector.tpot) == [45, 45, 60]
    assert [made.started_ns for made in (a, b, c)] == [0, 0, 100]
    assert [made.first_token_ns for made in (a, b, c)] == [10, 30, 150]
    assert [made.last_token_ns for made in (a, b, c)] == [100, 210, 210]
    assert [made.output_tokens for made in (a, b, c)] == [3, 5, 2]
    assert [made.finished for made in (a, b, c)] == [True, False, False]
    assert collector.requests == [a, b, c]
    assert collector.num_steps == 6
    assert collector.at_warmup is None


def test_the_warm_up_leaves_no_trace() -> None:
    """With three steps of warm-up, what came out up to 60 counts nowhere, intervals that began there included."""
    collector, (a, b, c) = run(3)
    assert values_ns(collector.ttft) == [50]
    assert values_ns(collector.itl) == [50, 60, 60]
    assert values_ns(collector.e2e) == [100]
    assert values_ns(collector.tpot) == [55, 60]
    assert collector.at_warmup == Counters(num_layers=1)
    assert [made.measured_tokens for made in (a, b, c)] == [1, 3, 2]
    assert [made.output_tokens for made in (a, b, c)] == [3, 5, 2]


def test_the_snapshot_is_taken_when_the_warm_up_ends() -> None:
    """Once, after its last step."""
    snapshots: list[int] = []

    def snapshot() -> Counters:
        snapshots.append(collector.num_steps)
        return Counters(num_layers=1)

    collector = Collector(warmup_steps=2, snapshot=snapshot)
    one = request(0)
    for at in range(4):
        collector.step_ended(step([one], joins=[one] if at == 0 else ()), 10 * (at + 1))
    assert snapshots == [2]
