"""What SimPy itself takes: the yardstick of all figures."""

import time
from collections.abc import Generator

import simpy


def bare_timeouts_s(num_timeouts: int) -> float:
    """Return the CPU time of one process that waits again and again, and does nothing else."""
    env = simpy.Environment()

    def wait() -> Generator[simpy.Event, None, None]:
        for _ in range(num_timeouts):
            yield env.timeout(1)

    env.process(wait())
    started_s = time.process_time()
    env.run()
    return time.process_time() - started_s
