"""Evicted experts copied back to the host, as systems do that keep one copy of an expert.

A thread of its own copies from the slots to a scratch buffer on the host, beside the copies to the device. The host has
all weights anyway, so what arrives is looked at by nobody: the bytes move, and that is what is measured.

Limits: as in the simulated run, no fetch waits for the copy of what it replaces, so what is copied may be a mix of both.
"""

import threading
from collections import deque
from contextlib import AbstractContextManager
from types import TracebackType

from torch import Tensor

from validation.runtime.device import Device, Mark


class WriteBack(AbstractContextManager["WriteBack"]):
    """Copies to the host in the order in which they are asked for. On leaving the context it has done them all.

    `num_bytes` is what has been copied, `busy_ns` for how long. An exception of a copy is raised on leaving the context.
    """

    def __init__(self, device: Device, *, scratch: Tensor) -> None:
        """Take a flat host tensor of bytes, as large as the largest expert."""
        self.num_bytes = 0
        self.busy_ns = 0
        self._device = device
        self._scratch = scratch
        self._queue: deque[tuple[Tensor, Mark | None]] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="moesim write-back", daemon=True)
        self._thread.start()

    def copy(self, source: Tensor, after: Mark | None) -> None:
        """Copy a slot to the host once the compute stream has passed `after`."""
        with self._changed:
            self._queue.append((source, after))
            self._changed.notify()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        if self._failure is not None and error is None:
            raise RuntimeError("an evicted expert could not be copied back") from self._failure

    def _run(self) -> None:
        try:
            while (following := self._next()) is not None:
                source, after = following
                num_bytes = source.numel() * source.element_size()
                started_ns = self._device.now_ns()
                self._device.copy_back(self._scratch[:num_bytes].view(source.dtype), source, after)
                self.num_bytes += num_bytes
                self.busy_ns += self._device.now_ns() - started_ns
        except BaseException as error:  # told when the context is left
            self._failure = error

    def _next(self) -> tuple[Tensor, Mark | None] | None:
        with self._changed:
            while not self._queue:
                if self._is_closing:
                    return None
                self._changed.wait()
            return self._queue.popleft()
