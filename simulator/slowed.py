"""What the stream loses of its speed while the link serves: the share of a profile's `runtime.slowed_by_copies`.

With b the time that the link has served while the stream worked, since the run began, and s the share, the stream has lost
floor(s b) by then: so much longer its work takes. What is lost is time in which it works, too: work of w beside a link that
never rests takes w / (1 - s).

Source: our definition. Copies and kernels share a memory, a processor's caches or, in a runtime in Python, its interpreter:
docs/calibration.md says what is measured.

A worker of the host's processor loses another share, job by job: simulator/slowed_work.py.

Limits: one share for all work and all copies, whatever they read and write; the link is not slowed down in turn; copies back
to the host take nothing; nor does what a kernel reads itself, in tiles or in place, as it runs.
"""

from collections.abc import Callable

PPM = 1_000_000


class Slowed:
    """Count what the stream loses, or a job.

    `link_busy_ns` gives for how long the link has served up to now, `ppm` is the share in millionths.

    begin()             # the stream has waited until now
    lost = lost_ns()    # it has worked from then until now, or since this was last asked
    """

    def __init__(self, link_busy_ns: Callable[[], int], *, ppm: int) -> None:
        if not 0 <= ppm < PPM:
            raise ValueError(f"ppm is {ppm}; it should be 0 or more, and below {PPM}")
        self._link_busy_ns = link_busy_ns
        self._ppm = ppm
        self._seen_ns = 0  # of the link's time
        self._beside_ns = 0  # of that, what the stream worked beside
        self._lost_ns = 0

    def begin(self) -> None:
        """Note that the stream works from now on."""
        self._seen_ns = self._link_busy_ns()

    def lost_ns(self) -> int:
        """Return what the stream has lost and has not been told of."""
        busy_ns = self._link_busy_ns()
        self._beside_ns += busy_ns - self._seen_ns
        self._seen_ns = busy_ns
        lost_ns = self._beside_ns * self._ppm // PPM - self._lost_ns
        self._lost_ns += lost_ns
        return lost_ns
