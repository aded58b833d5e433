"""What a policy sees of a run: a read-only look at the cache, the gate, the machine's costs and what was learned before.

An expert is named by its key, `bank * num_experts + expert`; its low-precision copy, where there are such, by that plus
`num_keys`. A visit is one pass through one routing round: visit `step * num_layers + layer`, counted over the whole run.
Both the simulator and a real runtime implement `View`, so a policy needs no clock, no SimPy and no torch.

What costs a run something is asked for as the policy is built (`require_...`, `oracle`, `training`), and refused there
with a ValueError where the run cannot give it.

Legend: n tokens of the step, K top-k.
"""

import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.training import Training


class Oracle(Protocol):
    """The routing to come, which no real system knows."""

    def next_visit(self, key: int) -> int:
        """Return the first visit after the current one that uses `key`; `NEVER` if none does."""

    def upcoming(self, visits_ahead: int) -> Sequence[int]:
        """Return the keys that the visit `visits_ahead` after the current one will use; empty past the end."""


class Estimates(Protocol):
    """What work costs on this machine, in whole nanoseconds, with nothing else going on."""

    @property
    def transfer_ns(self) -> int:
        """One expert's transfer from host memory to the GPU."""

    @property
    def read_ns(self) -> int:
        """One expert's read from NVMe into host memory; 0 where host memory holds all."""

    def fetch_ns(self, key: int) -> int:
        """The way of an expert to the GPU from where it is now: `transfer_ns`, behind `read_ns` if it is on NVMe."""

    @property
    def layer_ns(self) -> int:
        """The non-expert work of a MoE layer, for the tokens of the current step."""

    @property
    def num_cpu_workers(self) -> int:
        """How many experts the CPU computes at once."""

    def expert_ns(self, num_tokens: int) -> int:
        """One expert on the GPU."""

    def cpu_expert_ns(self, num_tokens: int) -> int:
        """One expert on one worker of the CPU."""

    def activation_ns(self, num_tokens: int) -> int:
        """The states of some tokens to the CPU and the results back."""


class View(Protocol):
    """The state of a run at the moment when a policy decides."""

    @property
    def num_layers(self) -> int:
        """Routing rounds per step."""

    @property
    def num_experts(self) -> int:
        """Experts of a bank."""

    @property
    def num_keys(self) -> int:
        """Experts in all: banks * num_experts."""

    @property
    def top_k(self) -> int:
        """Experts that a gate picks per token."""

    def first_key(self, layer: int) -> int:
        """Return the key of expert 0 of the bank that a routing round draws from."""

    @property
    def visit(self) -> int:
        """The current visit; -1 before the first gate."""

    @property
    def held(self) -> AbstractSet[int]:
        """The keys that cannot be evicted now: pinned until computed, or in flight."""

    def is_resident(self, key: int) -> bool:
        """Tell whether the expert can be computed on the GPU now."""

    def is_in_flight(self, key: int) -> bool:
        """Tell whether the expert has a slot and is queued or being transferred."""

    def is_in_host(self, key: int) -> bool:
        """Tell whether host memory has the expert: true of all where it is not a cache above NVMe."""

    def num_queued(self) -> int:
        """Count the transfers that wait for the link, those that NVMe has yet to read among them."""

    def num_slots(self, layer: int) -> int:
        """Count the slots for which the experts of a routing round compete, pinned ones included."""

    @property
    def is_prefill(self) -> bool:
        """Whether the current step is a prefill."""

    def requests(self) -> Sequence[int]:
        """Return the number of the request that each token of the current step belongs to, [n]."""

    def picks(self) -> Sequence[Sequence[int]]:
        """Return what the current gate has picked, [n][K], by falling gate weight; empty before the first gate."""

    def weights(self) -> Sequence[Sequence[float]]:
        """Return the gate weights of `picks`, [n][K], as the model applies them. Needs `require_gate_weights`."""

    def require_gate_weights(self) -> None:
        """Say, as the policy is built, that it will call `weights`. Raises ValueError if nobody knows them."""

    def require_lookahead(self, distance: int) -> None:
        """Say, as the policy is built, that it will call `lookahead` up to `distance`. Raises ValueError if nobody can."""

    def lookahead(self, distance: int) -> Sequence[Sequence[int]]:
        """Return what the gate `distance` layers on would pick from the state that enters the current layer.

        One entry per token of the step, each with keys by rank, [n][K]; empty past the step's last layer.
        """

    @property
    def oracle(self) -> Oracle:
        """The routing to come. A policy that asks for it is an oracle, and the result of the run says so."""

    @property
    def training(self) -> Training:
        """Recorded routing of other sequences than the run's. Raises ValueError if the scenario gives none."""

    def popularity(self) -> NDArray[np.int64]:
        """Return how many tokens were routed to each key, [num_keys]: in `training`, else in the run's own sequences.

        The second is knowledge that a real system has from profiling the same load; the result of the run says so.
        """

    @property
    def costs(self) -> Estimates:
        """What work costs on this machine."""

    def random(self) -> random.Random:
        """Return a new source of random numbers; it depends on the scenario's seed and on how many were given before."""


NEVER = 1 << 62
"""The visit of an expert that is not used again."""
