"""The device that computes, and the memory on both sides of its link: `cpu`, or one CUDA device.

On the CPU both sides are the machine's own memory and the copy thread is the link, so that every claim can be checked on
any machine. `CudaDevice` copies between pinned memory and the GPU on streams of their own, beside the compute stream.

Limits: one device; a mark on the CPU is the host's time, which is that of the work there because nothing runs behind it.
"""

import re
import time
from collections.abc import Iterable
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from hardware_profiles.errors import InputError
from validation.runtime.event_clock import EventClock

Mark: TypeAlias = int | torch.cuda.Event
"""A point of the compute stream: `perf_counter_ns` on the CPU, a recorded event on CUDA."""

MAX_SLAB_BYTES = 4 << 30
_ALIGNMENT_BYTES = 4096


class Device(Protocol):
    """Where experts are computed, and how their bytes get there. `name` is `cpu` or `cuda:<number>`."""

    name: str
    torch_device: torch.device
    is_asynchronous: bool
    """Whether kernels run behind the host."""

    def host_tensor(self, numel: int, dtype: torch.dtype) -> Tensor:
        """Return a flat tensor of host memory, pinned on CUDA. Every page is there; the contents are undefined."""

    def device_tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor of zeros on the device. Every page is there."""

    def copy(self, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Copy to the device, not before the compute stream has passed `after`; return when the bytes are there.

        Called in the copy thread. Releases the interpreter while it waits.
        """

    def copy_back(self, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Copy to the host as `copy` does to the device, on a stream of its own."""

    def mark(self) -> Mark:
        """Mark the point that the compute stream has been given work up to."""

    def recycle(self, marks: Iterable[Mark]) -> None:
        """Take back marks that nobody will ask for again, for reuse."""

    def now_ns(self) -> int:
        """Return the host's time: that of `time.perf_counter_ns`."""

    def time_ns(self, mark: Mark) -> int:
        """Return when the compute stream passed a mark, on the scale of `now_ns`; valid after `synchronize`."""

    def synchronize(self) -> None:
        """Wait until the compute stream has done all it was given."""


class CpuDevice:
    """The CPU: slots and host copies are both in main memory."""

    def __init__(self) -> None:
        self.name = "cpu"
        self.torch_device = torch.device("cpu")
        self.is_asynchronous = False

    def host_tensor(self, numel: int, dtype: torch.dtype) -> Tensor:
        """Return a flat tensor whose pages are all written, so that none is missing at the first copy."""
        return torch.empty(numel, dtype=dtype).zero_()

    def device_tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor of zeros, all pages written (`torch.zeros` would leave them to the first use)."""
        return torch.empty(shape, dtype=dtype).zero_()

    def copy(self, target: Tensor, source: Tensor, after: Mark | None) -> None:  # noqa: ARG002
        """Copy now: work that was marked is done already. torch releases the interpreter meanwhile."""
        target.copy_(source)

    def copy_back(self, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Copy now."""
        self.copy(target, source, after)

    def mark(self) -> Mark:
        """Return the time."""
        return time.perf_counter_ns()

    def recycle(self, marks: Iterable[Mark]) -> None:
        """Do nothing: times need no reuse."""

    def now_ns(self) -> int:
        """Return the host's time."""
        return time.perf_counter_ns()

    def time_ns(self, mark: Mark) -> int:
        """Return the mark: it is a time."""
        assert isinstance(mark, int), "a mark of another device"
        return mark

    def synchronize(self) -> None:
        """Do nothing: work is done when its call returns."""


class CudaDevice:
    """One CUDA device. The compute stream is torch's current one at each `mark`.

    `copy` and `copy_back` each have a stream, and each is for one thread at a time. Tensors that they touch must outlive the
    call; `after` says when a slot is free for new bytes, and the caller waits for the copy before it computes with them.
    """

    def __init__(self, index: int) -> None:
        self.name = f"cuda:{index}"
        self.torch_device = torch.device("cuda", index)
        self.is_asynchronous = True
        self._to_device = torch.cuda.Stream(self.torch_device)
        self._to_host = torch.cuda.Stream(self.torch_device)
        # Without timing an event is cheaper. Waiting for it spins, with the interpreter released: that takes a core, but
        # sleeping would leave the link idle for tens of microseconds after each transfer.
        self._copied = torch.cuda.Event()
        self._copied_back = torch.cuda.Event()
        self._free_marks: list[torch.cuda.Event] = []
        self._slab: Tensor | None = None
        self._slab_used_bytes = 0
        clock_stream = torch.cuda.Stream(self.torch_device)  # idle, so that an event on it happens at once
        self._clock = EventClock(
            make_event=lambda: torch.cuda.Event(enable_timing=True),
            record=lambda event: event.record(clock_stream),
            now_ns=time.perf_counter_ns,
        )

    def host_tensor(self, numel: int, dtype: torch.dtype) -> Tensor:
        """Return a flat pinned tensor, cut from a larger piece.

        torch rounds each piece of pinned memory up to a power of two, which could take nearly twice a model's size.
        """
        num_bytes = numel * dtype.itemsize
        start = -(-self._slab_used_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        if self._slab is None or start + num_bytes > self._slab.numel():
            self._slab = torch.empty(slab_bytes(num_bytes), dtype=torch.uint8, pin_memory=True)
            start = 0
        self._slab_used_bytes = start + num_bytes
        return self._slab[start : start + num_bytes].view(dtype)

    def device_tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor of zeros; the zeros are there before any copy on another stream."""
        tensor = torch.zeros(shape, dtype=dtype, device=self.torch_device)
        self.synchronize()
        return tensor

    def copy(self, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Copy on the stream to the device and wait for the end."""
        self._copy(self._to_device, self._copied, target, source, after)

    def copy_back(self, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Copy on the stream to the host and wait for the end."""
        self._copy(self._to_host, self._copied_back, target, source, after)

    def mark(self) -> Mark:
        """Record an event on the compute stream."""
        self._clock.keep_near()
        mark = self._free_marks.pop() if self._free_marks else torch.cuda.Event(enable_timing=True)
        mark.record(torch.cuda.current_stream(self.torch_device))
        return mark

    def recycle(self, marks: Iterable[Mark]) -> None:
        """Keep the events for marks to come."""
        self._free_marks.extend(marks)

    def now_ns(self) -> int:
        """Return the host's time."""
        return time.perf_counter_ns()

    def time_ns(self, mark: Mark) -> int:
        """Return when the GPU came to the mark, in the host's time, to some microseconds."""
        assert not isinstance(mark, int), "a mark of another device"
        return self._clock.time_ns(mark)

    def synchronize(self) -> None:
        """Wait for the compute stream; the side streams are waited for by those who copy."""
        torch.cuda.current_stream(self.torch_device).synchronize()

    def _copy(
        self,
        stream: torch.cuda.Stream,
        copied: torch.cuda.Event,
        target: Tensor,
        source: Tensor,
        after: Mark | None,
    ) -> None:
        with torch.cuda.stream(stream):
            if after is not None:
                stream.wait_event(after)
            target.copy_(source, non_blocking=True)
            copied.record(stream)
        copied.synchronize()


def slab_bytes(tensor_bytes: int) -> int:
    """Return the size of a piece of pinned memory for tensors of this size: a power of two that holds 16, or up to 4 GiB."""
    many = 1 << (16 * max(tensor_bytes, 1) - 1).bit_length()
    one = 1 << (max(tensor_bytes, 1) - 1).bit_length()
    return max(one, min(many, MAX_SLAB_BYTES))


def open_device(name: str, *, source: str = "--device") -> Device:
    """Return the device of this name: `cpu`, `cuda` or `cuda:<number>`.

    Raises InputError, which names `source` as what is at fault, for another name and for a CUDA device that torch does
    not see.
    """
    if name == "cpu":
        return CpuDevice()
    match = re.fullmatch(r"cuda(?::(\d{1,4}))?", name)
    if match is None:
        raise InputError(source, f"is {name!r}; name cpu, cuda or cuda:<number>")
    index = int(match[1] or 0)
    if not torch.cuda.is_available():
        build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
        raise InputError(
            source,
            f"is {name!r}, but torch {torch.__version__} ({build}) sees no CUDA device; install a CUDA build of torch and "
            f"check that nvidia-smi lists the GPU, or name cpu",
        )
    num_devices = torch.cuda.device_count()
    if index >= num_devices:
        names = "cuda:0 alone" if num_devices == 1 else f"cuda:0 to cuda:{num_devices - 1}"
        raise InputError(source, f"is {name!r}, but torch sees {num_devices} CUDA device(s): {names}; name one of them")
    return CudaDevice(index)
