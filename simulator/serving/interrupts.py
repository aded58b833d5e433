"""An interrupt from the keyboard, which ends the run of a service rather than the program."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from simulator.serving.stop import Stop


@contextmanager
def interrupts(stop: Stop) -> Iterator[None]:
    """Have the first interrupt stop the run, and the next end the program as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def interrupted(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.interrupt()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
