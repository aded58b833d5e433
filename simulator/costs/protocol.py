"""What the engine asks of the cost models: durations in whole nanoseconds, rounded up once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from simulator.workload.step import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCosts:
    """The non-expert durations of one step.

    `lead_ns` [L] is the GPU work from the end of one round's experts (or the start of the step) to the next gate: the
    layer's own non-expert work and any dense layers before it. `lead_overhead_ns` [L] is the part of it that is the
    runtime's overhead. `tail_ns` is what follows the last layer: dense layers after it, LM head, sampling;
    `tail_overhead_ns` the part of it that is overhead.
    """

    lead_ns: Sequence[int]
    lead_overhead_ns: Sequence[int]
    tail_ns: int
    tail_overhead_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryDemands:
    """Host memory's bandwidth, and what one copy each way, or a read from NVMe, draws on it at full speed, in bytes/s.

    `cpu_expert` gives the same for one of the CPU's experts, from its duration by itself.
    """

    bandwidth: int
    h2d: int
    low_h2d: int
    d2h: int
    cpu_expert: Callable[[int], int]
    nvme: int = 1


class Costs(Protocol):
    """Durations of all that a run does."""

    @property
    def chunk_ends_ns(self) -> Sequence[int]:
        """One expert's transfer up to the end of each chunk; the last entry is the whole."""

    @property
    def write_back_ns(self) -> int:
        """One expert's transfer back to the host."""

    @property
    def kernels_are_grouped(self) -> bool:
        """Whether one kernel computes all experts that are resident when the stream comes free."""

    @property
    def stall_overhead_ns(self) -> int:
        """What the stream loses after each wait for the link, before it computes what arrived."""

    @property
    def cpu_join_overhead_ns(self) -> int:
        """What the stream loses at the end of a layer that has taken in results of the CPU, after any wait for them."""

    @property
    def beside_cpu_ppm(self) -> int:
        """What such a layer loses besides, of the time for which the stream and the CPU both computed, in millionths."""

    @property
    def lookahead_ns(self) -> int:
        """What the stream loses each time that a later layer's gate is applied to the current state."""

    @property
    def slowed_ppm(self) -> int:
        """What the stream loses of its speed while the link serves, in millionths."""

    @property
    def cpu_slowed_ppm(self) -> int:
        """What a worker of the host's processor loses of its speed while the link serves, in millionths."""

    @property
    def num_cpu_workers(self) -> int:
        """How many experts the host's processor computes at once, 1 or more."""

    @property
    def low_chunk_ends_ns(self) -> Sequence[int]:
        """The same for the transfer of a low-precision copy; empty where there are none."""

    @property
    def read_chunk_ends_ns(self) -> Sequence[int]:
        """One expert's read from NVMe into host memory, up to the end of each chunk; empty where nothing is read."""

    @property
    def memory_demands(self) -> "MemoryDemands | None":
        """What copies and the CPU's experts draw on host memory; None where its bandwidth suffices for all at once."""

    def expert_ns(self, num_tokens: int) -> int:
        """One expert's kernel on `num_tokens` tokens."""

    def low_expert_ns(self, num_tokens: int) -> int:
        """The kernel of a low-precision copy."""

    def group_ns(self, num_tokens: Sequence[int]) -> int:
        """One kernel over several experts with these numbers of tokens."""

    def cpu_expert_ns(self, num_tokens: int) -> int:
        """One expert on `num_tokens` tokens on one worker of the host's processor."""

    def activation_ns(self, num_tokens: int) -> int:
        """The states of `num_tokens` tokens to the host and the results back."""

    def step(self, step: Step) -> StepCosts:
        """The non-expert work of a step."""
