"""Siblings of a model, and what tables make of the three together."""

import random
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import transformers

from hardware_profiles.profile import DurationTable
from simulator.costs.stated import StatedDuration
from simulator.model.footprint import expert_bytes, non_expert_layer_params, output_head_params
from simulator.model.load import load_model
from simulator.workload.request import Request
from tests.validation.plain_host import PlainHost
from validation.calibrate import siblings
from validation.calibrate.duration_tables import DurationTables
from validation.calibrate.evidence import Evidence
from validation.calibrate.facts import Facts, read_facts
from validation.calibrate.measure.cpu_experts import measure_cpu_experts
from validation.calibrate.measure.experts import measure_experts
from validation.calibrate.measure.narrow_visits import NO_MISSES, Misses, NarrowVisits
from validation.calibrate.measure.pass_timer import PassTimer
from validation.calibrate.measure.passes import attended_tokens, measure_passes, step_of
from validation.calibrate.measurement import At
from validation.calibrate.robust import Series
from validation.calibrate.samples import Samples, Taken
from validation.calibrate.siblings import Sibling, siblings_of, with_experts, with_passes
from validation.calibrate.subject import Subject
from validation.models.random import random_model
from validation.replay.attention import attention_shape
from validation.replay.forward import StepRunner
from validation.runtime.device import open_device

LAYERS, EXPERTS, TOP_K = 3, 8, 2


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Mixtral's config that does not state the width of its heads."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    config = transformers.MixtralConfig(
        architectures=["MixtralForCausalLM"],
        vocab_size=97,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=EXPERTS,
        num_experts_per_tok=TOP_K,
        max_position_embeddings=256,
    )
    config.head_dim = None
    config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def subject(config: Path) -> Subject:
    """The tiny model, on the CPU."""
    device = open_device("cpu")
    offloaded = random_model(config, device, torch.float32, 0)
    return Subject(offloaded=offloaded, device=device, threads=1, cpu_workers=1, max_tokens=64, max_batch=8)


@pytest.fixture(scope="module")
def found(subject: Subject) -> list[Sibling]:
    """Its siblings."""
    found, refused = siblings_of(subject)
    assert refused == []
    return found


def test_siblings_differ_in_width_alone(subject: Subject, found: list[Sibling]) -> None:
    """Half and one and a half of it; what attends, how often and to how much is the model's own."""
    assert [one.scale for one in found] == [0.5, 1.5]
    assert [one.experts.hidden_size for one in found] == [one.passes.hidden_size for one in found] == [32, 96]
    assert [one.experts.intermediate_size for one in found] == [48, 144]
    for opened in (with_experts(subject, found), with_passes(subject, found)):
        assert [*opened] == [1.0, 0.5, 1.5]
        assert opened[1.0] is subject
        for other in opened.values():
            assert attention_shape(other.offloaded.model) == attention_shape(subject.offloaded.model)
            assert (other.offloaded.num_layers, other.offloaded.num_experts) == (LAYERS, EXPERTS)
            assert other.offloaded.top_k == TOP_K


def test_experts_of_passes_leave_caches_as_the_models_do(subject: Subject, found: list[Sibling]) -> None:
    """They have its bytes, whatever the width; those that are timed have the bytes that are stated."""
    assert {one.expert_bytes for one in with_passes(subject, found).values()} == {subject.expert_bytes}
    timed = with_experts(subject, found)
    assert [timed[one.scale].expert_bytes for one in found] == [one.weights.expert for one in found]
    assert timed[0.5].expert_bytes * 4 == subject.expert_bytes


@pytest.mark.parametrize(
    ("model_type", "experts", "passes"),
    [
        ("mixtral", {"intermediate_size": 48}, {"intermediate_size": 192}),
        (
            "qwen3_moe",
            {"moe_intermediate_size": 48, "intermediate_size": 64},
            {"moe_intermediate_size": 192, "intermediate_size": 64},
        ),
        (
            "qwen2_moe",
            {"moe_intermediate_size": 48, "shared_expert_intermediate_size": 80},
            {"moe_intermediate_size": 192, "shared_expert_intermediate_size": 80},
        ),
    ],
)
def test_the_width_that_is_an_experts(
    model_type: str, experts: Mapping[str, int], passes: Mapping[str, int], tmp_path: Path
) -> None:
    """Is the one that a config gives to its experts, and other layers' widths go with the hidden one."""
    widths = {
        "intermediate_size": 96 if model_type == "mixtral" else 128,
        "moe_intermediate_size": 96,
        "shared_expert_intermediate_size": 160,
    }
    config = transformers.AutoConfig.for_model(
        model_type,
        architectures=[
            {"mixtral": "Mixtral", "qwen3_moe": "Qwen3Moe", "qwen2_moe": "Qwen2Moe"}[model_type] + "ForCausalLM"
        ],
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=97,
        num_experts_per_tok=2,
        max_position_embeddings=256,
        **{"num_local_experts" if model_type == "mixtral" else "num_experts": 8},
        **{name: width for name, width in widths.items() if model_type != "mixtral" or name == "intermediate_size"},
    )
    config.save_pretrained(tmp_path)
    device = open_device("cpu")
    offloaded = random_model(tmp_path / "config.json", device, torch.float32, 0)
    subject = Subject(offloaded=offloaded, device=device, threads=1, cpu_workers=1, max_tokens=16, max_batch=1)
    (half, _), refused = siblings_of(subject)
    assert refused == []
    assert {name: getattr(half.experts, name) for name in experts} == experts
    assert {name: getattr(half.passes, name) for name in passes} == passes
    assert with_passes(subject, [half])[0.5].expert_bytes == subject.expert_bytes


def test_the_bytes_of_siblings_are_those_of_the_simulator(found: list[Sibling], tmp_path: Path) -> None:
    """Counted without weights, they are what a model of that config has."""
    for one in found:
        one.experts.save_pretrained(tmp_path / f"experts-{one.scale}")
        assert one.weights.expert == expert_bytes(load_model(str(tmp_path / f"experts-{one.scale}")))
        one.passes.save_pretrained(tmp_path / f"passes-{one.scale}")
        spec = load_model(str(tmp_path / f"passes-{one.scale}"))
        assert one.weights.layer == 4 * non_expert_layer_params(spec, 0)
        assert one.weights.head == 4 * output_head_params(spec)
        assert one.weights.dense_layer == 0


def test_few_experts_of_a_sibling_have_memory(
    subject: Subject, found: list[Sibling], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many banks as caches do not hold; the others share them."""
    monkeypatch.setattr(siblings, "_HOST_BYTES", 2 * EXPERTS * found[0].weights.expert - 1)
    host = with_experts(subject, found[:1])[0.5].offloaded.host
    places = [host.flat(key).data_ptr() for key in range(LAYERS * EXPERTS)]
    assert len(set(places)) == 2 * EXPERTS
    assert places[2 * EXPERTS :] == places[:EXPERTS]
    assert host.num_bytes() == 2 * EXPERTS * found[0].weights.expert


def test_a_sibling_that_is_too_large_is_told(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the smaller one measured all the same."""
    monkeypatch.setattr(siblings, "SLOT_BYTES", 10)
    found, refused = siblings_of(subject)
    assert [one.scale for one in found] == [0.5]
    (said,) = refused
    assert said.startswith("a sibling of 1.5 times the width was not measured: 4 experts of each layer take ")


def test_a_sibling_that_cannot_be_built_is_told(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """In transformers' words."""

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no such width")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_config", refuse)
    found, refused = siblings_of(subject)
    assert found == []
    assert [said.partition(":")[0] for said in refused] == [
        f"a sibling of {scale} times the width cannot be built" for scale in ("0.5", "1.5")
    ]
    assert all("no such width" in said for said in refused)


@pytest.mark.parametrize("num_resident", [2, 4, 8])
def test_a_pass_uses_other_experts_than_the_one_before(subject: Subject, num_resident: int) -> None:
    """Among as many as the memory holds, all hits; where it is asked for, all misses, or some of them on the CPU."""
    slot_bytes = num_resident * LAYERS * subject.expert_bytes
    request = Request(index=0, sequence=0, prompt_tokens=0, total_tokens=64)
    runner = StepRunner(subject.offloaded.model, torch.device("cpu"), batch=1, max_context=64, seed=0)
    steps = iter([step_of([request], [context], joins=context == 1) for context in range(1, 60)])
    visits = NarrowVisits(subject, slot_bytes=slot_bytes, has_misses=True)
    used: list[set[int]] = []
    with PassTimer(subject, visits) as timer:
        assert visits.dispatch is not None
        counters = visits.dispatch.counters

        def missed(misses: Misses = NO_MISSES) -> int:
            before = sum(counters.misses)
            timer.time(lambda: runner.run(next(steps)), misses)
            used.append(set(visits.narrowed(torch.zeros((1, TOP_K), dtype=torch.int64)).flatten().tolist()))
            return sum(counters.misses) - before

        slots = min(num_resident, EXPERTS // 2)
        assert [missed() for _ in range(6)] == [0] * 6
        assert len(set().union(*used)) == slots
        assert [missed(Misses(are_fetched=True)) for _ in range(4)] == [LAYERS * TOP_K] * 4
        assert [missed() for _ in range(3)] == [0] * 3
        assert sum(counters.hits) == 9 * LAYERS * TOP_K
        assert sum(counters.cpu_experts) == 0
        assert [missed(Misses(on_cpu=1)) for _ in range(4)] == [LAYERS] * 4
        assert sum(counters.hits) == (9 + 4) * LAYERS * TOP_K - 4 * LAYERS
        assert sum(counters.cpu_experts) == 4 * LAYERS
        assert [missed() for _ in range(3)] == [0] * 3  # nothing was fetched for them


def law_s(fixed_s: float, per_byte_s: float, tokens: float, num_bytes: int) -> float:
    """A fixed time, and one in proportion to bytes and tokens."""
    return fixed_s + per_byte_s * tokens * num_bytes


def lawful_samples(subject: Subject, facts: Facts, found: list[Sibling]) -> Samples:
    """Return samples of every table's measurements that follow laws of the bytes."""
    weights = {1.0: facts.weights, **facts.sibling_weights}

    def taken(name: str, at: At) -> Mapping[str, float]:
        of, tokens = weights[at["scale"]], at["tokens"]
        if name.startswith("low_expert"):
            return {"time": law_s(50e-6, 4e-9, tokens, of.low_expert)}
        if name.startswith(("expert", "cpu_expert")):
            return {"time": law_s(30e-6, 2e-9, tokens, of.expert)}
        context_s = 1e-8 * attended_tokens(at, is_prefill=name == "pass.prefill")
        return {
            "layer": law_s(40e-6, 3e-9, tokens, of.layer) + context_s,
            "step": law_s(50e-6, 5e-9, 1, of.head),
            "visit_overhead": 20e-6,
        }

    measurements = [
        *measure_experts(subject, found),
        *measure_cpu_experts(subject, found),
        *measure_passes(subject, found),
    ]
    random.Random(0).shuffle(measurements)
    return Samples(
        identity={},
        taken={
            one.name: Taken(
                series=[
                    Series(at=at, samples={name: [value] * 3 for name, value in taken(one.name, at).items()})
                    for at in one.grid
                ],
                began="2026-01-01T00:00:00+00:00",
                took_s=1.0,
            )
            for one in measurements
        },
    )


def test_a_fixed_part_is_told_from_what_grows_with_the_weights(subject: Subject, found: list[Sibling]) -> None:
    """Samples that follow a law give tables that follow it at any size, within the four digits that they keep."""
    facts = read_facts(subject, model="tiny", dtype="float32", reserve_bytes=1, siblings=found)
    tables = DurationTables(Evidence(lawful_samples(subject, facts, found), facts), facts)
    durations = tables.durations()
    assert tables.per_layer().value == pytest.approx(20e-6)
    laws = {
        "expert": (30e-6, 2e-9, facts.weights.expert),
        "cpu_expert": (30e-6, 2e-9, facts.weights.expert),
        "low_expert": (50e-6, 4e-9, facts.weights.low_expert),
        "layer": (40e-6, 3e-9, facts.weights.layer),
    }
    for name, (fixed_s, per_byte_s, own_bytes) in laws.items():
        table = getattr(durations, name)
        assert isinstance(table, DurationTable)
        assert table.weights_bytes == own_bytes
        assert [one.weights_bytes for one in table.other_weights] == sorted(
            getattr(one, name.removeprefix("cpu_")) for one in facts.sibling_weights.values()
        )
        assert {1, 2, 4, 8} <= {*table.amounts}
        for other in table.other_weights:
            assert isinstance(other, DurationTable)
            assert {1, 2, 4, 8} <= {*other.amounts}
        for tokens in (1, 2, 3, 8):
            for ratio in (Fraction(1, 3), Fraction(3, 4), Fraction(1), Fraction(5, 2)):
                num_bytes = int(own_bytes * ratio)
                said_s = float(StatedDuration(table).ns(tokens, num_bytes)) / 1e9
                assert said_s == pytest.approx(law_s(fixed_s, per_byte_s, tokens, num_bytes), rel=0.004), (name, tokens)
    assert durations.step is not None
    head_bytes = 3 * facts.weights.head
    said_s = float(StatedDuration(durations.step).ns(4, head_bytes)) / 1e9
    assert said_s == pytest.approx(law_s(50e-6, 5e-9, 1, head_bytes), rel=0.004)


def test_siblings_leave_the_models_own_tables_as_they_are(subject: Subject, found: list[Sibling]) -> None:
    """But for what they add to them."""
    with_them = read_facts(subject, model="tiny", dtype="float32", reserve_bytes=1, siblings=found)
    samples = lawful_samples(subject, with_them, found)
    alone = read_facts(subject, model="tiny", dtype="float32", reserve_bytes=1)
    both = [DurationTables(Evidence(samples, facts), facts).durations() for facts in (with_them, alone)]
    for name in ("expert", "cpu_expert", "layer", "context", "step"):
        first, second = (getattr(durations, name) for durations in both)
        assert (first.amounts, first.seconds, first.source) == (second.amounts, second.seconds, second.source)
        assert second.other_weights == ()
    assert len(both[0].expert.other_weights) == 2  # type: ignore[union-attr]


def test_banks_may_share_their_memory(config: Path) -> None:
    """A model of random weights with one bank of its own asks the host for no more than that."""
    host = PlainHost()
    config_ = transformers.AutoConfig.from_pretrained(str(config))
    from validation.models.random import random_model_of

    model = random_model_of(config_, host, torch.float32, 0, source="a test", num_distinct_banks=1)
    assert host.num_tensors == EXPERTS
    assert model.host.tensors(EXPERTS) is model.host.tensors(0)
