"""Due times, and sleeping until them."""

import ctypes
import math
import sys
import threading
import time
from collections.abc import Callable

import pytest

from validation.runtime.throttle import Throttle, sleep_towards, sleep_until, tighten_timer_slack

Sleep = Callable[[int, Callable[[], int], Callable[[], bool]], None]


def never() -> bool:
    """Do not stop."""
    return False


def test_a_transfer_is_due_after_latency_and_bytes() -> None:
    """1,000 B at 1 GB/s after 2 us: at 3 us past its queueing, in pieces that add up."""
    throttle = Throttle(bandwidth_bytes_per_s=1e9, latency_s=2e-6)
    throttle.start(10_000)
    assert [throttle.advance(400), throttle.advance(600)] == [12_400, 13_000]


def test_transfers_follow_one_another_by_due_times() -> None:
    """One queued while another is due starts at that one's due time, however late it was; one queued later, then."""
    throttle = Throttle(bandwidth_bytes_per_s=1e9, latency_s=1e-6)
    throttle.start(0)
    assert throttle.advance(500) == 1_500
    throttle.start(200)
    assert throttle.advance(500) == 3_000
    throttle.start(9_000)
    assert throttle.advance(500) == 10_500


def test_the_latency_is_paid_once() -> None:
    """A transfer that gave way goes on without it."""
    throttle = Throttle(bandwidth_bytes_per_s=1e9, latency_s=1e-6)
    throttle.start(0)
    assert throttle.advance(500) == 1_500
    throttle.start(0, is_resumed=True)
    assert throttle.advance(500) == 2_000


def test_due_times_round_up_without_adding_up() -> None:
    """A thousand pieces of 1 B at 3 GB/s are due when 1,000 B are."""
    throttle = Throttle(bandwidth_bytes_per_s=3e9)
    throttle.start(0)
    due_ns = [throttle.advance(1) for _ in range(1000)]
    assert due_ns[0] == 1
    assert due_ns[-1] == math.ceil(1000 / 3)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, math.inf, math.nan])
def test_a_bandwidth_is_positive(bandwidth: float) -> None:
    """Another one is refused, with its value."""
    with pytest.raises(ValueError, match=f"bandwidth_bytes_per_s is {bandwidth}"):
        Throttle(bandwidth_bytes_per_s=bandwidth)


@pytest.mark.parametrize("latency", [-1e-6, math.inf, math.nan])
def test_a_latency_is_not_negative(latency: float) -> None:
    """Another one is refused, with its value."""
    with pytest.raises(ValueError, match=f"latency_s is {latency}"):
        Throttle(bandwidth_bytes_per_s=1e9, latency_s=latency)


@pytest.mark.parametrize("wait_ns", [0, 15_000, 200_000, 3_000_000])
def test_a_sleep_ends_no_earlier(wait_ns: int) -> None:
    """Not by a nanosecond; and soon after, of which the bound is no more than a guess at a busy machine."""
    due_ns = time.perf_counter_ns() + wait_ns
    sleep_until(due_ns, time.perf_counter_ns, never)
    assert 0 <= time.perf_counter_ns() - due_ns < 500_000_000


def test_a_rough_sleep_takes_what_is_near_as_reached() -> None:
    """It does not begin a sleep 20 us before the time, and does 21 us before it."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return True

    sleep_towards(20_000, lambda: 0, stop)
    assert not asked
    sleep_towards(21_000, lambda: 0, stop)
    assert asked


@pytest.mark.parametrize("sleep", [sleep_until, sleep_towards])
def test_a_sleep_can_be_stopped(sleep: Sleep) -> None:
    """An hour ends when it is asked for."""
    stop_ns = time.perf_counter_ns() + 10_000_000
    sleep(time.perf_counter_ns() + 3600 * 10**9, time.perf_counter_ns, lambda: time.perf_counter_ns() > stop_ns)
    assert time.perf_counter_ns() - stop_ns < 5 * 10**9


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="timer slack is Linux's")
def test_timer_slack_is_that_of_one_thread() -> None:
    """It becomes 1 us in the thread that asks, and stays what it was here."""
    libc = ctypes.CDLL(None)
    get_timer_slack = 30  # Source: prctl(2)
    before = libc.prctl(get_timer_slack)
    found: list[int] = []

    def ask() -> None:
        if tighten_timer_slack():
            found.append(libc.prctl(get_timer_slack))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found in ([1000], [])
    assert libc.prctl(get_timer_slack) == before
