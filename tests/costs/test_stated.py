"""Stated durations for weights of other bytes, and the time that a context adds."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.load import load_profile
from simulator.costs.roofline import RooflineCosts
from simulator.costs.stated import StatedDuration, scalings
from simulator.model import footprint
from simulator.model.load import load_model
from simulator.model.quantisation import parse_quantisation
from simulator.model.spec import ModelSpec, is_moe_layer
from tests.costs.steps import decode, prefill

BF16 = parse_quantisation("bf16")
MEASURED = {"kind": "measured", "source": "a test"}
MODELS = {name: load_model(name) for name in ("deepseek-v2-lite", "gpt-oss-20b", "llama-4-maverick")}
SPEC = MODELS["deepseek-v2-lite"]  # its first layer is dense

tables = st.lists(
    st.tuples(st.integers(1, 5000), st.integers(1, 10**7)), min_size=1, max_size=5, unique_by=lambda point: point[0]
).map(lambda points: (sorted(amount for amount, _ in points), sorted(time_ns for _, time_ns in points)))

Table = tuple[list[int], list[int]]


def entry(table: Table, weights: int | None = None, *, by: str = "tokens") -> dict[str, object]:
    """Return a table as a profile has it."""
    amounts, times_ns = table
    weighed = {} if weights is None else {"weights": f"{weights} B"}
    return {by: amounts, "time": [f"{time_ns} ns" for time_ns in times_ns], **weighed, **MEASURED}


def costs(spec: ModelSpec, durations: Mapping[str, object], **others: object) -> RooflineCosts:
    """Make the cost model of a spec on a machine that states these durations."""
    overrides = {f"durations.{name}": value for name, value in durations.items()} | others
    return RooflineCosts(spec, load_profile("rtx-4090", overrides), BF16)


def layer_bytes(spec: ModelSpec, layer: int) -> int:
    """Return the bytes of what a layer has beside its experts."""
    params = footprint.non_expert_layer_params(spec, layer)
    return footprint.bytes_of(params, parse_quantisation(spec.rest_quantisation))


def up(duration_ns: Fraction) -> int:
    """Round up."""
    return -(-duration_ns.numerator // duration_ns.denominator)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    table=tables,
    weights=st.integers(10**3, 10**10),
    tokens=st.integers(1, 6000),
    more=st.integers(0, 3000),
    name=st.sampled_from(sorted(MODELS)),
)
def test_experts_scale_with_their_bytes(table: Table, weights: int, tokens: int, more: int, name: str) -> None:
    """time(model) is time(reference) * ratio, up to the one rounding of each; more tokens never take less."""
    spec = MODELS[name]
    ratio = Fraction(footprint.expert_bytes(spec), weights)
    durations = {"expert": entry(table, weights), "cpu_expert": entry(table, weights)}
    scaled, plain = costs(spec, durations), costs(spec, {"expert": entry(table)})
    for found_ns in (scaled.expert_ns(tokens), scaled.cpu_expert_ns(tokens)):
        assert (plain.expert_ns(tokens) - 1) * ratio <= found_ns < plain.expert_ns(tokens) * ratio + 1
    whole = scaled.group_ns([tokens, tokens, 1])
    apart = 2 * scaled.expert_ns(tokens) + scaled.expert_ns(1)
    assert apart - 3 < whole <= apart
    assert scaled.expert_ns(tokens) <= scaled.expert_ns(tokens + more)


def test_experts_of_twice_the_bytes_take_twice_as_long() -> None:
    """A constant and a table alike, to the nanosecond; at equal bytes nothing changes."""
    num_bytes = footprint.expert_bytes(SPEC)
    for stated in ({"constant": "100 us"}, {"tokens": [1, 3], "time": ["100 us", "104 us"]}):
        at_two = 100_000 if "constant" in stated else 102_000
        for weights, factor in ((num_bytes, 1), (num_bytes // 2, 2), (2 * num_bytes, Fraction(1, 2))):
            durations: dict[str, object] = {"expert": {**stated, "weights": f"{weights} B", **MEASURED}}
            assert costs(SPEC, durations).expert_ns(2) == at_two * factor


def test_a_low_precision_copy_takes_its_own_time_where_one_is_stated() -> None:
    """By the bytes of the copy, and said so; else that of an expert of so few bytes. Experts take theirs in either case."""
    low = RooflineCosts(replace(SPEC, expert_quantisation="int4_g128"), load_profile("rtx-4090"), BF16)
    num_bytes = footprint.expert_bytes(replace(SPEC, expert_quantisation="int4_g128"))
    plain = RooflineCosts(SPEC, load_profile("rtx-4090"), BF16, low_format="int4_g128")
    assert plain.low_expert_ns(3) == low.expert_ns(3) < plain.expert_ns(3)
    for weights, factor in ((num_bytes, 1), (num_bytes // 3, 3)):
        table = {"tokens": [1, 5], "time": ["200 us", "300 us"], "weights": f"{weights} B", **MEASURED}
        profile = load_profile("rtx-4090", {"durations.low_expert": table})
        found = RooflineCosts(SPEC, profile, BF16, low_format="int4_g128")
        assert found.low_expert_ns(3) == pytest.approx(factor * 250_000, rel=1e-5)
        assert found.low_expert_ns(3) == found.low_expert_ns(3)
        assert found.expert_ns(3) == plain.expert_ns(3)
        said = [one.name for one in scalings(SPEC, profile.durations, "int4_g128")]
        assert said == ([] if factor == 1 else ["low_expert"])
        assert scalings(SPEC, profile.durations) == [], "there are no copies"


@pytest.mark.parametrize("name", sorted(MODELS))
def test_layers_and_heads_scale_each_with_its_own_bytes(name: str) -> None:
    """Layers of other widths by theirs, overheads not at all, the sum rounded once."""
    spec = MODELS[name]
    durations: dict[str, object] = {
        "layer": {"constant": "101 us", "weights": "20 MB", **MEASURED},
        "dense_layer": {"constant": "53 us", "weights": "30 MB", **MEASURED},
        "step": {"constant": "71 us", "weights": "500 MB", **MEASURED},
    }
    overheads: dict[str, object] = {"runtime.per_layer": "0.3 us", "runtime.per_step": "0.7 us"}
    found = costs(spec, durations, **overheads).step(decode([5, 9]))
    lead_ns = [0]
    for layer in range(spec.num_layers):
        stated_ns, weights = (101_000, 20 * 10**6) if is_moe_layer(spec, layer) else (53_000, 30 * 10**6)
        lead_ns[-1] += up(Fraction(stated_ns * layer_bytes(spec, layer), weights) + 300)
        if is_moe_layer(spec, layer):
            lead_ns.append(0)
    head_bytes = footprint.bytes_of(footprint.embedding_params(spec), parse_quantisation(spec.embedding_quantisation))
    assert list(found.lead_ns) == lead_ns[:-1]
    assert found.tail_ns == lead_ns[-1] + up(Fraction(71_000 * head_bytes, 500 * 10**6) + 700)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    layer=tables,
    context=tables,
    contexts=st.lists(st.integers(1, 3000), min_size=1, max_size=4),
    longer=st.integers(0, 3000),
    is_prefill=st.booleans(),
)
def test_a_context_adds_up(layer: Table, context: Table, contexts: list[int], longer: int, is_prefill: bool) -> None:
    """Of every stated layer, dense ones too, by the sum over the step's tokens; a longer one never takes less."""
    durations = {"layer": entry(layer), "dense_layer": entry(layer), "step": entry(layer)}
    added = costs(SPEC, {**durations, "context": entry(context, by="attended_tokens")})
    step = prefill(contexts[0]) if is_prefill else decode(contexts)
    one_more = (
        prefill(contexts[0], first_context=1 + longer)
        if is_prefill
        else decode([*contexts[:-1], contexts[-1] + longer])
    )
    attended = costs(SPEC, {"expert": entry(context)})  # the same table, read as experts' tokens
    without, found = costs(SPEC, durations).step(step), added.step(step)
    context_ns = attended.expert_ns(sum(step.contexts))
    assert abs(found.lead_ns[1] - without.lead_ns[1] - context_ns) <= 1
    assert abs(found.lead_ns[0] - without.lead_ns[0] - 2 * context_ns) <= 2
    assert found.tail_ns == without.tail_ns
    assert all(a <= b for a, b in zip(found.lead_ns, added.step(one_more).lead_ns, strict=True))
    assert added.step(step) == found


def test_a_context_by_hand() -> None:
    """10 us a layer and 1 us per thousand attended tokens: contexts of 500 and 2500 make 13 us; 1 to 100 make 15.05."""
    durations = {"layer": "10 us", "dense_layer": "20 us", "step": "5 us"} | {
        "context": {"attended_tokens": [0, 1000], "time": ["0 us", "1 us"], **MEASURED}
    }
    stated = costs(SPEC, durations)
    assert list(stated.step(decode([500, 2500])).lead_ns) == [36_000, *[13_000] * 25]
    assert list(stated.step(prefill(100)).lead_ns) == [20_000 + 10_000 + 2 * 5_050, *[15_050] * 25]


def test_a_window_bounds_what_a_context_adds() -> None:
    """Every second layer of gpt-oss attends to 128 tokens at most."""
    durations: dict[str, object] = {
        "layer": "10 us",
        "context": {"attended_tokens": [0, 1000], "time": ["0 us", "1 us"], **MEASURED},
    }
    lead_ns = costs(MODELS["gpt-oss-20b"], durations).step(decode([5000])).lead_ns
    assert set(lead_ns) == {10_128, 15_000}


def test_unstated_layers_grow_with_the_context_by_themselves() -> None:
    """A context is added to what is stated only: the dense layer keeps its roofline."""
    context = {"attended_tokens": [0, 1000], "time": ["0 us", "1 us"], **MEASURED}
    step = decode([4000])
    roofline = costs(SPEC, {"layer": "10 us"}).step(step)
    found = costs(SPEC, {"layer": "10 us", "context": context}).step(step)
    assert found.lead_ns[0] == roofline.lead_ns[0] + 4000
    assert found.lead_ns[1] == 14_000


def sized(*sizes: tuple[int, Table]) -> StatedDuration:
    """Return a duration that is stated for several sizes, the first its own."""
    (own_bytes, own), *others = sizes
    listed = [entry(table, weights) for weights, table in others]
    profile = load_profile("t4", {"durations.expert": entry(own, own_bytes) | {"other_weights": listed}})
    assert profile.durations.expert is not None
    return StatedDuration(profile.durations.expert)


sizes = st.lists(st.tuples(st.integers(1, 10**9), tables), min_size=2, max_size=4, unique_by=lambda size: size[0])


@settings(derandomize=True, deadline=None, max_examples=80)
@given(sizes=sizes, amount=st.integers(1, 6000), own=st.integers(0, 3))
def test_at_a_stated_size_the_time_is_the_stated_one(sizes: list[tuple[int, Table]], amount: int, own: int) -> None:
    """To the last fraction of a nanosecond, whichever of the sizes is the profile's own and which others there are."""
    rotated = sizes[own % len(sizes) :] + sizes[: own % len(sizes)]
    found = sized(*rotated)
    for weights, table in sizes:
        alone = StatedDuration(load_profile("t4", {"durations.expert": entry(table)}).durations.expert)  # type: ignore[arg-type]
        assert found.ns(amount, weights) == alone.ns(amount, 1)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    fixed_ns=st.integers(0, 10**6),
    per_kilobyte_ns=st.integers(0, 10**4),
    sizes=st.lists(st.integers(1, 10**5), min_size=2, max_size=4, unique=True),
    model=st.integers(0, 10**6),
)
def test_what_does_not_grow_with_the_weights_is_not_scaled(
    fixed_ns: int, per_kilobyte_ns: int, sizes: list[int], model: int
) -> None:
    """Times that are a fixed part and one in proportion to the bytes are met at every other size, exactly."""

    def time_ns(kilobytes: int) -> int:
        return fixed_ns + per_kilobyte_ns * kilobytes

    found = sized(*((1000 * kilobytes, ([3], [time_ns(kilobytes)])) for kilobytes in sizes))
    assert found.ns(3, 1000 * model) == time_ns(model)


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    small=st.integers(1, 10**6),
    larger=st.integers(1, 10**6),
    times=st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)),
    model=st.integers(1, 10**8),
    more=st.integers(0, 10**8),
)
def test_more_weights_never_take_less_and_no_part_is_negative(
    small: int, larger: int, times: tuple[int, int], model: int, more: int
) -> None:
    """Nor does the time grow faster than the bytes beyond what was stated, or rise above the nearest for fewer of them."""
    large, (first_ns, later_ns) = small + larger, times
    found = sized((small, ([1], [first_ns])), (large, ([1], [first_ns + later_ns])))
    assert found.ns(1, model) <= found.ns(1, model + more)
    for stated_bytes, stated_ns in ((small, first_ns), (large, first_ns + later_ns)):
        is_beyond = model >= large if stated_bytes == large else model <= small
        if is_beyond:
            in_proportion_ns = Fraction(model, stated_bytes) * stated_ns
            bounds_ns = sorted([in_proportion_ns, Fraction(stated_ns)])
            assert bounds_ns[0] <= found.ns(1, model) <= bounds_ns[1]


def test_sizes_that_contradict_each_other_leave_the_nearest_as_it_is() -> None:
    """More weights in less time: all of it is taken as fixed beyond either end, never less than nothing."""
    found = sized((10, ([1], [500])), (20, ([1], [400])))
    assert [found.ns(1, num_bytes) for num_bytes in (1, 10, 15, 20, 10**6)] == [500, 500, 450, 400, 400]


def test_several_sizes_are_told() -> None:
    """All that was measured; a model of any of these sizes needs no word."""
    num_bytes = footprint.expert_bytes(SPEC)

    def told(own: int, *others: int) -> list[str]:
        listed = [{"constant": "1 us", "weights": f"{one} B", **MEASURED} for one in others]
        stated = {"constant": "1 us", "weights": f"{own} B", "other_weights": listed, **MEASURED}
        return [str(one) for one in scalings(SPEC, load_profile("t4", {"durations.expert": stated}).durations)]

    assert told(2 * num_bytes, num_bytes) == told(num_bytes, 1) == []
    assert told(9_440_000, 2_360_000, 21_200_000) == [
        "durations.expert, measured on experts of 2.36 MB, 9.44 MB and 21.2 MB, is taken, by the bytes, for 17.3 MB"
    ]


def test_what_is_scaled_is_told() -> None:
    """By more than 0.5 %, in the model's bytes; layers of several sizes with the least and the most."""
    num_bytes = footprint.expert_bytes(SPEC)

    def told(spec: ModelSpec, **durations: object) -> list[str]:
        profile = load_profile("rtx-4090", {f"durations.{name}": value for name, value in durations.items()})
        return [str(scaling) for scaling in scalings(spec, profile.durations)]

    assert told(SPEC) == []
    assert told(SPEC, expert={"constant": "1 us", **MEASURED}) == []
    assert told(SPEC, expert={"constant": "1 us", "weights": f"{num_bytes} B", **MEASURED}) == []
    assert told(SPEC, expert={"constant": "1 us", "weights": f"{num_bytes * 1004 // 1000} B", **MEASURED}) == []
    assert len(told(SPEC, expert={"constant": "1 us", "weights": f"{num_bytes * 1006 // 1000} B", **MEASURED})) == 1
    assert told(SPEC, expert={"constant": "1 us", "weights": "9.44 MB", **MEASURED}) == [
        "durations.expert, measured on experts of 9.44 MB, is scaled by the bytes to 17.3 MB"
    ]
    assumed = {"constant": "1 us", "weights": "1 GB", "kind": "assumed", "source": "a guess"}
    assert told(SPEC, step=assumed, cpu_expert=assumed) == [
        "durations.step, stated for a head of 1 GB, is scaled by the bytes to 419 MB",
        "durations.cpu_expert, stated for experts of 1 GB, is scaled by the bytes to 17.3 MB",
    ]
    assert told(MODELS["gpt-oss-20b"], dense_layer=assumed) == [], "it has no dense layers"
    mixed = load_model("qwen3.5-35b-a3b")
    sizes = sorted({layer_bytes(mixed, layer) for layer in range(mixed.num_layers)})
    assert len(sizes) == 2, "linear attention, and grouped"
    (line,) = told(mixed, layer=assumed)
    assert line.endswith(f"is scaled by the bytes to between {sizes[0] / 1e6:.3g} MB and {sizes[1] / 1e6:.3g} MB")
