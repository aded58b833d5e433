"""Experts on the host's processor and the way of their activations, against the formulas."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.errors import InputError
from hardware_profiles.link_presets import resolve_link
from hardware_profiles.load import load_profile
from simulator.costs.roofline import RooflineCosts
from simulator.model import footprint
from simulator.model.load import load_model
from simulator.model.quantisation import parse_quantisation

BF16 = parse_quantisation("bf16")
SPEC = load_model("gpt-oss-20b")


def costs(machine: str, overrides: dict[str, object] | None = None) -> RooflineCosts:
    """Make the cost model of gpt-oss-20b on a machine."""
    return RooflineCosts(SPEC, load_profile(machine, overrides or {}), BF16)


def written(value: float) -> Fraction:
    """Return a figure as the decimal that it was written as."""
    return Fraction(repr(value))


def up(duration_s: Fraction) -> int:
    """Return seconds as nanoseconds, rounded up."""
    duration_ns = duration_s * 10**9
    return -(-duration_ns.numerator // duration_ns.denominator)


@pytest.mark.parametrize(("machine", "dtype"), [("h100", "bf16"), ("rtx-4090", None), ("t4", None)])
def test_experts_by_the_roofline(machine: str, dtype: str | None) -> None:
    """max(bytes / expert_bandwidth, 2 params n / FLOP/s): by memory for few tokens, by arithmetic for many."""
    cpu = load_profile(machine).cpu
    dtype = dtype or ("bf16" if "bf16" in cpu.flops else "fp32")
    bandwidth, flops = written(cpu.expert_bandwidth.value), written(cpu.flops[dtype].value)
    num_bytes, params = footprint.expert_bytes(SPEC), footprint.params_per_expert(SPEC)
    found = costs(machine)
    for tokens in (1, 2, 50, 4096):
        assert found.cpu_expert_ns(tokens) == up(max(num_bytes / bandwidth, 2 * params * tokens / flops))
    assert found.cpu_expert_ns(1) == up(num_bytes / bandwidth)
    assert found.cpu_expert_ns(4096) == up(2 * params * 4096 / flops)


def test_a_table_takes_the_place_of_the_roofline() -> None:
    """And scales with the bytes of the experts: 13,219,200 here, twice the stated ones."""
    table = {"tokens": [1, 5], "time": ["1 ms", "1.4 ms"], "kind": "measured", "source": "a test"}
    assert [costs("t4", {"durations.cpu_expert": table}).cpu_expert_ns(n) for n in (1, 2, 9)] == [
        1_000_000,
        1_100_000,
        1_800_000,
    ]
    weighed = {**table, "weights": "6609600 B"}
    assert costs("t4", {"durations.cpu_expert": weighed}).cpu_expert_ns(2) == 2_200_000


@pytest.mark.parametrize("machine", ["rtx-4090", "gh200", "jetson-agx-orin-64gb"])
def test_activations_go_both_ways(machine: str) -> None:
    """A latency and n rows of 2880 values of 2 bytes each way, each way at its own speed, rounded once."""
    overrides: dict[str, object] = {"link.d2h.latency": "3.3 us"}
    link = load_profile(machine, overrides).link
    d2h, h2d = resolve_link(link.d2h), resolve_link(link.h2d)
    for tokens in (1, 7, 1000):
        num_bytes = tokens * 2880 * 2
        expected_s = written(h2d.latency.value) + num_bytes / written(h2d.bandwidth.value)
        expected_s += Fraction(33, 10**7) + num_bytes / written(d2h.bandwidth.value)
        assert costs(machine, overrides).activation_ns(tokens) == up(expected_s)


def test_activations_have_four_bytes_where_fp32_is_computed() -> None:
    """A GPU with a peak for nothing else: twice the bytes."""
    profile = load_profile("fixed-costs")
    only_fp32 = replace(profile, gpu=replace(profile.gpu, flops={"fp32": profile.gpu.flops["fp32"]}))
    for machine, num_bytes in ((profile, 2), (only_fp32, 4)):
        found = RooflineCosts(SPEC, machine, BF16)
        assert found.activation_ns(1000) == up(Fraction(2 * 1000 * 2880 * num_bytes, 25 * 10**9))


@settings(derandomize=True, deadline=None, max_examples=50)
@given(fewer=st.integers(1, 5000), more=st.integers(0, 5000))
def test_more_tokens_never_take_less(fewer: int, more: int) -> None:
    """On the processor and on the way there."""
    assert ON_4090.cpu_expert_ns(fewer) <= ON_4090.cpu_expert_ns(fewer + more)
    assert ON_4090.activation_ns(fewer) <= ON_4090.activation_ns(fewer + more)


ON_4090 = costs("rtx-4090")


def test_workers() -> None:
    """One, unless the profile says how many."""
    assert costs("t4").num_cpu_workers == 1
    assert costs("t4", {"runtime.cpu_workers": "12 workers"}).num_cpu_workers == 12


def test_a_processor_without_a_peak_is_refused_when_it_is_asked() -> None:
    """Not before: a run that leaves the processor alone needs none; nor does one with a stated time."""
    profile = load_profile("t4")
    without = replace(profile, cpu=replace(profile.cpu, flops={}))
    found = RooflineCosts(SPEC, without, BF16)
    with pytest.raises(InputError, match=r"cpu\.flops: gives none of bf16, fp16, fp32"):
        found.cpu_expert_ns(1)
    stated = load_profile("t4", {"durations.cpu_expert": "1 ms"}).durations
    assert RooflineCosts(SPEC, replace(without, durations=stated), BF16).cpu_expert_ns(1) == 1_000_000
