"""Host memory that records land in, pinned where they come from a GPU, and are copied out of in blocks."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Arrays = dict[str, NDArray[np.generic]]


class HostBuffer:
    """Gather rows of several named tensors, without waiting for the device that they come from.

    Copies from a GPU are queued on its current stream; the host waits for them only when the buffer is full, once per
    `capacity` rows, and when `take` is called.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.num_rows = 0
        self._filled = 0
        self._buffers: dict[str, Tensor] = {}
        self._devices: set[torch.device] = set()
        self._blocks: list[Arrays] = []

    def append(self, parts: Mapping[str, Tensor]) -> int:
        """Add n rows; all parts are [n, ...], in the same dtypes at every call. Return the number of the first one."""
        first_row = self.num_rows
        num_rows = len(next(iter(parts.values())))
        done = 0
        while done < num_rows:
            count = min(num_rows - done, self.capacity - self._filled)
            for name, part in parts.items():
                buffer = self._buffer(name, part)
                buffer[self._filled : self._filled + count].copy_(part[done : done + count], non_blocking=True)
            self._filled += count
            self.num_rows += count
            done += count
            if self._filled == self.capacity:
                self._drain()
        return first_row

    def take(self) -> Arrays:
        """Return all rows by name, and start again from row 0."""
        self._drain()
        blocks, self._blocks = self._blocks, []
        self.num_rows = 0
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]} if blocks else {}

    def _buffer(self, name: str, part: Tensor) -> Tensor:
        if name not in self._buffers:
            on_gpu = part.device.type == "cuda"
            shape = (self.capacity, *part.shape[1:])
            self._buffers[name] = torch.empty(shape, dtype=part.dtype, pin_memory=on_gpu)
            if part.device.type != "cpu":
                self._devices.add(part.device)
        return self._buffers[name]

    def _drain(self) -> None:
        for device in self._devices:
            torch.accelerator.synchronize(device)
        if self._filled:
            self._blocks.append({name: buffer[: self._filled].numpy().copy() for name, buffer in self._buffers.items()})
        self._filled = 0
