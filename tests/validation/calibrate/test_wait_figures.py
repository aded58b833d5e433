"""What waiting costs, found again in passes that follow the law that the measurement states."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil

import pytest
import torch
import transformers

from hardware_profiles.profile import Link, Links
from hardware_profiles.quantity import Dimension
from validation.calibrate.evidence import Evidence, measured
from validation.calibrate.facts import Facts, read_facts
from validation.calibrate.measure.cpu_experts import TOGETHER, measure_cpu_experts
from validation.calibrate.measure.waits import measure_waits
from validation.calibrate.robust import Series
from validation.calibrate.samples import Samples, Taken
from validation.calibrate.subject import Subject
from validation.calibrate.wait_figures import (
    cpu_slowed_by_copies,
    per_cpu_join,
    per_lookahead,
    per_stall,
    slowed_by_copies,
    slowed_by_cpu_experts,
)
from validation.models.random import random_model
from validation.runtime.device import open_device

LAYERS, TOP_K, HIDDEN = 3, 4, 32
LAYER_S, EXPERT_S, STEP_S, STALL_S, JOIN_S, LOOKAHEAD_S = 2e-3, 1e-3, 5e-4, 3e-4, 4e-4, 8e-5
SLOWED_FRAC, CPU_SLOWED_FRAC, BESIDE_FRAC = 0.125, 0.0625, 0.1875
LATENCY_S, BYTES_PER_S = 1e-5, 1e9


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A tiny Mixtral of four experts per token, on the CPU."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    transformers.MixtralConfig(
        architectures=["MixtralForCausalLM"],
        vocab_size=97,
        hidden_size=HIDDEN,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=8,
        num_experts_per_tok=TOP_K,
        max_position_embeddings=256,
    ).save_pretrained(folder)
    device = open_device("cpu")
    offloaded = random_model(folder, device, torch.float32, 0)
    return Subject(offloaded=offloaded, device=device, threads=1, cpu_workers=1, max_tokens=8, max_batch=2)


@pytest.fixture(scope="module")
def links() -> Links:
    """Both directions alike."""
    link = Link(
        bandwidth=measured(BYTES_PER_S, Dimension.BYTES_PER_S, "made up"),
        latency=measured(LATENCY_S, Dimension.SECONDS, "made up"),
    )
    return Links(h2d=link, d2h=link)


def cpu_s(cpu_expert_s: float, *, count: int, workers: int) -> float:
    """The time of experts on the CPU, and of their states and results on the way."""
    return ceil(count / workers) * cpu_expert_s + 2 * (LATENCY_S + count * HIDDEN * 4 / BYTES_PER_S)


def evidence_of(
    subject: Subject,
    facts: Facts,
    *,
    cpu_expert_s: float,
    transfer_s: float,
    stated_s: float,
    join_s: float = JOIN_S,
    cpu_slowed_frac: float = CPU_SLOWED_FRAC,
    beside_frac: float = BESIDE_FRAC,
) -> Evidence:
    """Return passes by the law: `transfer_s` is what a transfer takes, `stated_s` what the samples say of it.

    `cpu_expert_s` is an expert on a worker while the device waits.
    """
    waits, crowded = measure_waits(subject, throttle_bytes_per_s=1e9)
    together = next(one for one in measure_cpu_experts(subject, ()) if one.name == TOGETHER)

    def sample(at: Mapping[str, float]) -> Mapping[str, float]:
        if "on_cpu" not in at:
            return {"time": cpu_expert_s * at["tokens"]}
        fetched, on_cpu = at["fetched"], round(at["on_cpu"])
        visit_s = (TOP_K - on_cpu) * EXPERT_S
        if fetched:
            visit_s = fetched * transfer_s + EXPERT_S + STALL_S
        if on_cpu:
            both_s = min(visit_s, on_cpu / subject.cpu_workers * cpu_expert_s)
            visit_s = max(visit_s, cpu_s(cpu_expert_s, count=on_cpu, workers=subject.cpu_workers))
            visit_s += join_s + beside_frac * both_s
        speed_frac = 1 - SLOWED_FRAC if at["copies"] else 1
        times = {
            "pass": (LAYERS * (LAYER_S + visit_s) + STEP_S) / speed_frac,
            "expert": EXPERT_S,
            "misses": fetched + on_cpu,
            "transfer": stated_s,
        }
        if on_cpu:
            times["cpu_expert"] = cpu_expert_s * (1 + beside_frac) / (1 - (cpu_slowed_frac if at["copies"] else 0))
        return times | ({"lookahead": LOOKAHEAD_S} if at["looks_ahead"] else {})

    taken = {
        measurement.name: Taken(
            series=[
                Series(at=at, samples={name: [value] * 3 for name, value in sample(at).items()})
                for at in measurement.grid
            ],
            began="2026-01-01T00:00:00+00:00",
            took_s=1.0,
        )
        for measurement in (waits, crowded, together)
    }
    return Evidence(Samples(identity={}, taken=taken), facts)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("cpu_expert_s", [1e-4, 5e-3])
def test_the_cost_of_waiting_is_found_again(subject: Subject, links: Links, workers: int, cpu_expert_s: float) -> None:
    """Whether the device or the CPU ends last, with a stated link or the device's own."""
    subject = replace(subject, cpu_workers=workers)
    facts = read_facts(subject, model="tiny", dtype="float32", reserve_bytes=1)
    own_s = LATENCY_S + facts.weights.expert / BYTES_PER_S
    for transfer_s, stated_s in ((5e-3, 5e-3), (own_s, 0.0)):
        evidence = evidence_of(subject, facts, cpu_expert_s=cpu_expert_s, transfer_s=transfer_s, stated_s=stated_s)
        assert per_stall(evidence, facts, subject, links).value == pytest.approx(STALL_S, rel=2e-3)
        join = per_cpu_join(evidence, subject, links)
        assert join.value == pytest.approx(JOIN_S, rel=2e-3)
        assert "all experts on the CPU" in join.source
        beside = slowed_by_cpu_experts(evidence, subject, links)
        assert beside is not None
        assert beside.value == pytest.approx(BESIDE_FRAC, rel=2e-3)
        assert "half of the experts on the CPU" in beside.source
        lookahead = per_lookahead(evidence)
        assert lookahead is not None
        assert lookahead.value == LOOKAHEAD_S
        assert slowed_by_copies(evidence).value == pytest.approx(SLOWED_FRAC)
        assert cpu_slowed_by_copies(evidence).value == pytest.approx(CPU_SLOWED_FRAC, rel=1e-3)
        assert "on CPU workers" in cpu_slowed_by_copies(evidence).source


def test_no_cost_is_below_nothing(subject: Subject, links: Links) -> None:
    """Where passes with the CPU are faster than the parts that they are made of, or its experts faster beside copies."""
    facts = read_facts(subject, model="tiny", dtype="float32", reserve_bytes=1)
    evidence = evidence_of(
        subject,
        facts,
        cpu_expert_s=5e-3,
        transfer_s=5e-3,
        stated_s=5e-3,
        join_s=-1e-3,
        cpu_slowed_frac=-0.25,
        beside_frac=-0.25,
    )
    beside = slowed_by_cpu_experts(evidence, subject, links)
    assert beside is not None
    assert beside.value == 0
    assert per_cpu_join(evidence, subject, links).value == 0
    assert cpu_slowed_by_copies(evidence).value == 0
