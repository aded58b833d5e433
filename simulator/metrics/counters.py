"""What is counted while a run goes: integers only, per layer and in all."""

from dataclasses import dataclass, field, fields

ATTRIBUTION = (
    "expert_compute",
    "non_expert_compute",
    "step_compute",
    "runtime_overhead",
    "exposed_demand_fetch",
    "exposed_late_prefetch",
    "queued_behind_prefetch",
    "exposed_cpu_expert",
    "exposed_nvme",
)
"""The causes among which the GPU stream's time is divided without remainder.

The first four are work of the stream. The others are stalls, by what the link was serving while the GPU had nothing to
compute: a demand fetch of this layer; a prefetch that this layer asked for before it arrived; another prefetch. The last two
are the wait for experts that the CPU computes, and that for NVMe, while none of the awaited experts is in host memory.
"""
NUM_WORK = 4
"""How many of `ATTRIBUTION`, the first, are work of the stream."""


@dataclass(slots=True, kw_only=True)
class Counters:
    """Counts since the run began. Lists have one entry per routing round; `*_ns` are nanoseconds, `*_mass` billionths of a
    token's gate mass (see `simulator.losses`).
    """

    num_layers: int
    accesses: list[int] = field(init=False)
    hits: list[int] = field(init=False)
    late_hits: list[int] = field(init=False)
    misses: list[int] = field(init=False)
    cpu_experts: list[int] = field(init=False)
    deferred_experts: list[int] = field(init=False)
    low_experts: list[int] = field(init=False)
    dropped_picks: list[int] = field(init=False)
    substituted_picks: list[int] = field(init=False)
    dropped_mass: list[int] = field(init=False)
    substituted_mass: list[int] = field(init=False)
    unlike_mass: list[int] = field(init=False)
    dropped_cubed_mass: list[int] = field(init=False)
    substituted_cubed_mass: list[int] = field(init=False)
    low_mass: list[int] = field(init=False)
    deferred_mass: list[int] = field(init=False)
    expert_compute_ns: list[int] = field(init=False)
    non_expert_compute_ns: list[int] = field(init=False)
    runtime_overhead_ns: list[int] = field(init=False)
    exposed_demand_fetch_ns: list[int] = field(init=False)
    exposed_late_prefetch_ns: list[int] = field(init=False)
    queued_behind_prefetch_ns: list[int] = field(init=False)
    exposed_cpu_expert_ns: list[int] = field(init=False)
    exposed_nvme_ns: list[int] = field(init=False)
    step_compute_ns: int = 0
    step_overhead_ns: int = 0
    steps: int = 0
    routed_tokens: int = 0
    decode_steps: int = 0
    output_tokens: int = 0
    prefill_tokens: int = 0
    demand_transfers: int = 0
    prefetch_transfers: int = 0
    prefetches_issued: int = 0
    prefetches_useful: int = 0
    prefetches_late: int = 0
    prefetches_wasted: int = 0
    prefetches_dropped: int = 0
    prefetches_cancelled: int = 0
    low_transfers: int = 0
    in_place_transfers: int = 0
    write_backs: int = 0
    write_back_busy_ns: int = 0
    wave_fetches: int = 0
    host_hits: int = 0
    host_late_hits: int = 0
    host_misses: int = 0
    host_evictions: int = 0
    nvme_reads: int = 0
    reads_ahead: int = 0
    reads_ahead_used: int = 0
    nvme_busy_ns: int = 0
    link_busy_ns: int = 0
    cpu_busy_ns: int = 0
    idle_ns: int = 0
    kv_swap_ns: int = 0
    kv_out_bytes: int = 0
    kv_out_ns: int = 0
    kv_in_bytes: int = 0
    all_to_all_ns: int = 0
    all_to_all_bytes: int = 0
    barrier_ns: int = 0
    expert_tokens: int = 0
    peer_demand_transfers: int = 0
    peer_prefetch_transfers: int = 0
    token_transitions: int = 0
    cross_gpu_transitions: int = 0
    now_ns: int = 0

    def __post_init__(self) -> None:
        for name in self.layer_fields():
            setattr(self, name, [0] * self.num_layers)

    @classmethod
    def layer_fields(cls) -> list[str]:
        """Name the fields that have one entry per routing round."""
        return [item.name for item in fields(cls) if not item.init]

    @classmethod
    def names(cls) -> list[str]:
        """Name all counts."""
        return [item.name for item in fields(cls)]

    def copy(self) -> "Counters":
        """Return the counts as they stand."""
        return self.minus(Counters(num_layers=self.num_layers))

    def minus(self, earlier: "Counters") -> "Counters":
        """Return what has been counted since `earlier`."""
        result = Counters(num_layers=self.num_layers)
        for item in fields(self):
            value, before = getattr(self, item.name), getattr(earlier, item.name)
            if item.name == "num_layers":
                continue
            if isinstance(value, list):
                setattr(result, item.name, [a - b for a, b in zip(value, before, strict=True)])
            else:
                setattr(result, item.name, value - before)
        return result

    def plus(self, other: "Counters") -> "Counters":
        """Return what two have counted together; the time, too, is that of both."""
        result = self.copy()
        for item in fields(self):
            value, more = getattr(self, item.name), getattr(other, item.name)
            if item.name == "num_layers":
                continue
            setattr(
                result,
                item.name,
                [a + b for a, b in zip(value, more, strict=True)] if isinstance(value, list) else value + more,
            )
        return result

    def outcomes(self) -> tuple[int, int, int]:
        """Return hits, late hits and misses, over all routing rounds."""
        return sum(self.hits), sum(self.late_hits), sum(self.misses)

    def attribution_ns(self) -> dict[str, int]:
        """Divide the elapsed time by cause; with `idle_ns` and `kv_swap_ns`, of a service, they add up to `now_ns`."""
        return {
            "expert_compute": sum(self.expert_compute_ns),
            "non_expert_compute": sum(self.non_expert_compute_ns),
            "step_compute": self.step_compute_ns,
            "runtime_overhead": sum(self.runtime_overhead_ns) + self.step_overhead_ns,
            "exposed_demand_fetch": sum(self.exposed_demand_fetch_ns),
            "exposed_late_prefetch": sum(self.exposed_late_prefetch_ns),
            "queued_behind_prefetch": sum(self.queued_behind_prefetch_ns),
            "exposed_cpu_expert": sum(self.exposed_cpu_expert_ns),
            "exposed_nvme": sum(self.exposed_nvme_ns),
        }

    def work_ns(self) -> int:
        """Return the time for which the GPU stream has been at work, runtime overhead included."""
        attribution_ns = self.attribution_ns()
        return sum(attribution_ns[cause] for cause in ATTRIBUTION[:NUM_WORK])
