"""The thread that computes goes to the fastest core, the others leave it to it."""

import os
import threading

import pytest

from validation.runtime.cores import Cores, fastest_core_ns

needs_two = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores to choose from"
)


@needs_two
@pytest.mark.parametrize("fast", [0, 1])
def test_settles_on_the_fastest_core_and_lets_go(fast: int) -> None:
    """The probe of that core is returned; another thread is bound to the rest; afterwards both may go anywhere."""
    allowed = os.sched_getaffinity(0)
    chosen = sorted(allowed)[fast]

    def probe() -> int:
        (core,) = os.sched_getaffinity(0)
        return 100 if core == chosen else 200

    done = threading.Event()
    other = threading.Thread(target=done.wait, daemon=True)
    other.start()
    assert other.native_id is not None
    try:
        with Cores(probe) as cores:
            assert (cores.settle(), cores.slowest_ns, cores.settle_all()) == (100, 200, 200)
            assert os.sched_getaffinity(0) == {chosen}
            assert os.sched_getaffinity(other.native_id) == allowed - {chosen}
        assert os.sched_getaffinity(0) == os.sched_getaffinity(other.native_id) == allowed
    finally:
        done.set()
        other.join()


@needs_two
def test_a_single_core_is_only_probed() -> None:
    """There is nothing to choose."""
    allowed = os.sched_getaffinity(0)
    one = {min(allowed)}
    os.sched_setaffinity(0, one)
    try:
        with Cores(lambda: 7) as cores:
            assert (cores.settle(), cores.settle_all()) == (7, 7)
            assert os.sched_getaffinity(0) == one
    finally:
        os.sched_setaffinity(0, allowed)


@needs_two
def test_the_fastest_core_is_found_and_nothing_stays_bound() -> None:
    """A replay that follows finds all cores, for its computing and its copies."""
    allowed = os.sched_getaffinity(0)
    probes_ns = dict.fromkeys(allowed, 200) | {max(allowed): 100}

    def probe() -> int:
        (core,) = os.sched_getaffinity(0)
        return probes_ns[core]

    assert fastest_core_ns(probe) == 100
    assert os.sched_getaffinity(0) == allowed


def test_threads_are_bound_by_one_at_a_time() -> None:
    """The inner one would take the one core that is left to its thread for the whole machine."""
    with Cores(lambda: 7), pytest.raises(RuntimeError, match="already"), Cores(lambda: 7):
        pass
    with Cores(lambda: 7) as cores:
        assert cores.settle() == 7
