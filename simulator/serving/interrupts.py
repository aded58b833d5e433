"""An interrupt from the keyboard, which ends the run of a service rather than the program."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from simulator.serving.stop import Stop


@contextmanager
def interrupts(stop: Stop) -> Iterator[None]:
    """Have the first interrupt stop the run, and the next end the program as usual; leave it where it is handled already."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not is_main or before is not signal.default_int_handler:
        yield
        return

    def interrupted(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.interrupt()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
