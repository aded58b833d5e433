"""The roofline model against its formulas, worked out directly with fractions from the figures as they were written."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.link_presets import resolve_link
from hardware_profiles.load import load_profile
from hardware_profiles.profile import Figure, HardwareProfile
from hardware_profiles.quantity import Dimension, parse_quantity
from simulator.costs.roofline import RooflineCosts
from simulator.model import footprint
from simulator.model.load import load_model
from simulator.model.quantisation import parse_quantisation
from simulator.model.spec import ModelSpec, is_moe_layer
from simulator.workload.step import Step
from tests.costs.steps import decode, prefill

MODELS = ("gpt-oss-20b", "mixtral-8x7b", "deepseek-v2-lite", "qwen3.5-35b-a3b", "llama-4-maverick", "switch-base-8")
MACHINES = ("rtx-4090", "h100", "t4", "jetson-agx-orin-64gb")
BF16 = parse_quantisation("bf16")
STEPS = (decode([1]), decode([700]), decode([5, 9000, 131]), prefill(300), prefill(64, first_context=500, emits=False))

Overrides = dict[str, object]


def written(figure: Figure, dimension: Dimension) -> Fraction:
    """Return a figure as it stands in the file, in base units."""
    return Fraction(parse_quantity(figure.text, dimension))


def up(duration_s: Fraction) -> int:
    """Return seconds as nanoseconds, rounded up."""
    duration_ns = duration_s * 10**9
    return -(-duration_ns.numerator // duration_ns.denominator)


class Formulas:
    """The module's formulas for one model on one machine, in seconds."""

    def __init__(self, model: ModelSpec, profile: HardwareProfile) -> None:
        gpu = profile.gpu
        self.model = model
        flops = gpu.flops["bf16"] if "bf16" in gpu.flops else gpu.flops["fp16"]
        self.bandwidth = written(gpu.bandwidth, Dimension.BYTES_PER_S) * written(
            gpu.bandwidth_efficiency, Dimension.FRACTION
        )
        self.flops = written(flops, Dimension.FLOPS) * written(gpu.flops_efficiency, Dimension.FRACTION)
        self.launch = written(gpu.launch, Dimension.SECONDS)
        self.per_layer = written(profile.runtime.per_layer, Dimension.SECONDS)
        self.per_step = written(profile.runtime.per_step, Dimension.SECONDS)

    def kernel(self, num_bytes: int, flops: int) -> Fraction:
        """The larger of memory time and arithmetic time, and a launch."""
        return max(num_bytes / self.bandwidth, flops / self.flops) + self.launch

    def expert(self, num_tokens: int) -> Fraction:
        """max(bytes / bandwidth, 2 params n / FLOP/s) + launch."""
        return self.kernel(footprint.expert_bytes(self.model), 2 * footprint.params_per_expert(self.model) * num_tokens)

    def layer(self, layer: int, step: Step) -> Fraction:
        """max((weights + KV read) / bandwidth, (2 params n + attention) / FLOP/s) + launch + per_layer."""
        model = self.model
        params = footprint.non_expert_layer_params(model, layer)
        weights = footprint.bytes_of(params, parse_quantisation(model.rest_quantisation))
        attended = [footprint.attended_tokens(model, layer, context) for context in step.contexts]
        read = attended[-1] if step.is_prefill else sum(attended)
        states = 2 * len(step.requests) * footprint.state_bytes(model, layer, 2)
        if model.kv_lora_rank:
            per_head = 2 * model.kv_lora_rank + (model.qk_rope_head_dim or 0)
        else:
            per_head = 2 * (model.head_dim or 0)
        return self.per_layer + self.kernel(
            weights + read * footprint.kv_bytes_per_token(model, layer, 2) + states,
            2 * params * len(step.tokens) + 2 * model.num_heads * per_head * sum(attended),
        )

    def head(self, step: Step) -> Fraction:
        """max(bytes / bandwidth, 2 params outputs / FLOP/s) + launch + per_step; no head where nothing comes out."""
        if not step.emits:
            return self.per_step
        params = footprint.embedding_params(self.model)
        num_bytes = footprint.bytes_of(params, parse_quantisation(self.model.embedding_quantisation))
        return self.per_step + self.kernel(num_bytes, 2 * params * len(step.emits))


def costs_of(model: str, machine: str, overrides: Overrides | None = None) -> tuple[RooflineCosts, Formulas]:
    """Make the cost model of a model on a machine, and the formulas next to it."""
    spec, profile = load_model(model), load_profile(machine, overrides or {})
    return RooflineCosts(spec, profile, BF16), Formulas(spec, profile)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("machine", MACHINES)
def test_experts_and_transfers(model: str, machine: str) -> None:
    """Kernels on few and many tokens, memory-bound and compute-bound, one and several at once; one expert's transfer."""
    costs, formulas = costs_of(model, machine)
    for num_tokens in (1, 2, 7, 64, 500, 4096):
        assert costs.expert_ns(num_tokens) == up(formulas.expert(num_tokens))
    spec = load_model(model)
    num_bytes, params = footprint.expert_bytes(spec), footprint.params_per_expert(spec)
    assert costs.group_ns([1, 3, 900]) == up(formulas.kernel(3 * num_bytes, 2 * params * 904))
    link = resolve_link(load_profile(machine).link.h2d)
    bandwidth, latency = Fraction(repr(link.bandwidth.value)), Fraction(repr(link.latency.value))
    assert costs.transfer_ns == up(latency + num_bytes / bandwidth)
    assert costs.chunk_ends_ns == (costs.transfer_ns,)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("machine", MACHINES)
def test_steps(model: str, machine: str) -> None:
    """Each layer's time is rounded by itself; dense layers count towards the next gate, or the tail."""
    overheads: Overrides = {"runtime.per_layer": "12.3 us", "runtime.per_step": "0.7 us"}
    costs, formulas = costs_of(model, machine, overheads)
    spec = formulas.model
    for step in STEPS:
        lead_ns, lead_overhead_ns = [0], [0]
        for layer in range(spec.num_layers):
            lead_ns[-1] += up(formulas.layer(layer, step))
            lead_overhead_ns[-1] += 12_300
            if is_moe_layer(spec, layer):
                lead_ns.append(0)
                lead_overhead_ns.append(0)
        found = costs.step(step)
        assert list(found.lead_ns) == lead_ns[:-1]
        assert list(found.lead_overhead_ns) == lead_overhead_ns[:-1]
        assert found.tail_ns == lead_ns[-1] + up(formulas.head(step))
        assert found.tail_overhead_ns == lead_overhead_ns[-1] + 700


@pytest.mark.parametrize("model", MODELS)
@settings(derandomize=True, deadline=None, max_examples=25)
@given(fewer=st.integers(1, 3000), more=st.integers(0, 3000), contexts=st.lists(st.integers(1, 9000), min_size=1))
def test_more_tokens_never_take_less(model: str, fewer: int, more: int, contexts: list[int]) -> None:
    """Experts with more tokens, prefills of more tokens, and batches with one more sequence."""
    costs = COSTS_ON_4090[model]
    assert costs.expert_ns(fewer) <= costs.expert_ns(fewer + more)
    for less, most in (
        (prefill(fewer), prefill(fewer + more)),
        (decode(contexts[:-1]), decode(contexts)),
    ):
        small, large = costs.step(less), costs.step(most)
        if less.tokens:
            assert all(a <= b for a, b in zip(small.lead_ns, large.lead_ns, strict=True))
            assert small.tail_ns <= large.tail_ns


COSTS_ON_4090 = {model: costs_of(model, "rtx-4090")[0] for model in MODELS}


@pytest.mark.parametrize("model", MODELS)
@settings(derandomize=True, deadline=None, max_examples=25)
@given(context=st.integers(1, 8000), longer=st.integers(0, 100_000))
def test_a_longer_context_never_takes_less(model: str, context: int, longer: int) -> None:
    """Unless a layer attends in chunks, where a new chunk begins with little to attend to."""
    if "chunked" in load_model(model).attention_pattern:
        context, longer = min(context, 4000), min(longer, 4000)
    costs = COSTS_ON_4090[model]
    short, long = costs.step(decode([context])), costs.step(decode([context + longer]))
    assert all(a <= b for a, b in zip(short.lead_ns, long.lead_ns, strict=True))


@pytest.mark.parametrize(
    ("chunk", "num_chunks"), [("4 MiB", 4), ("100 MB", 1), ("13219200 B", 1), ("13219199 B", 2), ("6609600 B", 2)]
)
def test_chunks_of_a_transfer(chunk: str, num_chunks: int) -> None:
    """Ends ascend by a chunk's bytes over the bandwidth, latency first; the whole takes as long as without chunks.

    An expert of gpt-oss-20b has 13,219,200 bytes.
    """
    costs, _ = costs_of("gpt-oss-20b", "rtx-4090", {"link.h2d.chunk": chunk, "link.h2d.latency": "9 us"})
    whole, formulas = costs_of("gpt-oss-20b", "rtx-4090", {"link.h2d.latency": "9 us"})
    num_bytes = footprint.expert_bytes(formulas.model)
    assert num_bytes == 13_219_200
    assert costs.transfer_ns == whole.transfer_ns
    assert len(costs.chunk_ends_ns) == num_chunks
    bandwidth = Fraction(repr(resolve_link(load_profile("rtx-4090").link.h2d).bandwidth.value))
    each = int(parse_quantity(chunk, Dimension.BYTES))
    for number, end_ns in enumerate(costs.chunk_ends_ns, start=1):
        sent = min(number * each, num_bytes)
        assert end_ns == up(Fraction(9, 10**6) + sent / bandwidth)


def test_fixed_costs() -> None:
    """The machine without a machine: 100 us an expert, 200 us a layer, 150 us a dense one, 50 us a step, 1 ms a copy."""
    costs, _ = costs_of("deepseek-v2-lite", "fixed-costs")
    assert [costs.expert_ns(tokens) for tokens in (1, 5, 500)] == [100_000] * 3
    assert costs.group_ns([1, 5, 500]) == 300_000
    assert costs.chunk_ends_ns == (1_000_000,)
    for step in STEPS:
        found = costs.step(step)
        assert list(found.lead_ns) == [350_000, *[200_000] * 25]  # the first layer is dense
        assert (found.tail_ns, found.tail_overhead_ns) == (50_000, 0)


def test_overheads_come_on_top_of_stated_durations() -> None:
    """per_layer for each layer, dense ones included, per_step once."""
    overheads: Overrides = {"runtime.per_layer": "10 us", "runtime.per_step": "5 us"}
    found = costs_of("deepseek-v2-lite", "fixed-costs", overheads)[0].step(decode([1]))
    assert list(found.lead_ns) == [370_000, *[210_000] * 25]
    assert list(found.lead_overhead_ns) == [20_000, *[10_000] * 25]
    assert (found.tail_ns, found.tail_overhead_ns) == (55_000, 5_000)


@pytest.mark.parametrize(("share", "ppm"), [("0 %", 0), ("12.5 %", 125_000), ("0.9999999 of 1", 999_999)])
def test_what_copies_and_the_cpu_take_from_the_speed(share: str, ppm: int) -> None:
    """In whole millionths, never all; nothing where the machine does not say. The stream's and the CPU's are two."""
    without, _ = costs_of("deepseek-v2-lite", "fixed-costs")
    assert (without.slowed_ppm, without.cpu_slowed_ppm, without.beside_cpu_ppm) == (0, 0, 0)
    stream, _ = costs_of("deepseek-v2-lite", "fixed-costs", {"runtime.slowed_by_copies": share})
    assert (stream.slowed_ppm, stream.cpu_slowed_ppm, stream.beside_cpu_ppm) == (ppm, 0, 0)
    cpu, _ = costs_of("deepseek-v2-lite", "fixed-costs", {"cpu.slowed_by_copies": share})
    assert (cpu.slowed_ppm, cpu.cpu_slowed_ppm, cpu.beside_cpu_ppm) == (0, ppm, 0)
    both, _ = costs_of("deepseek-v2-lite", "fixed-costs", {"runtime.slowed_by_cpu_experts": share})
    assert (both.slowed_ppm, both.cpu_slowed_ppm, both.beside_cpu_ppm) == (0, 0, ppm)


def test_a_stated_transfer_is_divided_by_bytes() -> None:
    """A constant of 1 ms in chunks of 4 MiB: each chunk its share, rounded up."""
    costs, _ = costs_of("gpt-oss-20b", "fixed-costs", {"link.h2d.chunk": "4 MiB"})
    assert costs.chunk_ends_ns == tuple(
        -(-(10**6) * sent // 13_219_200) for sent in (4 << 20, 8 << 20, 12 << 20, 13_219_200)
    )


def test_measured_tables_take_the_place_of_the_roofline() -> None:
    """Experts by tokens, transfers by bytes, layers and steps by tokens of the step."""
    measured = {"kind": "measured", "source": "a test"}
    costs, _ = costs_of(
        "gpt-oss-20b",
        "rtx-4090",
        {
            "durations.expert": {"tokens": [1, 11], "time": ["10 us", "15 us"], **measured},
            "durations.layer": {"tokens": [1, 3], "time": ["20 us", "22 us"], **measured},
            "durations.step": {"tokens": [1, 2], "time": ["7 us", "7.5 us"], **measured},
            "durations.transfer": {"bytes": ["1 MB", "11 MB"], "time": ["0.1 ms", "1.1 ms"], **measured},
        },
    )
    assert [costs.expert_ns(tokens) for tokens in (1, 2, 11, 21)] == [10_000, 10_500, 15_000, 20_000]
    assert costs.group_ns([1, 2]) == 20_500
    assert costs.transfer_ns == 1_321_920
    found = costs.step(decode([9, 9]))
    assert set(found.lead_ns) == {21_000}
    assert found.tail_ns == 7_500
