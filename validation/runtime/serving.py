"""What the executor asks of a link and of the CPU's workers, whoever serves."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor

from simulator.resources.transfers import Transfer
from validation.runtime.cpu_pool import Computed, Work
from validation.runtime.device import Mark


class Link(Protocol):
    """Brings experts to their slots: `validation.runtime.link.CopyLink`, or one that takes no time."""

    def demand(self, key: int, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Queue a demand fetch."""

    def prefetch(self, key: int, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Queue a prefetch."""

    def promote(self, key: int) -> None:
        """Make the prefetch that is under way for `key` a demand."""

    def cancel(self, key: int) -> Transfer | None:
        """Call off a prefetch that waits."""

    def queued_prefetches(self) -> Sequence[int]:
        """Return the keys of the prefetches that wait."""

    def held(self) -> AbstractContextManager[None]:
        """Begin no prefetch that waits within the context."""

    def paused(self) -> AbstractContextManager[None]:
        """Begin nothing within the context."""

    def num_queued(self) -> int:
        """Count the transfers that wait."""

    def busy_ns(self) -> int:
        """Return the time for which the link has been serving."""

    def completed(self) -> list[Transfer]:
        """Return the transfers that have ended since the last call."""

    def wait(self) -> list[Transfer]:
        """Wait until one more transfer has ended, or more, and return them."""


class Workers(Protocol):
    """Compute experts beside the main thread: `validation.runtime.cpu_pool.CpuPool`, or at once."""

    def submit(self, key: int, compute: Work) -> int:
        """Begin a piece of work and return its number."""

    def join(self, jobs: Collection[int]) -> list[Computed]:
        """Wait until all of these have ended and return them."""

    def ended(self, jobs: Collection[int]) -> list[Computed]:
        """Return those of some jobs that have ended."""
