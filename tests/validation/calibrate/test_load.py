"""The load beside a transfer: at work while one is timed, at rest while the machine is probed."""

import threading
import time

import pytest

pytest.importorskip("torch")

from validation.calibrate.measure.link import _Load


def test_a_load_works_while_it_goes_and_rests_otherwise() -> None:
    """It has begun when the body begins, and nothing of it is left afterwards."""
    working = threading.Event()
    num_done = 0

    def work() -> None:
        nonlocal num_done
        working.set()
        time.sleep(0.001)
        working.clear()
        num_done += 1

    with _Load(work, 1) as load:
        time.sleep(0.01)
        assert num_done == 0
        for _ in range(20):
            with load.going():
                assert working.wait(5)
            done_before = num_done
            time.sleep(0.005)
            assert not working.is_set()
            assert num_done == done_before
        assert num_done >= 20
    assert not [thread for thread in threading.enumerate() if thread.name == "moesim load"]


def test_what_a_load_raises_is_raised_at_the_end() -> None:
    """And nobody waits for it for ever."""

    def work() -> None:
        raise ValueError("no such device")

    def go() -> None:
        with _Load(work, 1) as load:
            for _ in range(2):
                with load.going():
                    pass

    with pytest.raises(ValueError, match="no such device"):
        go()


def test_an_error_beside_a_load_is_not_hidden() -> None:
    """The load ends all the same."""

    def go() -> None:
        with _Load(lambda: None, 1) as load, load.going():
            raise RuntimeError("of the body")

    with pytest.raises(RuntimeError, match="of the body"):
        go()
    assert not [thread for thread in threading.enumerate() if thread.name == "moesim load"]
