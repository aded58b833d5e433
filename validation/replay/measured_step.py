"""What is kept of each step of a replay: how long it took, and how fast and how free the machine was at that time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStep:
    """A step, from the end of the one before it to its own, and the output tokens that came out with it.

    `probe_ns` is the slower of the probes of `validation.runtime.speed` before and after it, `waited_ns` how long the
    replay's threads waited for a core in it (`validation.runtime.waiting`); None where nobody looked.
    """

    duration_ns: int
    num_emits: int
    probe_ns: int | None
    waited_ns: int | None = None
