"""What is kept of each step of a replay: how long it took, what its accesses found, how fast and free the machine was."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStep:
    """A step, from the end of the one before it to its own, and the output tokens that came out with it.

    `probe_ns` is the slower of the probes of `validation.runtime.speed` before and after it on the core that computes,
    `slowest_core_ns` that on the slowest core, where CPU workers may be; `waited_ns` how long the replay's threads waited
    for a core in it (`validation.runtime.waiting`). None where nobody looked.
    """

    duration_ns: int
    num_emits: int
    hits: int
    late_hits: int
    misses: int
    probe_ns: int | None
    slowest_core_ns: int | None = None
    waited_ns: int | None = None
