"""The link between host and device: from request to usable, and transfers one after the other, by size.

    demand      an idle link: from the request to its completion in the thread that asked, which is what a run waits for
    each        several requests at once: the time of all, divided by their number

H2D goes through `CopyLink`, the runtime's own copy thread; D2H, which the runtime has no queue for, through the device's
`copy_back`. Sources and targets change from one transfer to the next, so that no cache holds them.

Limits: one link, one GPU; what else uses the host's memory or the bus is not known.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import count as count_up
from itertools import islice
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from validation.calibrate.measurement import At, Measure, Measurement
from validation.calibrate.subject import Subject, endless
from validation.runtime.link import CopyLink
from validation.runtime.throttle import Throttle

AT_ONCE = 4
_SIZES = (1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26)
_RING_BYTES = 128 << 20
_LARGEST_BYTES = 128 << 20
_LOOKS_S = 0.1


def measure_link(subject: Subject, *, throttle_bytes_per_s: float) -> list[Measurement]:
    """Return the measurements of the link: alone and loaded, from pinned and pageable memory, throttled."""
    expert = subject.expert_bytes
    sizes = sorted({expert, *(size for size in _SIZES if size <= max(1 << 22, min(_LARGEST_BYTES, 4 * expert)))})
    few = sorted({1 << 18, expert, 1 << 22})

    def link(name: str, title: str, points: Sequence[int], weight: float, **how: object) -> Measurement:
        return Measurement(
            name=name,
            title=title,
            grid=[{"bytes": size} for size in points],
            set_up=lambda: _transfers(subject, points, **how),  # type: ignore[arg-type]
            weight=weight,
            is_crowded="load" in how,
        )

    stated = f"{throttle_bytes_per_s / 1e9:g} GB/s"
    found = [
        link("link.h2d", "Host to device, alone", sizes, 5),
        link("link.d2h", "Device to host, alone", sizes, 2, is_to_host=True),
        link("link.h2d_during_d2h", "Host to device while the device sends to the host", few, 1, load="d2h"),
        link("link.h2d_during_compute", "Host to device while the device computes", few, 1, load="compute"),
    ]
    if subject.device.torch_device.type == "cpu":
        throttle = Throttle(bandwidth_bytes_per_s=throttle_bytes_per_s)
        found.append(link("link.h2d_throttled", f"Host to device, throttled to {stated}", few, 1, throttle=throttle))
    else:
        found.append(link("link.h2d_pageable", "Host to device from pageable memory", sizes, 2, is_pageable=True))
    return found


@contextmanager
def _transfers(
    subject: Subject,
    sizes: Sequence[int],
    *,
    is_to_host: bool = False,
    is_pageable: bool = False,
    load: str | None = None,
    throttle: Throttle | None = None,
) -> Iterator[Measure]:
    device = subject.device
    ring_bytes = max(_RING_BYTES, 2 * AT_ONCE * max(sizes))
    hosts = torch.zeros(ring_bytes, dtype=torch.uint8) if is_pageable else device.host_tensor(ring_bytes, torch.uint8)
    remotes = device.device_tensor((ring_bytes,), torch.uint8)
    places = endless(1 << 20, subject.seed)

    def pairs(num_bytes: int, count: int) -> list[tuple[Tensor, Tensor]]:
        """Return (host, device) stretches that do not overlap."""
        slots = ring_bytes // num_bytes
        first = next(places)
        starts = [(first + turn) % slots * num_bytes for turn in range(count)]
        return [(hosts[start : start + num_bytes], remotes[start : start + num_bytes]) for start in starts]

    with ExitStack() as stack:
        link = stack.enter_context(CopyLink(device, throttle=throttle))
        beside = (
            nullcontext if load is None else stack.enter_context(_Load(_work_of(subject, load), subject.threads)).going
        )
        keys = count_up()

        def fetch(num_bytes: int, count: int) -> float:
            transfers = list(zip(islice(keys, count), pairs(num_bytes, count), strict=True))
            began_ns = device.now_ns()
            for key, (host, remote) in transfers:
                link.demand(key, remote, host, None)
            left = count
            while left:
                left -= len(link.wait())
            return (device.now_ns() - began_ns) / 1e9 / count

        def send_back(num_bytes: int, count: int) -> float:
            transfers = pairs(num_bytes, count)
            began_ns = device.now_ns()
            for host, remote in transfers:
                device.copy_back(host, remote, None)
            return (device.now_ns() - began_ns) / 1e9 / count

        move = send_back if is_to_host else fetch

        def measure(at: At) -> Mapping[str, float]:
            num_bytes = int(at["bytes"])
            with beside():
                return {"each": move(num_bytes, AT_ONCE), "demand": move(num_bytes, 1)}

        yield measure
    link.services.clear()


def _work_of(subject: Subject, load: str) -> Callable[[], None]:
    """Return a copy to the host, or a product of matrices on the device."""
    device = subject.device
    num_bytes = max(1 << 22, subject.expert_bytes)
    if load == "d2h":
        host, remote = device.host_tensor(num_bytes, torch.uint8), device.device_tensor((num_bytes,), torch.uint8)
        return lambda: device.copy_back(host, remote, None)
    width = 512 if device.torch_device.type == "cpu" else 4096
    left = torch.zeros((width, width), device=device.torch_device)
    right, product = torch.zeros_like(left), torch.zeros_like(left)

    def multiply() -> None:
        torch.mm(left, right, out=product)
        device.synchronize()

    return multiply


class _Load:
    """A thread that does `work` over and over while `going`, and rests otherwise: nothing runs beside a probe.

    A context manager; what `work` raises is raised on leaving it.
    """

    def __init__(self, work: Callable[[], None], threads: int) -> None:
        self._work, self._threads = work, threads
        self._goes, self._has_begun, self._ends = threading.Event(), threading.Event(), threading.Event()
        self._working = threading.Lock()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="moesim load", daemon=True)

    @contextmanager
    def going(self) -> Iterator[None]:
        """Work begins before the body, and the last of it has ended after it."""
        self._has_begun.clear()
        self._goes.set()
        while self._thread.is_alive() and not self._has_begun.wait(_LOOKS_S):
            pass
        try:
            yield
        finally:
            self._goes.clear()
            with self._working:  # what had begun has ended
                pass

    def _run(self) -> None:
        try:
            torch.set_num_threads(self._threads)
            while not self._ends.is_set():
                self._goes.wait()
                with self._working:
                    self._has_begun.set()
                    if self._goes.is_set() and not self._ends.is_set():
                        self._work()
        except BaseException as error:
            self._failed = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ends.set()
        self._goes.set()
        self._thread.join()
        if self._failed is not None and error is None:
            raise self._failed
