"""Engine time."""

from typing import TYPE_CHECKING

import simpy


class Clock(simpy.Environment):
    """A SimPy environment whose time is whole nanoseconds; nothing in the engine schedules anything else."""

    if TYPE_CHECKING:

        @property
        def now(self) -> int:
            """The time in ns."""
