"""A CPU device whose copies wait for leave, one by one, so that a test decides what happens between them."""

import threading
from queue import SimpleQueue

import torch
from torch import Tensor

from validation.runtime.device import CpuDevice, Mark

PATIENCE_S = 20.0


class GatedDevice(CpuDevice):
    """Notes each copy as (key, first element, number of elements) before it waits; sources are those of `expert`."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: SimpleQueue[tuple[int, int, int]] = SimpleQueue()
        self._leave = threading.Semaphore(0)
        self.after: list[Mark | None] = []

    def copy(self, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Note the copy, wait for leave, copy. A negative key fails."""
        key = int(source[0])
        self.after.append(after)
        self._begun.put((key, source.storage_offset(), source.numel()))
        if not self._leave.acquire(timeout=PATIENCE_S):
            raise TimeoutError("nobody gave leave")
        if key < 0:
            raise OSError(f"no bytes for {key}")
        super().copy(target, source, after)

    def begun(self) -> tuple[int, int, int]:
        """Wait for the next copy to begin, and return it."""
        return self._begun.get(timeout=PATIENCE_S)

    def give_leave(self, count: int = 1) -> None:
        """Let this many copies go on."""
        self._leave.release(count)


def expert(key: int, numel: int = 4) -> tuple[Tensor, Tensor]:
    """Return a target, and a source that holds the key in each element."""
    return torch.zeros(numel, dtype=torch.int32), torch.full((numel,), key, dtype=torch.int32)
