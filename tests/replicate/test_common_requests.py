"""Common random numbers: what a request is does not depend on who serves it, how, or how fast."""

from collections.abc import Mapping

import pytest

from simulator.run import simulate
from simulator.scenario import build_scenario
from simulator.serving.served import Served

Drawn = tuple[object, ...]

OPEN = {
    "plain": {},
    "labelled": {"classes": {"a": 1, "b": 2}},
    "thinned and faster": {"keep_frac": 0.7, "rate_factor": 3},
    "stopped": {"stop": "300 ms"},
}
USERS = {"arrivals": {"process": "closed_loop", "users": 5, "think": "20 ms"}, "requests": 20}
SERVED_BY: Mapping[str, Mapping[str, object]] = {
    "on demand": {"system": "on_demand"},
    "in another order, and preempted": {
        "system": "static",
        "scheduler": {"policy": "decode_first", "max_batch": 2, "kv_cache": "1 MiB", "priorities": {"b": 1}},
    },
    "ahead, in one step, and refused": {
        "system": "promoe",
        "scheduler": {"policy": "mixed", "max_step_tokens": 3, "max_waiting": 2, "kv_cache": "1 GiB"},
    },
    "with a cache of all experts": {"cache": {"frac": 1.0}, "eviction": "lfu"},
}


def served(values: Mapping[str, object]) -> list[Served]:
    """Run a service and return its requests."""
    requests = simulate(build_scenario(values, "test")).requests
    return [request for request in requests if isinstance(request, Served)]


@pytest.mark.parametrize("changed", OPEN.values(), ids=OPEN)
def test_an_open_workload_is_the_same_for_all(changed: dict[str, object], service_values: dict[str, object]) -> None:
    """Arrivals, lengths, classes, and the recorded sequences, under any system and scheduler."""
    workload = service_values["workload"]
    assert isinstance(workload, dict)
    drawn = {
        name: [
            (one.arrival, one.sequence, one.total_tokens)
            for one in served(service_values | {"workload": workload | changed} | dict(by))
        ]
        for name, by in SERVED_BY.items()
    }
    first = drawn["on demand"]
    assert len(first) > 5
    for name, found in drawn.items():
        assert found == first, name


def test_a_users_requests_are_the_same_for_all(service_values: dict[str, object]) -> None:
    """The n-th request of each user is, but for when it is sent, which is when the one before was answered."""
    workload = service_values["workload"]
    assert isinstance(workload, dict)
    found: dict[tuple[int | None, int], set[Drawn]] = {}
    for by in SERVED_BY.values():
        counts: dict[int | None, int] = {}
        for one in served(service_values | {"workload": workload | USERS} | dict(by)):
            number = counts[one.arrival.session] = counts.get(one.arrival.session, 0) + 1
            drawn = (one.sequence, one.arrival.prompt_tokens, one.arrival.output_tokens)
            found.setdefault((one.arrival.session, number), set()).add(drawn)
    assert len(found) >= 20
    assert {len(drawn) for drawn in found.values()} == {1}


def test_another_seed_gives_other_requests(service_values: dict[str, object]) -> None:
    """Times, lengths and sequences."""
    one, other = (served(service_values | {"seed": seed}) for seed in (3, 4))
    for what in (
        [(request.arrival.arrival_ns) for request in one] == [(request.arrival.arrival_ns) for request in other],
        [request.total_tokens for request in one] == [request.total_tokens for request in other],
        [request.sequence for request in one] == [request.sequence for request in other],
    ):
        assert not what
