"""The machine itself: memory bandwidths, arithmetic, the launch of a kernel.

    host memory     a large copy (read and written bytes) and a large read, by one thread and by all
    device memory   the same on the device, by the threads that compute there
    arithmetic      one large product of square matrices, by dtype
    launch          many kernels of one element in a row, per kernel

Limits: the rates of one plain kernel each; better ones may exist.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from validation.calibrate.measurement import At, Measure, Measurement
from validation.calibrate.subject import Subject

_CPU_BYTES, _GPU_BYTES = 128 << 20, 1 << 30
_CPU_WIDTH, _GPU_WIDTH = 768, 8192
_LAUNCHES = 200
DTYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def measure_machine(subject: Subject) -> list[Measurement]:
    """Return the measurements of host, device and processor."""
    cores = num_cores()
    all_threads = sorted({1, subject.threads, cores})
    dtypes = sorted({torch.float32, subject.offloaded.model.dtype}, key=str)
    found = [
        Measurement(
            name="host.memory",
            title="Host memory: copies and reads of 128 MiB, by threads",
            grid=[{"threads": threads, "bytes": _CPU_BYTES} for threads in all_threads],
            set_up=lambda: _memory(torch.device("cpu"), subject.threads),
            is_crowded=True,
        ),
        Measurement(
            name="host.flops",
            title="Host arithmetic: products of matrices, by threads and dtype",
            grid=_products(all_threads, dtypes, _CPU_WIDTH),
            set_up=lambda: _product(subject, torch.device("cpu"), dtypes),
        ),
        Measurement(
            name="device.launch",
            title="A kernel of one element, among many in a row",
            grid=[{"kernels": _LAUNCHES}],
            set_up=lambda: _launches(subject),
            weight=0.5,
        ),
    ]
    if subject.device.torch_device.type != "cpu":
        found += [
            Measurement(
                name="device.memory",
                title="Device memory: copies and reads of 1 GiB",
                grid=[{"threads": 0, "bytes": _GPU_BYTES}],
                set_up=lambda: _memory(subject.device.torch_device, subject.threads),
            ),
            Measurement(
                name="device.flops",
                title="Device arithmetic: products of matrices, by dtype",
                grid=_products([0], dtypes, _GPU_WIDTH),
                set_up=lambda: _product(subject, subject.device.torch_device, dtypes),
            ),
        ]
    return found


def num_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _products(threads: Sequence[int], dtypes: Sequence[torch.dtype], width: int) -> list[At]:
    return [{"threads": count, "dtype_bits": _bits_of(dtype), "width": width} for count in threads for dtype in dtypes]


def _bits_of(dtype: torch.dtype) -> float:
    """Return a number for a dtype: its bits, and one more for float16, which has as many as bfloat16."""
    return float(8 * dtype.itemsize + (1 if dtype is torch.float16 else 0))


def dtype_of(bits: float) -> str:
    """Return the name that profiles give to what `_bits_of` gave a number."""
    return next(name for dtype, name in DTYPES.items() if _bits_of(dtype) == bits)


@contextmanager
def _memory(torch_device: torch.device, threads: int) -> Iterator[Measure]:
    num_bytes = _CPU_BYTES if torch_device.type == "cpu" else _GPU_BYTES
    source = torch.zeros(num_bytes // 4, device=torch_device)
    target = torch.ones_like(source)

    def measure(at: At) -> Mapping[str, float]:
        with _threads(int(at["threads"])):
            clock = _Stopwatch(torch_device)
            target.copy_(source)
            copied_s = clock.lap()
            source.sum()
            return {"copy": copied_s, "read": clock.lap()}

    yield measure
    torch.set_num_threads(threads)


@contextmanager
def _product(subject: Subject, torch_device: torch.device, dtypes: Sequence[torch.dtype]) -> Iterator[Measure]:
    width = _CPU_WIDTH if torch_device.type == "cpu" else _GPU_WIDTH
    generator = torch.Generator().manual_seed(subject.seed)
    matrices = {
        _bits_of(dtype): torch.randn((width, width), generator=generator).to(device=torch_device, dtype=dtype)
        for dtype in dtypes
    }

    def measure(at: At) -> Mapping[str, float]:
        matrix = matrices[at["dtype_bits"]]
        with _threads(int(at["threads"])), torch.inference_mode():
            clock = _Stopwatch(torch_device)
            torch.mm(matrix, matrix)
            return {"time": clock.lap()}

    yield measure


@contextmanager
def _launches(subject: Subject) -> Iterator[Measure]:
    element = torch.zeros(1, device=subject.device.torch_device)

    def measure(at: At) -> Mapping[str, float]:
        with torch.inference_mode():
            clock = _Stopwatch(element.device)
            for _ in range(int(at["kernels"])):
                element.add_(1)
            return {"time": clock.lap() / at["kernels"]}

    yield measure


class _Stopwatch:
    """Seconds between laps on the host's clock, each after the device has caught up."""

    def __init__(self, torch_device: torch.device) -> None:
        self._torch_device = torch_device
        self._last_s = self._now_s()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        before_s, self._last_s = self._last_s, self._now_s()
        return self._last_s - before_s

    def _now_s(self) -> float:
        if self._torch_device.type == "cuda":
            torch.cuda.synchronize(self._torch_device)
        return time.perf_counter()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch compute with `count` threads, 0 for as many as it does anyway."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
