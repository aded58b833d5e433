"""The GPU's stream: when it comes free, and what it has been doing.

Its own work needs no events: `free_ns`, the time at which it comes free, runs ahead of the clock. All that happens on it
is counted, cause by cause, without remainder.

Limits: one stream; what is put on it is never taken back.
"""

from collections.abc import Mapping, Sequence

from simulator.costs.protocol import Costs
from simulator.metrics.counters import Counters
from simulator.resources.transfers import Transfer
from simulator.timeline import Timeline


class GpuStream:
    """Put work on the stream, and note what it waits for. `num_keys` is where keys of low-precision copies begin.

    Where experts of no tokens may come, `skips_unused` is true.
    """

    def __init__(self, costs: Costs, counters: Counters, timeline: Timeline | None, *, num_keys: int) -> None:
        self.free_ns = 0
        self.skips_unused = False
        self._costs = costs
        self._counters = counters
        self._expert_compute_ns = counters.expert_compute_ns
        self._timeline = timeline
        self._num_keys = num_keys
        # Kernels that nobody looks at one by one are put on it as one duration; one of one token is this long.
        is_plain = timeline is None and not costs.kernels_are_grouped and not costs.low_chunk_ends_ns
        self._kernel_ns = costs.expert_ns(1) if is_plain else None

    def head(self, duration_ns: int, overhead_ns: int) -> None:
        """Put the step's own work after its last layer on the stream."""
        if self._timeline is not None:
            self._timeline.head(self.free_ns, duration_ns)
        self.free_ns += duration_ns
        self._counters.step_compute_ns += duration_ns - overhead_ns
        self._counters.step_overhead_ns += overhead_ns

    def compute(self, layer: int, keys: Sequence[int], tokens_of: Mapping[int, int] | None) -> None:
        """Put experts that are there on the stream: one kernel each, or one for all. `tokens_of` is None for one each."""
        if self._kernel_ns is not None and not self.skips_unused:
            if tokens_of is None:
                duration_ns = self._kernel_ns * len(keys)
            else:
                expert_ns = self._costs.expert_ns
                duration_ns = sum([expert_ns(tokens_of[key]) for key in keys])
            self.free_ns += duration_ns
            self._expert_compute_ns[layer] += duration_ns
            return
        if tokens_of is not None and self.skips_unused:
            keys = [key for key in keys if self.num_tokens(key, tokens_of)]
        groups = [keys] if self._costs.kernels_are_grouped and keys else [[key] for key in keys]
        for computed in groups:
            duration_ns = self.kernel_ns(computed, tokens_of)
            if self._timeline is not None:
                self._timeline.experts(layer, computed, self.free_ns, duration_ns)
            self.free_ns += duration_ns
            self._counters.expert_compute_ns[layer] += duration_ns

    def kernel_ns(self, keys: Sequence[int], tokens_of: Mapping[int, int] | None) -> int:
        """Return the duration of one kernel: over one expert, or, where kernels are grouped, over several."""
        if self.skips_unused:
            keys = [key for key in keys if self.num_tokens(key, tokens_of)]
            if not keys:
                return 0
        if self._costs.kernels_are_grouped:
            return self._costs.group_ns([self.num_tokens(key, tokens_of) for key in keys])
        (key,) = keys
        return self.expert_ns(key, tokens_of)

    def num_tokens(self, key: int, tokens_of: Mapping[int, int] | None) -> int:
        """Return how many tokens are routed to an expert, by its key or that of its low-precision copy."""
        return 1 if tokens_of is None else tokens_of[key % self._num_keys]

    def expert_ns(self, key: int, tokens_of: Mapping[int, int] | None) -> int:
        """Return the duration of one expert's kernel, in the precision that the key is of."""
        num_tokens = self.num_tokens(key, tokens_of)
        return self._costs.expert_ns(num_tokens) if key < self._num_keys else self._costs.low_expert_ns(num_tokens)

    def stall(self, layer: int, transfer: Transfer, until_ns: int) -> None:
        """Have the stream wait from when it comes free until a time, while the link, or NVMe, served `transfer`."""
        counters = self._counters
        stall_ns = until_ns - self.free_ns
        if transfer.is_read:
            counters.exposed_nvme_ns[layer] += stall_ns
        elif not transfer.is_demanded:
            counters.queued_behind_prefetch_ns[layer] += stall_ns
        elif transfer.is_prefetch:
            counters.exposed_late_prefetch_ns[layer] += stall_ns
        else:
            counters.exposed_demand_fetch_ns[layer] += stall_ns
        if self._timeline is not None:
            self._timeline.stall(layer, transfer, self.free_ns, stall_ns)
        self.free_ns = until_ns

    def stall_for_cpu(self, layer: int, until_ns: int) -> None:
        """Have the stream wait until a time for what the CPU computes, if that is later than it comes free."""
        stall_ns = until_ns - self.free_ns
        if stall_ns > 0:
            self._counters.exposed_cpu_expert_ns[layer] += stall_ns
            if self._timeline is not None:
                self._timeline.cpu_stall(layer, self.free_ns, stall_ns)
            self.free_ns = until_ns

    def lose(self, layer: int, overhead_ns: int) -> None:
        """Have the stream lose time to the runtime."""
        if overhead_ns:
            self._counters.runtime_overhead_ns[layer] += overhead_ns
            if self._timeline is not None:
                self._timeline.overhead(layer, self.free_ns, overhead_ns)
            self.free_ns += overhead_ns
