"""A stated link: when what it has been given is due, and how a thread sleeps until then.

Transfers follow one another without a gap while any are queued: each is due at its start + latency + bytes / bandwidth, and
starts when it is queued or when the one before it is due, whichever is later. Due times are absolute: a wake-up that comes
late delays what it brings and nothing after it.

Limits: a machine that copies more slowly than the stated link falls behind the due times, and catches up only as fast as it
copies; `CopyLink.max_late_ns` tells by how much.
"""

import ctypes
import math
import sys
import time
from collections.abc import Callable

PIECE_BYTES = 4 << 20
"""What is copied at a time, so that a transfer's load on the memory is spread over its time.

Each piece wants the interpreter, which the thread that computes has: on a virtual machine of 2 cores, at 2 GB/s, passes
of hits beside copies took 28 % longer than alone in pieces of 1 MiB, 18 % in pieces of 4 MiB, 15 % in pieces of a whole
expert.
"""

_PR_SET_TIMERSLACK = 29  # Source: prctl(2)
_TIMER_SLACK_NS = 1000
_MAX_SLEEP_NS = 50_000_000
_LONG_SLEEP_LATE_NS = 150_000
_NAP_LATE_NS = 50_000
"""What a sleep overruns by once the slack is gone: a core that has long been idle takes longer to wake.

Measured on a virtual machine of 2 cores: a median of 24 us for naps of 20 us, 54 us for 1 ms, 100 to 150 us for 2 to 8 ms.
"""
_NOT_WORTH_A_SLEEP_NS = 20_000


def _find_release() -> Callable[[], object]:
    """Return a call that releases the interpreter for a moment and keeps the core.

    Any foreign call that does next to nothing will do. `time.sleep(0)`, the last resort, costs a whole sleep's overrun, and
    yielding the core to a thread that computes costs that thread's time slice, some milliseconds.
    """
    try:
        return ctypes.CDLL(None).getpid  # type: ignore[no-any-return,unused-ignore]
    except (OSError, AttributeError, TypeError):
        return lambda: time.sleep(0)


_release_interpreter = _find_release()


class Throttle:
    """The due times of a link of `bandwidth_bytes_per_s` that takes `latency_s` once per transfer.

    Raises ValueError for a bandwidth that is not positive and finite, or a latency that is negative or not finite.
    """

    def __init__(self, *, bandwidth_bytes_per_s: float, latency_s: float = 0.0) -> None:
        if not (math.isfinite(bandwidth_bytes_per_s) and bandwidth_bytes_per_s > 0):
            raise ValueError(f"bandwidth_bytes_per_s is {bandwidth_bytes_per_s}; it should be positive and finite")
        if not (math.isfinite(latency_s) and latency_s >= 0):
            raise ValueError(f"latency_s is {latency_s}; it should be 0 or more, and finite")
        self.bandwidth_bytes_per_s = bandwidth_bytes_per_s
        self.latency_s = latency_s
        self._latency_ns = math.ceil(latency_s * 1e9)
        self._start_ns = 0
        self._num_bytes = 0
        self._due_ns = 0

    def start(self, queued_ns: int, *, is_resumed: bool = False) -> None:
        """Begin a stretch of service of a transfer queued at `queued_ns`; a resumed one has paid the latency."""
        self._start_ns = max(queued_ns, self._due_ns) + (0 if is_resumed else self._latency_ns)
        self._num_bytes = 0

    def advance(self, num_bytes: int) -> int:
        """Return when the next `num_bytes` of this stretch are due, in ns, rounded up."""
        self._num_bytes += num_bytes
        self._due_ns = self._start_ns + math.ceil(self._num_bytes * 1e9 / self.bandwidth_bytes_per_s)
        return self._due_ns


def tighten_timer_slack() -> bool:
    """Let this thread's sleeps end within a microsecond of their time; tell whether that took hold.

    Linux lets a sleep run over by 50 us by default, to wake up several threads at once. Elsewhere nothing is changed.
    Source: prctl(2), PR_SET_TIMERSLACK.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(_TIMER_SLACK_NS), 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def sleep_until(due_ns: int, now_ns: Callable[[], int], is_stopped: Callable[[], bool]) -> None:
    """Return at `due_ns`, no earlier and seldom late by more than some microseconds, or when `is_stopped`.

    Sleeps to a little before it, naps to closer still, and spins for the rest, up to 50 us, with the interpreter released.
    `is_stopped` is asked every 50 ms.
    """
    while (left_ns := due_ns - now_ns()) > 0 and not is_stopped():
        late_ns = _LONG_SLEEP_LATE_NS if left_ns > 2 * _LONG_SLEEP_LATE_NS else _NAP_LATE_NS
        if left_ns > late_ns:
            time.sleep(min(left_ns - late_ns, _MAX_SLEEP_NS) / 1e9)
        else:
            _release_interpreter()


def sleep_towards(due_ns: int, now_ns: Callable[[], int], is_stopped: Callable[[], bool]) -> None:
    """Return around `due_ns`, or when `is_stopped`: what is so near that a sleep would run past it is taken as reached."""
    while (left_ns := due_ns - now_ns()) > _NOT_WORTH_A_SLEEP_NS and not is_stopped():
        time.sleep(min(left_ns, _MAX_SLEEP_NS) / 1e9)
