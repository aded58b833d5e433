"""A link and workers that take no time: what is asked of them is done before they return.

What a model computes under policies does not depend on how long things take (except through prefetches that are late), so
quality is measured without waiting for a copy thread; and a prefetch is always in time, the same in every run.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from simulator.resources.transfers import Transfer
from validation.runtime.cpu_pool import Computed, Work
from validation.runtime.device import Device, Mark


class LinkAtOnce:
    """`validation.runtime.serving.Link` without a queue."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._done: list[Transfer] = []

    def demand(self, key: int, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Copy."""
        self._copy(Transfer(key, is_prefetch=False), target, source, after)

    def prefetch(self, key: int, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Copy."""
        self._copy(Transfer(key, is_prefetch=True), target, source, after)

    def promote(self, key: int) -> None:
        """Mark a prefetch that has not been taken over as asked for."""
        for transfer in self._done:
            if transfer.key == key:
                transfer.is_demanded = True

    def cancel(self, key: int) -> Transfer | None:
        """Find nothing that waits."""
        del key
        return None

    def queued_prefetches(self) -> Sequence[int]:
        """Find nothing that waits."""
        return ()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold nothing back."""
        yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have nothing to pause."""
        yield

    def num_queued(self) -> int:
        """Nothing waits."""
        return 0

    def busy_ns(self) -> int:
        """Take no time."""
        return 0

    def completed(self) -> list[Transfer]:
        """Return what was copied since the last call."""
        done, self._done = self._done, []
        return done

    def wait(self) -> list[Transfer]:
        """Return what was copied since the last call, which is something."""
        assert self._done, "no transfer is under way: there is nothing to wait for"
        return self.completed()

    def _copy(self, transfer: Transfer, target: Tensor, source: Tensor, after: Mark | None) -> None:
        self._device.copy(target, source, after)
        self._done.append(transfer)


class WorkersAtOnce:
    """`validation.runtime.serving.Workers` in the main thread."""

    def __init__(self) -> None:
        self._done: dict[int, Computed] = {}
        self._num_jobs = 0

    def submit(self, key: int, compute: Work) -> int:
        """Compute."""
        job = self._num_jobs
        self._num_jobs += 1
        self._done[job] = Computed(key=key, job=job, result=compute(), worker=0, start_ns=0, end_ns=0)
        return job

    def join(self, jobs: Collection[int]) -> list[Computed]:
        """Return what was computed."""
        return [self._done.pop(job) for job in sorted(jobs)]

    def ended(self, jobs: Collection[int]) -> list[Computed]:
        """Return what was computed."""
        return self.join(jobs)
