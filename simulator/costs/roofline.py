"""Durations from a model and a machine: the larger of memory time and arithmetic time, plus fixed overheads.

    expert on n tokens   max(bytes / bandwidth, 2 params n / FLOP/s) + launch
    transfer             latency + bytes / bandwidth
    non-expert layer     max((weights + KV read) / bandwidth, (2 params n + attention) / FLOP/s) + launch + per_layer
    head and sampling    max(bytes / bandwidth, 2 params outputs / FLOP/s) + launch + per_step

where bandwidth and FLOP/s of the GPU are the profile's peaks times its efficiencies. Any of the four may be stated by the
profile instead (`durations`), as a constant or a table, scaled by the bytes of the weights where it says for which it is;
the runtime's overheads are added to those as well, and to a layer's the stated time by attended tokens (`context`).

Source: the roofline model, Williams, Waterman, Patterson, CACM 52(4), 2009; attention arithmetic of 2 (d_qk + d_v) FLOP
per head and attended token.

Limits: one kernel launch per layer's non-expert work; activations' traffic is not counted; no overlap of memory and
arithmetic beyond the maximum; efficiencies do not depend on size; dequantisation costs nothing beyond the profile's
overheads; a stated non-expert duration grows with the context only where `durations.context` says how. That is for the
KV width of the model that was measured and is not scaled, and it sums over the tokens of a step: a prefill's counts each
token's context, although their keys are read together. See simulator/costs/stated.py and cpu.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from hardware_profiles.errors import InputError
from hardware_profiles.profile import Figure, HardwareProfile
from simulator.costs.cpu import COMPUTE_DTYPES, CpuCosts
from simulator.costs.exact import NS_PER_S, DurationCurve, ceil_ns, exact
from simulator.costs.protocol import MemoryDemands, StepCosts
from simulator.costs.stated import StatedDuration, head_bytes, stated
from simulator.costs.transfer import read_chunks_ns, transfer_chunks_ns
from simulator.model.footprint import (
    attended_tokens,
    bytes_of,
    expert_bytes,
    kv_bytes_per_token,
    non_expert_layer_params,
    output_head_params,
    params_per_expert,
    state_bytes,
)
from simulator.model.quantisation import Quantisation, parse_quantisation
from simulator.model.spec import ModelSpec, attention_kind, is_moe_layer
from simulator.resources.host_memory import TrafficFactors, demand_bytes_per_s, is_ever_short
from simulator.slowed import PPM
from simulator.workload.contexts import Contexts, attended
from simulator.workload.step import Step

_MOST_KNOWN_LAYERS = 1 << 16  # layers whose time is kept, by tokens and context


@dataclass(frozen=True, slots=True)
class _LayerClass:
    """What the non-expert cost of a layer depends on; layers that share it cost the same."""

    is_moe: bool
    params: int
    weight_bytes: int
    kv_bytes: int
    state_bytes: int
    representative: int  # a layer of this class


class RooflineCosts:
    """`simulator.costs.protocol.Costs` for a model, in the formats that its spec names, on a machine."""

    def __init__(
        self,
        model: ModelSpec,
        profile: HardwareProfile,
        kv_cache: Quantisation,
        *,
        low_format: str | None = None,
        reads_nvme: bool = False,
    ) -> None:
        """Take a model and a machine; `low_format` is that of low-precision copies of the experts, if there are such.

        With `reads_nvme`, experts are read from NVMe. Raises InputError where the machine cannot do what is asked.
        """
        self._model = model
        self._profile = profile
        self._kv_bytes_per_value = kv_cache.bits_per_weight / 8
        self._rest = parse_quantisation(model.rest_quantisation)
        durations = profile.durations
        self._expert, self._low_expert, self._layer, self._dense_layer, self._step = map(
            stated,
            (durations.expert, durations.low_expert, durations.layer, durations.dense_layer, durations.step),
        )
        self._context = None if durations.context is None else DurationCurve(durations.context)
        gpu = profile.gpu
        compute_dtype = next((dtype for dtype in COMPUTE_DTYPES if dtype in gpu.flops), None)
        if compute_dtype is None:
            raise InputError(profile.name, f"gpu.flops: gives none of {', '.join(COMPUTE_DTYPES)}; give one of them")
        self.compute_dtype = compute_dtype
        self._cpu = CpuCosts(model, profile, compute_dtype)
        self._per_layer_ns = exact(profile.runtime.per_layer.value) * NS_PER_S
        self._per_step_ns = exact(profile.runtime.per_step.value) * NS_PER_S
        self._layer_overhead_ns, self._step_overhead_ns = ceil_ns(self._per_layer_ns), ceil_ns(self._per_step_ns)
        bandwidth = exact(gpu.bandwidth.value) * exact(gpu.bandwidth_efficiency.value)
        flops = exact(gpu.flops[self.compute_dtype].value) * exact(gpu.flops_efficiency.value)
        launch_ns = exact(gpu.launch.value) * NS_PER_S
        # Whole multiples of one small unit of time: exact, and many times faster than fractions.
        rates = (NS_PER_S / bandwidth, NS_PER_S / flops, launch_ns, self._per_layer_ns, self._per_step_ns)
        self._units_per_ns = lcm(*(rate.denominator for rate in rates))
        units = [int(rate * self._units_per_ns) for rate in rates]
        self._units_per_byte, self._units_per_flop, self._launch_units, self._layer_units, self._step_units = units
        self._expert_bytes, self._head_bytes = expert_bytes(model), head_bytes(model)
        self._expert_ns: dict[int, int] = {}
        layer_classes = self._classify_layers()
        self._classes = list(dict.fromkeys(layer_classes))
        # The layers before each gate, and those after the last, as groups of classes; alike ones are costed once.
        groups = _split_at_gates([(self._classes.index(kind), kind.is_moe) for kind in layer_classes])
        self._layer_groups = list(dict.fromkeys(groups))
        *self._group_of_round, self._group_of_tail = [self._layer_groups.index(group) for group in groups]
        overhead_ns = [self._layer_overhead_ns * len(group) for group in groups]
        self._lead_overhead_ns, self._tail_overhead_ns = overhead_ns[:-1], overhead_ns[-1] + self._step_overhead_ns
        self._step_costs: dict[int, StepCosts] = {}
        self._steps_are_stated = self._is_stated()
        self._flops_per_attended = _attention_flops(model)
        self._stated_layer_ns: dict[tuple[int, int, int], int] = {}
        self.stall_overhead_ns = _overhead_ns(profile.runtime.per_stall)
        self.cpu_join_overhead_ns = _overhead_ns(profile.runtime.per_cpu_join)
        self.beside_cpu_ppm = _ppm(profile.runtime.slowed_by_cpu_experts)
        self.lookahead_ns = _overhead_ns(profile.runtime.per_lookahead)
        self.slowed_ppm = _ppm(profile.runtime.slowed_by_copies)
        self.cpu_slowed_ppm = _ppm(profile.cpu.slowed_by_copies)
        self.kernels_are_grouped = profile.runtime.expert_kernels == "grouped"
        self.chunk_ends_ns = transfer_chunks_ns(profile, self._expert_bytes)
        self.read_chunk_ends_ns: Sequence[int] = read_chunks_ns(profile, self._expert_bytes) if reads_nvme else ()
        self._low: RooflineCosts | None = None
        self._low_expert_ns: dict[int, int] = {}
        self.low_expert_bytes = 0
        self.low_chunk_ends_ns: Sequence[int] = ()
        if low_format is not None:
            self._low = RooflineCosts(replace(model, expert_quantisation=low_format), profile, kv_cache)
            self.low_expert_bytes, self.low_chunk_ends_ns = self._low.expert_bytes, self._low.chunk_ends_ns

    @property
    def write_back_ns(self) -> int:
        """One expert's transfer back to the host, over an idle link."""
        return self._cpu.write_back_ns(self._expert_bytes)

    def kv_copy_ns(self, num_bytes: int, *, to_host: bool) -> int:
        """KV cache on its way over an idle link, in one copy."""
        return self._cpu.write_back_ns(num_bytes) if to_host else self._cpu.to_gpu_ns(num_bytes)

    @property
    def memory_demands(self) -> MemoryDemands | None:
        """What copies and the CPU's experts draw on host memory; None where its bandwidth suffices for all at once."""
        profile, factors = self._profile, TrafficFactors()
        of_copy = factors.of_copy(is_pageable=profile.link.host_memory == "pageable")
        demands = MemoryDemands(
            bandwidth=int(profile.host.bandwidth.value),
            h2d=demand_bytes_per_s(self._expert_bytes, max(1, self.transfer_ns), of_copy),
            low_h2d=demand_bytes_per_s(self.low_expert_bytes, max(1, self.low_chunk_ends_ns[-1]), of_copy)
            if self.low_expert_bytes
            else 0,
            d2h=demand_bytes_per_s(self._expert_bytes, max(1, self.write_back_ns), of_copy),
            cpu_expert=lambda duration_ns: demand_bytes_per_s(
                self._expert_bytes, max(1, duration_ns), factors.cpu_expert
            ),
            nvme=demand_bytes_per_s(self._expert_bytes, max(1, self.read_chunk_ends_ns[-1]), factors.copy)
            if self.read_chunk_ends_ns
            else 1,
        )
        workers = [demands.cpu_expert(self.cpu_expert_ns(1))] * self.num_cpu_workers if self._cpu.is_known else []
        reads = [demands.nvme] if self.read_chunk_ends_ns else []
        together = [max(demands.h2d, demands.low_h2d), demands.d2h, *workers, *reads]
        return demands if is_ever_short(demands.bandwidth, together) else None

    @property
    def expert_bytes(self) -> int:
        """The bytes of one expert."""
        return self._expert_bytes

    @property
    def transfer_ns(self) -> int:
        """One expert's transfer over an idle link."""
        return self.chunk_ends_ns[-1]

    @property
    def num_cpu_workers(self) -> int:
        """How many experts the host's processor computes at once."""
        return self._cpu.num_workers

    def expert_ns(self, num_tokens: int) -> int:
        """One expert's kernel on `num_tokens` tokens."""
        known = self._expert_ns.get(num_tokens)
        if known is None:
            if self._expert is not None:
                known = ceil_ns(self._expert.ns(num_tokens, self._expert_bytes))
            else:
                known = self._kernel_ns(self._expert_bytes, 2 * params_per_expert(self._model) * num_tokens)
            self._expert_ns[num_tokens] = known
        return known

    def low_expert_ns(self, num_tokens: int) -> int:
        """The kernel of a low-precision copy: as stated, or as fast as its bytes allow."""
        assert self._low is not None, "there are no low-precision copies"
        if self._low_expert is None:
            return self._low.expert_ns(num_tokens)
        known = self._low_expert_ns.get(num_tokens)
        if known is None:
            known = self._low_expert_ns[num_tokens] = ceil_ns(self._low_expert.ns(num_tokens, self.low_expert_bytes))
        return known

    def group_ns(self, num_tokens: Sequence[int]) -> int:
        """One kernel over several experts: one launch for all; stated durations add up."""
        if self._expert is not None:
            each_ns = (self._expert.ns(tokens, self._expert_bytes) for tokens in num_tokens)
            return ceil_ns(sum(each_ns, Fraction(0)))
        num_bytes, tokens = len(num_tokens) * self._expert_bytes, sum(num_tokens)
        return self._kernel_ns(num_bytes, 2 * params_per_expert(self._model) * tokens)

    def cpu_expert_ns(self, num_tokens: int) -> int:
        """One expert on `num_tokens` tokens on one worker of the host's processor."""
        return self._cpu.expert_ns(num_tokens)

    def activation_ns(self, num_tokens: int) -> int:
        """The states of `num_tokens` tokens to the host and the results back."""
        return self._cpu.activation_ns(num_tokens)

    def step(self, step: Step) -> StepCosts:
        """The non-expert work of a step."""
        if self._steps_are_stated:
            num_tokens = len(step.tokens)
            known = self._step_costs.get(num_tokens)
            if known is None:
                known = self._step_costs[num_tokens] = self._compute_step(step)
            return known
        return self._compute_step(step)

    def _is_stated(self) -> bool:
        """Whether a step's costs depend on its number of tokens alone."""
        layers_are_stated = all(self._stated_layer(kind) is not None for kind in self._classes)
        return layers_are_stated and self._step is not None and self._context is None

    def _stated_layer(self, kind: _LayerClass) -> StatedDuration | None:
        return self._layer if kind.is_moe else self._dense_layer

    def _compute_step(self, step: Step) -> StepCosts:
        class_ns = [self._layer_ns(kind, step) for kind in self._classes]
        group_ns = [sum(class_ns[index] for index in group) for group in self._layer_groups]
        return StepCosts(
            lead_ns=[group_ns[group] for group in self._group_of_round],
            lead_overhead_ns=self._lead_overhead_ns,
            tail_ns=group_ns[self._group_of_tail] + self._step_ns(step),
            tail_overhead_ns=self._tail_overhead_ns,
        )

    def _layer_ns(self, kind: _LayerClass, step: Step) -> int:
        duration = self._stated_layer(kind)
        if duration is not None and self._context is None:
            return self._ns_of_stated_layer(duration, kind, len(step.tokens), 0)
        total, cached = self._attended(kind, step)
        if duration is not None:
            return self._ns_of_stated_layer(duration, kind, len(step.tokens), total)
        num_bytes = (
            kind.weight_bytes + cached * kind.kv_bytes + 2 * len(step.requests) * kind.state_bytes  # read and written
        )
        flops = 2 * kind.params * len(step.tokens) + self._flops_per_attended * total
        return self._kernel_ns(num_bytes, flops, self._layer_units)

    def _attended(self, kind: _LayerClass, step: Step) -> tuple[int, int]:
        """Return (tokens attended to, summed over the step's tokens; tokens whose keys and values are read)."""
        contexts, layer = step.contexts, kind.representative
        if isinstance(contexts, Contexts):
            return attended(self._model, layer, contexts)
        each = [attended_tokens(self._model, layer, context) for context in contexts]
        return sum(each), each[-1] if step.is_prefill else sum(each)

    def _ns_of_stated_layer(self, stated: StatedDuration, kind: _LayerClass, num_tokens: int, attended: int) -> int:
        key = kind.representative, num_tokens, attended
        known = self._stated_layer_ns.get(key)
        if known is None:
            context_ns = self._context.ns(attended) if self._context is not None else Fraction(0)
            known = ceil_ns(stated.ns(num_tokens, kind.weight_bytes) + context_ns + self._per_layer_ns)
            if len(self._stated_layer_ns) >= _MOST_KNOWN_LAYERS:
                self._stated_layer_ns.clear()
            self._stated_layer_ns[key] = known
        return known

    def _step_ns(self, step: Step) -> int:
        if self._step is not None:
            return ceil_ns(self._step.ns(len(step.tokens), self._head_bytes) + self._per_step_ns)
        if not step.emits:
            return self._step_overhead_ns
        return self._kernel_ns(
            self._head_bytes, 2 * output_head_params(self._model) * len(step.emits), self._step_units
        )

    def _kernel_ns(self, num_bytes: int, flops: int, overhead_units: int = 0) -> int:
        """Return the roofline's duration of one kernel with its launch and an overhead, rounded up."""
        units = (
            max(num_bytes * self._units_per_byte, flops * self._units_per_flop) + self._launch_units + overhead_units
        )
        return -(-units // self._units_per_ns)

    def _classify_layers(self) -> list[_LayerClass]:
        model = self._model
        bytes_per_value = self._kv_bytes_per_value
        first_of: dict[tuple[object, ...], int] = {}
        classes = []
        for layer in range(model.num_layers):
            params = non_expert_layer_params(model, layer)
            traits = (
                is_moe_layer(model, layer),
                params,
                bytes_of(params, self._rest),
                kv_bytes_per_token(model, layer, bytes_per_value),
                state_bytes(model, layer, bytes_per_value),
            )
            representative = first_of.setdefault((*traits, attention_kind(model, layer)), layer)
            classes.append(_LayerClass(*traits, representative))
        return classes


def _overhead_ns(overhead: Figure | None) -> int:
    return 0 if overhead is None else ceil_ns(exact(overhead.value) * NS_PER_S)


def _ppm(share: Figure | None) -> int:
    """Return a share below 1 in whole millionths, below a million."""
    return 0 if share is None else int(exact(share.value) * PPM)


def _split_at_gates(layers: Sequence[tuple[int, bool]]) -> list[tuple[int, ...]]:
    """Gather (class, is MoE) of all layers into groups that end with a MoE layer; the last group is what follows them."""
    groups: list[tuple[int, ...]] = [()]
    for index, is_moe in layers:
        groups[-1] += (index,)
        if is_moe:
            groups.append(())
    return groups


def _attention_flops(model: ModelSpec) -> int:
    """Return the FLOP of one attended token in one layer: scores and weighted sum, over all heads.

    MLA in its absorbed form works on the latent: d_qk is the latent and the rotary part, d_v the latent.
    Source: DeepSeek-V2 paper, 2.1 and appendix C.
    """
    if model.kv_lora_rank:
        query_key, value = model.kv_lora_rank + (model.qk_rope_head_dim or 0), model.kv_lora_rank
    else:
        query_key = value = model.head_dim or 0
    return 2 * model.num_heads * (query_key + value)
