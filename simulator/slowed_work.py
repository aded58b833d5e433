"""What a worker of the host's processor loses of its speed while the link serves: a profile's `cpu.slowed_by_copies`.

With b the time for which the link has served since a job began, and s the share, the job has lost floor(s b) by then. So
once it has taken its own time, as a flow of host memory, it goes on for what it has lost, and again for what it loses in
that time, until nothing is lost: a job of w beside a link that never rests takes w / (1 - s).

Source: our definition; as of the stream (simulator/slowed.py), job by job, since one may begin and end at any time.

Limits: those of simulator/slowed.py; the time that is lost draws nothing on host memory, so that a job draws as much, and as
fast, as one that loses nothing, and is done with that earlier than it ends; where copies and jobs want more than the
bandwidth of host memory, they also share it, so what memory takes may be counted twice; several GPUs have no experts on the
CPU.
"""

from collections.abc import Callable
from functools import partial

from simulator.resources.host_memory import HostMemory
from simulator.slowed import Slowed


class SlowedWork:
    """`simulator.resources.cpu_pool.Flows` of `memory`, slowed by `ppm` millionths while the link serves.

    `link_busy_ns` gives for how long the link has served up to now.
    """

    def __init__(self, memory: HostMemory, link_busy_ns: Callable[[], int], *, ppm: int) -> None:
        self._memory = memory
        self._link_busy_ns = link_busy_ns
        self._ppm = ppm

    def start(self, rank: int, demand: int, duration_ns: int, on_end: Callable[[], None]) -> None:
        """Start work that takes `duration_ns` by itself, beside a link that rests, and then draws `demand` bytes/s."""
        slowed = Slowed(self._link_busy_ns, ppm=self._ppm)
        slowed.begin()
        self._memory.start(rank, demand, duration_ns, partial(self._make_up, rank, slowed, on_end))

    def _make_up(self, rank: int, slowed: Slowed, on_end: Callable[[], None]) -> None:
        """Go on for what has been lost up to now; where that is nothing more, end."""
        lost_ns = slowed.lost_ns()
        if lost_ns:
            self._memory.linger(rank, lost_ns, partial(self._make_up, rank, slowed, on_end))
        else:
            on_end()
