"""Experts that the host's processor computes: their time on one worker, and the way of the activations.

    expert on n tokens   max(bytes / expert_bandwidth, 2 params n / FLOP/s), or `durations.cpu_expert`
    activations          n rows of the hidden size, D2H and H2D: latency + bytes / bandwidth each way

Source: the roofline model (see simulator/costs/roofline.py); each token's state goes to the host and comes back once.

Limits: the time is that of one worker by itself, unless it was measured with all of them busy; that workers and copies
share the memory's bandwidth is in simulator/resources/host_memory.py; the processor's peak is taken whole, without an
efficiency; activations find the link idle, whatever `durations.transfer` says; starting a worker costs nothing.
"""

from fractions import Fraction

from hardware_profiles.errors import InputError
from hardware_profiles.link_presets import ResolvedLink, resolve_link
from hardware_profiles.profile import HardwareProfile
from simulator.costs.exact import NS_PER_S, ceil_ns, exact
from simulator.costs.stated import stated
from simulator.model.footprint import expert_bytes, params_per_expert
from simulator.model.spec import ModelSpec

COMPUTE_DTYPES = ("bf16", "fp16", "fp32")
"""What is computed in: the first of these that a processor has a peak for."""


class CpuCosts:
    """The durations of experts on the CPU, in whole nanoseconds; activations have the GPU's compute dtype."""

    def __init__(self, model: ModelSpec, profile: HardwareProfile, compute_dtype: str) -> None:
        workers = profile.runtime.cpu_workers
        self.num_workers = 1 if workers is None else int(workers.value)
        self._profile = profile
        self._stated = stated(profile.durations.cpu_expert)
        self._expert_bytes = expert_bytes(model)
        self._expert_params = params_per_expert(model)
        self._token_bytes = model.hidden_size * (4 if compute_dtype == "fp32" else 2)
        self._d2h, self._h2d = (
            resolve_link(link, path) for link, path in ((profile.link.d2h, "link.d2h"), (profile.link.h2d, "link.h2d"))
        )
        self._expert_ns: dict[int, int] = {}
        self._activation_ns: dict[int, int] = {}

    def expert_ns(self, num_tokens: int) -> int:
        """One expert on one worker. Raises InputError where neither a time nor a peak to work it out from is known."""
        known = self._expert_ns.get(num_tokens)
        if known is None:
            known = self._expert_ns[num_tokens] = ceil_ns(self._compute_expert_ns(num_tokens))
        return known

    def _compute_expert_ns(self, num_tokens: int) -> Fraction:
        if self._stated is not None:
            return self._stated.ns(num_tokens, self._expert_bytes)
        cpu = self._profile.cpu
        peak = next((cpu.flops[dtype] for dtype in COMPUTE_DTYPES if dtype in cpu.flops), None)
        if peak is None:
            raise InputError(
                self._profile.name,
                f"cpu.flops: gives none of {', '.join(COMPUTE_DTYPES)}; give one of them, or durations.cpu_expert",
            )
        memory_s = self._expert_bytes / exact(cpu.expert_bandwidth.value)
        return NS_PER_S * max(memory_s, 2 * self._expert_params * num_tokens / exact(peak.value))

    @property
    def is_known(self) -> bool:
        """Whether a time is known, or a peak to work it out from."""
        return self._stated is not None or any(dtype in self._profile.cpu.flops for dtype in COMPUTE_DTYPES)

    def write_back_ns(self, num_bytes: int) -> int:
        """One copy to the host, over an idle link."""
        return ceil_ns(_copy_ns(self._d2h, num_bytes))

    def to_gpu_ns(self, num_bytes: int) -> int:
        """One copy to the GPU, over an idle link."""
        return ceil_ns(_copy_ns(self._h2d, num_bytes))

    def activation_ns(self, num_tokens: int) -> int:
        """The states of `num_tokens` tokens to the host and the results back, over idle links."""
        known = self._activation_ns.get(num_tokens)
        if known is None:
            num_bytes = num_tokens * self._token_bytes
            both_ns = _copy_ns(self._d2h, num_bytes) + _copy_ns(self._h2d, num_bytes)
            known = self._activation_ns[num_tokens] = ceil_ns(both_ns)
        return known


def _copy_ns(link: ResolvedLink, num_bytes: int) -> Fraction:
    return NS_PER_S * (exact(link.latency.value) + num_bytes / exact(link.bandwidth.value))
