"""The CPU as the least that offloading asks of a device, and what torch allocates there."""

from collections.abc import Callable

import torch
from torch import Tensor


class PlainHost:
    """Memory as torch gives it; counts what was asked for."""

    def __init__(self) -> None:
        self.torch_device = torch.device("cpu")
        self.num_tensors = 0

    def host_tensor(self, numel: int, dtype: torch.dtype) -> Tensor:
        """Return a flat tensor full of something that no weight is."""
        self.num_tensors += 1
        return torch.full((numel,), float("nan"), dtype=dtype)

    def device_tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor of zeros."""
        return torch.zeros(shape, dtype=dtype)


def peak_bytes(work: Callable[[], object]) -> int:
    """Return how far the memory of all tensors rises above what it was, at most, while some work is done."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    del kept
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
