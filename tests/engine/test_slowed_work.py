"""What a CPU worker loses while the link serves: job by job, the share that is stated."""

from collections.abc import Generator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.resources.clock import Clock
from simulator.resources.cpu_pool import CpuPool
from simulator.resources.host_memory import HostMemory
from simulator.run import simulate
from simulator.scenario import build_scenario
from simulator.slowed import PPM
from simulator.slowed_work import SlowedWork

AMPLE = 1 << 40


class Host:
    """A pool beside a link that serves from a time on, until another; `services` are (key, worker, start, end)."""

    def __init__(
        self, ppm: int, *, serves_ns: tuple[int, int] = (0, 1 << 40), num_workers: int = 1, bandwidth: int = AMPLE
    ) -> None:
        self.env = env = Clock()
        self.memory = HostMemory(env, bandwidth)
        self.services: list[tuple[int, int, int, int]] = []
        begin_ns, end_ns = serves_ns
        self.pool = CpuPool(
            env,
            num_workers,
            memory=SlowedWork(self.memory, lambda: min(max(0, env.now - begin_ns), end_ns - begin_ns), ppm=ppm),
            first_rank=1,
            on_job=lambda job: self.services.append((job.key, job.worker, job.start_ns, job.end_ns)),
        )

    def run(self, *jobs: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """Compute jobs of (when they come, how long they take), drawing 10 bytes/s; return the services."""

        def come() -> Generator[simpy.Event, None, None]:
            for key, (at_ns, duration_ns) in enumerate(jobs):
                yield self.env.timeout(at_ns - int(self.env.now))
                self.pool.queue(key, duration_ns, 10)

        self.env.process(come())
        self.env.run()
        return self.services


@settings(derandomize=True, deadline=None)
@given(work_ns=st.integers(1, 10_000), ppm=st.integers(0, 990_000))
def test_a_job_beside_a_link_that_never_rests(work_ns: int, ppm: int) -> None:
    """It takes w / (1 - s): it ends at the first nanosecond at which w is left of the time without its share."""
    ((_, _, _, end_ns),) = Host(ppm).run((0, work_ns))
    share = Fraction(ppm, PPM)
    assert end_ns - int(end_ns * share) == work_ns
    assert end_ns - 1 - int((end_ns - 1) * share) < work_ns, "no earlier time would do"
    assert work_ns / (1 - share) - 1 / (1 - share) < end_ns < work_ns / (1 - share) + 1


def test_nothing_is_lost_beside_a_link_that_rests() -> None:
    """Neither before it begins nor after it has ended; of a job that it meets, the share of what it meets."""
    assert Host(500_000, serves_ns=(300, 400)).run((0, 100), (150, 100), (270, 100), (500, 100)) == [
        (0, 0, 0, 100),
        (1, 0, 150, 250),
        (2, 0, 270, 420),  # done at 370, 35 lost; the 15 lost to the 30 that followed; at 405 all 50 are known
        (3, 0, 500, 600),
    ]


def test_jobs_lose_apart_from_each_other() -> None:
    """What one loses is not carried into the next: twice 3 of 3.33 are lost, not 6 of 6.67."""
    assert Host(250_000).run((0, 10), (0, 10)) == [(0, 0, 0, 13), (1, 0, 13, 26)]
    assert Host(250_000).run((0, 20)) == [(0, 0, 0, 26)]


def test_a_job_that_takes_no_time_loses_none() -> None:
    """It ends as it begins."""
    assert Host(500_000).run((5, 0)) == [(0, 0, 5, 5)]


def test_lost_time_draws_nothing_on_memory() -> None:
    """Two jobs want 10 each of 10: both done at 40, at half speed; each goes on for 40 more, and is not slowed in that."""
    assert Host(500_000, num_workers=2, bandwidth=10).run((0, 20), (0, 20)) == [(0, 0, 0, 79), (1, 1, 0, 79)]


def test_who_goes_on_for_what_it_has_lost_leaves_memory_to_others() -> None:
    """The first has taken its own time at 10: a second that comes then has all of memory, and its own at 20."""
    assert Host(500_000, serves_ns=(0, 20), num_workers=2, bandwidth=10).run((0, 10), (10, 10)) == [
        (0, 0, 0, 19),
        (1, 1, 10, 25),
    ]


def test_ends_of_one_instant_come_in_order_of_rank() -> None:
    """Of flows and of what lingers alike."""
    env = Clock()
    memory = HostMemory(env, 10)
    ended: list[tuple[int, int]] = []
    memory.linger(3, 7, lambda: ended.append((3, env.now)))
    memory.start(2, 10, 7, lambda: ended.append((2, env.now)))
    memory.linger(1, 7, lambda: ended.append((1, env.now)))
    memory.linger(4, 5, lambda: ended.append((4, env.now)))
    env.run()
    assert ended == [(4, 5), (1, 7), (2, 7), (3, 7)]


@pytest.mark.parametrize("ppm", [-1, PPM])
def test_a_share_of_all_is_refused(ppm: int) -> None:
    """Or of less than nothing, when a job begins."""
    with pytest.raises(ValueError, match="below 1000000"):
        Host(ppm).run((0, 1))


def test_a_run_whose_workers_are_slowed() -> None:
    """Experts on the CPU take longer where the link prefetches others meanwhile, and as ever where it never serves."""
    scenario = {
        "trace": str(Path(__file__).parents[2] / "traces" / "nano" / "trace.safetensors"),
        "model": "moesim-nano",
        "hardware": "h100",
        "cache": {"frac": 0.1},
        "batch": 4,
        "sequences": 4,
        "max_tokens": 60,
        "miss": "cpu",
    }

    def summary(share: str | None, **more: object) -> Mapping[str, Any]:
        settings = {} if share is None else {"hardware_set": {"cpu.slowed_by_copies": share}}
        return simulate(build_scenario({**scenario, **settings, **more}, "test")).summary

    without, none, some, most = (summary(share, prefetch="gate_lookahead") for share in (None, "0 %", "10 %", "60 %"))
    assert none["makespan_ns"] == without["makespan_ns"]
    assert without["makespan_ns"] < some["makespan_ns"] < most["makespan_ns"]
    assert summary(None, prefetch="none")["makespan_ns"] == summary("60 %", prefetch="none")["makespan_ns"]
