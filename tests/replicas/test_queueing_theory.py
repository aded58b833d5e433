"""Waits of several replicas agree with queueing theory where they are as simple as that: one request at a time in each.

Intervals are those of batch means, at 99.9 %, as for one machine (tests/serving/test_queueing_theory.py).
"""

from functools import cache
from itertools import pairwise
from random import Random
from statistics import mean

import pytest

from simulator.serving.limits import Limits
from simulator.workload.arrivals import Arrival
from tests.replicas.harness import Outcomes, serve_replicas
from tests.serving.harness import StepTimes
from tests.serving.test_laws import TRACE
from tests.serving.test_queueing_theory import interval, mean_wait_m_d_c, poisson

LOAD = 0.7
MEAN_TOKENS, TOKEN_NS = 400, 100
SERVICE_NS = MEAN_TOKENS * TOKEN_NS
LIMITS = Limits(batch=1, step_tokens=1 << 20)


def constant_length(random: Random) -> tuple[int, int]:
    """Return a request of one step of constant length."""
    del random
    return 1, 1


def exponential_length(random: Random) -> tuple[int, int]:
    """Return a request of one step of exponential length."""
    return 1 + int(random.expovariate(1 / MEAN_TOKENS)), 1


@cache
def arrivals(is_constant: bool, count: int) -> list[Arrival]:
    """Draw arrivals for so many replicas: the same ones for every router."""
    draw = constant_length if is_constant else exponential_length
    return poisson(LOAD * count / SERVICE_NS, 21, draw)


@cache
def outcome(is_constant: bool, count: int, router: str) -> Outcomes:
    """Serve them."""
    costs = StepTimes(base_ns=SERVICE_NS) if is_constant else StepTimes(token_ns=TOKEN_NS)
    return serve_replicas(arrivals(is_constant, count), TRACE, count=count, router=router, costs=costs, limits=LIMITS)


def waits(is_constant: bool, count: int, router: str) -> tuple[float, float]:
    """Return the mean wait and half the width of its interval."""
    return interval([request.waited_ns for request in outcome(is_constant, count, router).requests])


def mean_wait_m_m_c(load: float, num_servers: int, service_ns: float) -> float:
    """Return the mean wait of M/M/c. Source: Erlang's C formula, by the recursion of his B formula."""
    offered, blocked = load * num_servers, 1.0
    for servers in range(1, num_servers + 1):
        blocked = offered * blocked / (servers + offered * blocked)
    delayed = blocked / (1 - load * (1 - blocked))
    return delayed * service_ns / (num_servers * (1 - load))


def mean_wait_e_c_m_1(load: float, num_phases: int, service_ns: float) -> float:
    """Return the mean wait of E_c/M/1: x / (1 - x) services, x the root below 1 of x = A(1 - x).

    Source: Kleinrock, "Queueing systems" 1 (1975), section 6.4 (GI/M/1); A is the transform of Erlang gaps, in services.
    """
    phase_rate = num_phases * load
    root = 0.0
    for _ in range(1000):  # from below it ascends to the root
        root = (phase_rate / (phase_rate + 1 - root)) ** num_phases
    return root / (1 - root) * service_ns


def test_the_yardsticks_agree_for_one_server() -> None:
    """With c = 1 both are M/M/1; and more servers wait less."""
    assert mean_wait_m_m_c(0.8, 1, 1000) == pytest.approx(4000)
    assert mean_wait_e_c_m_1(0.8, 1, 1000) == pytest.approx(4000)
    assert mean_wait_m_m_c(0.8, 4, 1000) < mean_wait_e_c_m_1(0.8, 4, 1000) < 4000


def test_at_random_each_is_a_queue_of_its_own() -> None:
    """A random split of Poisson arrivals is Poisson again: M/D/1 and M/M/1 at the c-th part of the rate."""
    found, half = waits(True, 4, "random")
    assert abs(found - LOAD * SERVICE_NS / (2 * (1 - LOAD))) <= half < 0.3 * found
    found, half = waits(False, 4, "random")
    assert abs(found - LOAD * SERVICE_NS / (1 - LOAD)) <= half < 0.4 * found


def test_in_turn() -> None:
    """Every c-th of Poisson arrivals has Erlang gaps: E_c/M/1, and E_c/D/1, which waits as M/D/c does.

    With constant service, the requests of one common queue are served in turn too: the n-th begins when the one c before
    it has ended.
    """
    found, half = waits(True, 4, "round_robin")
    assert abs(found - mean_wait_m_d_c(LOAD, 4, SERVICE_NS)) <= half < 0.4 * found
    found, half = waits(False, 4, "round_robin")
    assert abs(found - mean_wait_e_c_m_1(LOAD, 4, SERVICE_NS)) <= half < 0.4 * found


@pytest.mark.parametrize("count", [2, 4])
def test_the_shortest_queue_where_lengths_vary(count: int) -> None:
    """It waits longer than one common queue would, M/M/c, and less than in turn, E_c/M/1, on the same arrivals too."""
    found, half = waits(False, count, "least_loaded")
    assert mean_wait_m_m_c(LOAD, count, SERVICE_NS) - half <= found < mean_wait_e_c_m_1(LOAD, count, SERVICE_NS)
    assert found < waits(False, count, "round_robin")[0]


def test_the_shortest_queue_where_they_do_not() -> None:
    """Then serving in turn is one common queue, which nothing beats; at random is worse than the shortest."""
    found, half = waits(True, 4, "least_loaded")
    assert mean_wait_m_d_c(LOAD, 4, SERVICE_NS) - half <= found
    assert waits(True, 4, "round_robin")[0] < found
    assert found + half < LOAD * SERVICE_NS / (2 * (1 - LOAD))


def test_the_shorter_of_two_queues() -> None:
    """Two choices get most of what knowing all queues would: on the same arrivals, in this order."""
    of_all, of_two, of_one = (
        mean(request.waited_ns for request in outcome(False, 4, router).requests)
        for router in ("least_loaded", "choices", "random")
    )
    assert of_all < of_two < of_one
    assert of_two - of_all < (of_one - of_all) / 2


def test_waits_in_turn_follow_lindley() -> None:
    """In turn, each replica's waits are those of Lindley's recursion, ns for ns once the experts are there."""
    requests = outcome(True, 4, "round_robin").requests
    for at in range(4):
        own = [request for request in requests if request.replica == at]
        assert [request.index for request in own] == list(range(at, len(requests), 4))
        for one, after in pairwise(own[20:]):
            gap_ns = after.arrival.arrival_ns - one.arrival.arrival_ns
            assert after.waited_ns == max(0, one.waited_ns + SERVICE_NS - gap_ns)
