"""The quick plan: memory that adds up, speeds in their order, knobs that do what they say."""

from dataclasses import replace
from pathlib import Path

import pytest

from hardware_profiles.errors import InputError
from simulator.plan.quick import QuickPlan, gain, plain, quick_plan
from simulator.plan.quick_knobs import knobs
from simulator.plan.quick_memory import memory_of
from simulator.plan.quick_question import Question, model_of, profile_of, read_format
from simulator.plan.quick_report import verdict
from tests.hand_made import make_trace, random_routing

NANO = Path(__file__).parents[2] / "traces" / "nano" / "trace.safetensors"
QUESTION = Question(
    model="moesim-nano", gpu="rtx-4090", vram="1100 MiB", ram="8 GiB", pcie="gen3x16", context_tokens=512
)


def asked(question: Question, trace: Path | None = None, **parameters: float) -> QuickPlan:
    """Return the plan with the default routing."""
    return quick_plan(
        question, trace=trace, skew=parameters.get("skew", 0.5), stickiness=parameters.get("stickiness", 0.6), seed=0
    )


@pytest.fixture(scope="module")
def tight() -> Question:
    """Return a question of which about a third of the experts fit."""
    memory = memory_of(QUESTION)
    wanted = memory.num_experts * 35 // 100 * memory.expert_bytes
    return replace(QUESTION, vram=f"{memory.vram_bytes - memory.left_for_experts_bytes + wanted} B")


def test_memory_adds_up(tight: Question) -> None:
    """VRAM is its parts; what is left is what experts get, to within one expert."""
    memory = memory_of(tight)
    parts = memory.reserve_bytes + memory.non_expert_bytes + memory.kv_cache_bytes + memory.activation_bytes
    assert parts + memory.left_for_experts_bytes == memory.vram_bytes
    assert 0 <= memory.left_for_experts_bytes - memory.resident_experts * memory.expert_bytes < memory.expert_bytes
    assert memory.resident_experts == memory.num_experts * 35 // 100
    assert memory.fits
    assert not memory.fits_without_offloading


def test_a_longer_context_and_a_larger_batch_take_the_place_of_experts(tight: Question) -> None:
    """The KV cache grows with both."""
    memory = memory_of(tight)
    for more in (replace(tight, context_tokens=1024), replace(tight, batch=2)):
        larger = memory_of(more)
        assert larger.kv_cache_bytes == 2 * memory.kv_cache_bytes
        assert larger.resident_experts < memory.resident_experts


def test_what_does_not_fit_says_by_how_much(tight: Question) -> None:
    """With as much more VRAM as it says, or RAM, it fits; with a byte less it does not."""
    memory = memory_of(tight)
    taken_bytes = memory.vram_bytes - memory.left_for_experts_bytes
    small = replace(tight, vram=f"{taken_bytes + 3 * memory.expert_bytes} B")
    short = memory_of(small).vram_short_bytes
    assert short == (memory.smallest_experts - 3) * memory.expert_bytes
    plan = asked(small)
    assert "VRAM is short" in verdict(plan)
    assert plan.speeds == {}
    for missing, fits in ((0, True), (1, False)):
        vram_bytes = int(profile_of(small).gpu.memory.value) + short - missing
        assert memory_of(replace(small, vram=f"{vram_bytes} B")).fits is fits
    poor = memory_of(replace(tight, ram="1 MiB"))
    assert not poor.fits
    enough = poor.ram_bytes + poor.ram_short_without_copies_bytes
    assert memory_of(replace(tight, ram=f"{enough} B")).fits
    assert memory_of(replace(tight, ram=f"{enough} B")).ram_short_bytes > 0
    assert memory_of(replace(tight, ram=f"{poor.ram_bytes + poor.ram_short_bytes} B")).ram_short_bytes == 0


def test_speeds_and_changes(tight: Question) -> None:
    """Kinder routing is faster; more of the link or of VRAM helps; the same question has the same answer."""
    plan = asked(tight)
    uniform, skewed, bound = (plan.speeds[name] for name in ("uniform", "skewed", "all hits"))
    assert uniform.tpot_s > skewed.tpot_s > bound.tpot_s
    assert bound.hit_frac == 1
    assert uniform.hit_frac == pytest.approx(0.35, abs=0.06), "hits as often as its share"
    gains = {change.knob.name: gain(plan, change) for change in plan.changes}
    assert all(times is not None and times > 1 for name, times in gains.items() if "PCIe" in name or "VRAM" in name)
    ordered = [change.speed.tpot_s for change in plan.changes if change.speed is not None]
    assert ordered == sorted(ordered)
    assert plain(plan) == plain(asked(tight))


def test_uniform_routing_is_the_drawn_one_without_skew(tight: Question) -> None:
    """The interval closes where nothing is assumed to be popular."""
    plan = asked(tight, skew=0, stickiness=0)
    assert plan.speeds["skewed"] == plan.speeds["uniform"]


def test_a_trace_takes_the_place_of_assumptions(tight: Question) -> None:
    """Its hit rate is told, and what is run is another part of it than what popularity is counted on."""
    plan = asked(tight, NANO)
    assert list(plan.speeds) == ["uniform", "recorded", "all hits"]
    assert plan.judged_on == "recorded"
    assert any(text.startswith("recorded: ") and "hits" in text for text in plan.assumptions)
    assert not any("very sequences of the run" in text for text in plan.assumptions)


def test_a_trace_that_decodes_nothing_is_refused(tight: Question, tmp_path: Path) -> None:
    """A plan times decoding, and says that there is none."""
    routing = random_routing(1, lengths=[60, 60, 60], num_layers=8, num_experts=32, top_k=2)
    make_trace(tmp_path / "trace", routing, num_experts=32, prompt_tokens=[60, 60, 60])
    with pytest.raises(InputError, match="decode"):
        asked(tight, tmp_path / "trace")


def test_all_in_vram_needs_no_link() -> None:
    """Nothing waits, whatever the routing, and no change of the link is proposed."""
    plan = asked(replace(QUESTION, vram="24 GiB"))
    assert plan.memory.fits_without_offloading
    assert {speed.hit_frac for speed in plan.speeds.values()} == {1.0}
    assert {speed.waiting_frac for speed in plan.speeds.values()} == {0.0}
    assert not any("PCIe" in change.knob.name for change in plan.changes)


def test_knobs_change_what_they_name(tight: Question) -> None:
    """Each differs from the question in one respect, and the machine that it makes is as it says."""
    found = {knob.name.split()[0]: knob.question for knob in knobs(tight, memory_of(tight))}
    assert profile_of(found["8"]).gpu.memory.value == profile_of(tight).gpu.memory.value + 8 * 2**30
    bandwidth = profile_of(found["PCIe"]).link.h2d.bandwidth
    assert bandwidth is not None
    assert bandwidth.value == pytest.approx(2 * 12.4e9, rel=0.1)
    assert model_of(found["experts"]).expert_quantisation == "q4_k"
    assert found["missing"].policies == {"miss": "cpu"}


def test_mixed_recipes_are_counted_as_their_format() -> None:
    """q4_k_m is q4_k, and that is said; an unknown one is refused with the option's name."""
    assert read_format("Q4_K_M", "--quant")[0] == "q4_k"
    assert "larger" in str(read_format("q4_k_m", "--quant")[1])
    assert read_format("fp8", "--quant") == ("fp8", None)
    with pytest.raises(InputError, match="--quant"):
        read_format("q77_m", "--quant")
