"""The generator: same seed same trace, valid traces of any shape, and distances from what it imitates."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cli.trace_synth import synth
from tests.traces import measure_synthesis
from tests.traces.random_traces import as_ids, make_trace, uniform_ids
from traces.errors import TraceError
from traces.format import Sequences, TraceMetadata, check_expert_ids, open_trace, write_trace
from traces.nano import TRACE
from traces.statistics.affinity import mutual_information_bits, transition_counts
from traces.statistics.coactivation import coactivation_counts
from traces.statistics.coactivation import mutual_information_bits as together_bits
from traces.statistics.locality import overlap_by_lag
from traces.statistics.popularity import use_counts
from traces.synthesis.distances import distances, judged_capacities, missed, profile
from traces.synthesis.fit import find_blocks, fit, fit_base
from traces.synthesis.generate import draw_sequences
from traces.synthesis.generic import adjacent_correlation, generic_model
from traces.synthesis.make import synthesise
from traces.synthesis.model import RoutingModel
from traces.synthesis.parameters import Fitted, from_json, load_preset, preset_names, rounded, to_json

RECORDED = (("gpt-oss-20b_decode", "gpt-oss-20b", 32), ("deepseek-v2-lite_prefill", "deepseek-v2-lite", 64))


def small_model(num_layers: int = 4, *, stickiness: float = 0.6, skew: float = 0.5) -> RoutingModel:
    return generic_model(
        num_layers=num_layers, num_experts=16, top_k=2, skew=skew, stickiness=stickiness, sequence_tokens=60
    )


def load(shared_data: Path, name: str) -> Sequences:
    with np.load(shared_data / "traces" / f"{name}.npz") as arrays:
        start = arrays["sequence_start"]
        return Sequences(
            expert_ids=arrays["expert_ids"],
            sequence_start=start,
            prompt_tokens=np.zeros(len(start) - 1, np.int32),
            gate_weights=arrays["gate_weights"],
        )


@given(
    st.integers(1, 3),
    st.integers(1, 12),
    st.integers(1, 4),
    st.floats(0, 2),
    st.floats(0, 0.7),
    st.integers(1, 200),
    st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_every_shape_gives_a_valid_trace_and_the_same_one_twice(
    num_layers: int, num_experts: int, top_k: int, skew: float, stickiness: float, num_tokens: int, seed: int
) -> None:
    model = generic_model(
        num_layers=num_layers,
        num_experts=num_experts,
        top_k=min(top_k, num_experts),
        skew=skew,
        stickiness=stickiness,
        sequence_tokens=17,
    )
    drawn = draw_sequences(model, num_tokens=num_tokens, seed=seed)
    check_expert_ids(drawn.expert_ids, num_experts, source=Path("drawn"), name="expert_ids")
    assert len(drawn.expert_ids) == num_tokens == drawn.sequence_start[-1]
    assert (np.diff(drawn.sequence_start) > 0).all()
    assert (drawn.prompt_tokens <= np.diff(drawn.sequence_start)).all()
    assert drawn.gate_weights is not None
    assert (np.diff(drawn.gate_weights.astype(float), axis=2) <= 0).all()
    again = draw_sequences(model, num_tokens=num_tokens, seed=seed)
    for name, tensor in drawn.tensors().items():
        assert np.array_equal(tensor, again.tensors()[name])


def test_another_seed_gives_another_trace() -> None:
    one, other = (draw_sequences(small_model(), num_tokens=100, seed=seed).expert_ids for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_base_scores_show_the_popularity_that_is_asked_for() -> None:
    wanted = use_counts(make_trace([4_000], 2, 3, 12, seed=2).ids, 12) / 4_000
    model = small_model(2)
    block = replace(
        model.blocks[0], base_LE=fit_base(wanted, 3, 4_000, np.tile(np.arange(12), (2, 1))), lengths_Q=(4_000, 4_000)
    )
    model = replace(
        model,
        num_experts=12,
        top_k=3,
        blocks=(block,),
        amplitudes=(0, 0, 0, 0, 0),
        chain_LE=np.tile(np.arange(12), (2, 1)),
        gate_rank_means_K=(0.5, 0.3, 0.2),
    )
    found = use_counts(draw_sequences(model, num_tokens=20_000, seed=3).expert_ids, 12) / 20_000
    np.testing.assert_allclose(found, wanted, atol=0.015)


def test_stickiness_is_the_correlation_of_adjacent_scores_and_nought_is_independence() -> None:
    for stickiness in (0.0, 0.3, 0.7):
        assert adjacent_correlation(small_model(stickiness=stickiness).amplitudes) == pytest.approx(stickiness)
    overlaps = []
    for stickiness in (0.0, 0.3, 0.5, 0.7):
        drawn = draw_sequences(small_model(skew=0, stickiness=stickiness), num_tokens=6_000, seed=4)
        overlaps.append(float(overlap_by_lag(drawn.expert_ids, drawn.sequence_start, (1,)).mean()))
    assert overlaps[0] == pytest.approx(2 * 2 / 16, rel=0.05)
    assert overlaps == sorted(overlaps)


def test_affinity_ties_adjacent_layers_and_leaves_each_layer_as_it_was() -> None:
    model = small_model()
    bits, overlaps = [], []
    for affinity in (0.0, 0.9):
        drawn = draw_sequences(replace(model, affinity=affinity), num_tokens=6_000, seed=5)
        bits.append(float(mutual_information_bits(transition_counts(drawn.expert_ids, 16)).mean()))
        overlaps.append(float(overlap_by_lag(drawn.expert_ids, drawn.sequence_start, (1,)).mean()))
    assert bits[0] < 0.03 < 0.3 < bits[1]
    assert overlaps[1] == pytest.approx(overlaps[0], rel=0.05)


def test_companionship_ties_members_of_a_set_and_base_scores_keep_the_popularity() -> None:
    wanted = use_counts(make_trace([4_000], 2, 2, 16, seed=2).ids, 16) / 4_000
    model = small_model(2)
    bits = []
    for companionship in (0.0, 0.8):
        base = fit_base(wanted, 2, 4_000, model.chain_LE, companionship)
        block = replace(model.blocks[0], base_LE=base)
        drawn = draw_sequences(
            replace(model, blocks=(block,), companionship=companionship, amplitudes=(0, 0, 0, 0, 0)),
            num_tokens=20_000,
            seed=14,
        )
        found = use_counts(drawn.expert_ids, 16) / 20_000
        np.testing.assert_allclose(found, wanted, atol=0.015)
        bits.append(float(together_bits(coactivation_counts(drawn.expert_ids, 16)).mean()))
    assert bits[0] + 0.2 < bits[1]


def test_blocks_are_cut_where_templates_change_and_copied_into_what_is_drawn() -> None:
    ids = uniform_ids(40 * 30, 3, 2, 32, seed=6)
    for sequence in range(40):
        at = sequence * 30
        prefix = 7 if sequence < 25 else 4
        source = 0 if sequence < 25 else 25 * 30
        ids[at : at + prefix] = ids[source : source + prefix]
        ids[at + 29] = ids[source + 29]
    start = np.arange(41, dtype=np.int64) * 30
    block_S, templates = find_blocks(ids, start)
    assert block_S.tolist() == [0] * 25 + [1] * 15
    assert templates == [(7, 1), (4, 1)]
    model = fit(Sequences(expert_ids=ids, sequence_start=start, prompt_tokens=np.zeros(40, np.int32)), 32)
    drawn = draw_sequences(model, num_tokens=1_200, seed=7)
    assert find_blocks(drawn.expert_ids, drawn.sequence_start)[1] == templates


def test_a_fit_recovers_what_a_model_of_its_own_kind_draws() -> None:
    """The distances of a fresh seed from a trace that the generator itself made stay within the bars."""
    model = replace(small_model(3, stickiness=0.5), affinity=0.8, companionship=0.5)
    target = draw_sequences(model, num_tokens=5_000, seed=8)
    fitted = fit(target, 16)
    wanted = profile(target, 16)
    drawn = draw_sequences(fitted, num_tokens=5_000, seed=9)
    assert missed(profile(drawn, 16), wanted) == []
    assert abs(profile(drawn, 16).affinity_bits - wanted.affinity_bits) < 0.05
    assert drawn.gate_weights is not None
    assert target.gate_weights is not None
    np.testing.assert_allclose(
        drawn.gate_weights.astype(float).mean(axis=(0, 1)),
        target.gate_weights.astype(float).mean(axis=(0, 1)),
        atol=0.02,
    )


@pytest.mark.parametrize(("lengths", "num_experts"), [([1], 4), ([2, 1], 4), ([5], 2), ([3] * 9, 2)])
def test_the_smallest_traces_can_be_imitated(lengths: list[int], num_experts: int) -> None:
    trace = make_trace(lengths, 2, 2, num_experts, seed=10)
    drawn = draw_sequences(fit(trace.sequences, num_experts), num_tokens=20, seed=1)
    check_expert_ids(drawn.expert_ids, num_experts, source=Path("drawn"), name="expert_ids")


def test_bars_are_judged_from_5_to_95_percent_of_the_experts() -> None:
    assert judged_capacities(32) == range(2, 31)
    assert judged_capacities(64) == range(4, 61)
    wanted = profile(make_trace([400], 2, 2, 20, seed=11).sequences, 20)
    hits = list(wanted.hit_rate_E)
    hits[0] += 0.5  # one expert of twenty is 5 %
    hits[19] += 0.5  # all of them are beyond the bar
    found = replace(wanted, hit_rate_E=tuple(hits), overlap=(2 * (wanted.overlap[0] or 0), *wanted.overlap[1:]))
    assert missed(found, wanted) == [
        "LRU hit rate with 1 of 20 experts: +50.00 points",
        "overlap of adjacent tokens: +100.00 %",
    ]
    named = distances(found, wanted)
    assert named["hit_rate_points_worst"] == pytest.approx(50)
    assert named["hit_rate_worst_capacity_experts"] == 1


def test_parameters_survive_their_json_and_junk_is_refused() -> None:
    fitted = Fitted(model=small_model(), profile=None, model_name="small", gate="unknown", origin="a test")
    once = rounded(fitted)
    assert to_json(once) == to_json(fitted) == to_json(rounded(once))
    one, other = (draw_sequences(each.model, num_tokens=50, seed=1) for each in (once, rounded(once)))
    assert np.array_equal(one.expert_ids, other.expert_ids)
    for junk in ("{}", "[1]", "not JSON", '{"format_version": 1, "blocks": [{}]}'):
        with pytest.raises(TraceError, match="junk: is not a set of synthesis parameters"):
            from_json(junk, "junk")
    with pytest.raises(TraceError, match="junk: format_version is 2"):
        from_json('{"format_version": 2}', "junk")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_within_the_bars_of_the_statistics_stored_with_it(name: str) -> None:
    fitted = load_preset(name)
    made = synthesise(fitted, num_tokens=min(fitted.model.fitted_tokens, 30_000), seed=12)
    assert made.missed == []


def test_an_unknown_preset_is_told_with_the_known_ones() -> None:
    with pytest.raises(TraceError, match="deepseek-v2-lite, gpt-oss-20b"):
        load_preset("gpt-5")


def test_the_command_writes_a_trace_that_records_its_parameters_and_distances(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = draw_sequences(small_model(2), num_tokens=1_500, seed=13)
    recorded = tmp_path / "recorded.safetensors"
    write_trace(recorded, target, TraceMetadata(model="small", num_experts=16, banks=(0, 0)))
    out = tmp_path / "synthetic.safetensors"
    synth(out=out, like=recorded, tokens=1_000, seed=3, json_output=True)
    told = json.loads(capsys.readouterr().out)
    trace = open_trace(out)
    assert trace.num_tokens == 1_000
    assert (trace.metadata.model, trace.banks) == ("small", (0, 0))
    extra = trace.metadata.extra
    assert json.loads(extra["synthesis_distances"]) == told["distances"]
    assert json.loads(extra["synthesis_missed_bars"]) == told["missed_bars"]
    fitted = from_json(extra["synthesis_parameters"], "metadata")
    again = draw_sequences(fitted.model, num_tokens=1_000, seed=int(extra["synthesis_seed"]))
    assert np.array_equal(again.expert_ids, trace.expert_ids(0, 1_000))


def test_the_command_makes_a_generic_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "generic.safetensors"
    synth(out=out, layers=3, experts=300, top_k=2, tokens=200, sequence_tokens=50)
    trace = open_trace(out)
    assert (trace.num_layers, trace.num_experts, trace.top_k, trace.num_sequences) == (3, 300, 2, 4)
    assert "adjacent tokens share" in capsys.readouterr().out


def test_the_command_refuses_what_it_cannot_honour(tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    with pytest.raises(TraceError, match="give one of --like, --preset"):
        synth(out=out)
    with pytest.raises(TraceError, match="--top-k: is missing"):
        synth(out=out, layers=2, experts=8)
    with pytest.raises(TraceError, match="--top-k: is 9; it should be 1 to 8"):
        synth(out=out, layers=2, experts=8, top_k=9)
    with pytest.raises(TraceError, match="--skew: shapes a generic trace"):
        synth(out=out, preset="gpt-oss-20b", skew=1.0)
    with pytest.raises(TraceError, match="--tokens: is 0"):
        synth(out=out, preset="gpt-oss-20b", tokens=0)
    out.write_text("here")
    with pytest.raises(TraceError, match="exists already"):
        synth(out=out, preset="gpt-oss-20b")


def test_the_page_shows_what_was_measured_and_a_preset_still_measures_the_same() -> None:
    measured = json.loads(measure_synthesis.MEASURED.read_text(encoding="utf-8"))
    assert measure_synthesis.table(measured) in measure_synthesis.PAGE.read_text(encoding="utf-8")
    preset = measured["presets"]["deepseek-v2-lite"]
    made = synthesise(load_preset("deepseek-v2-lite"), num_tokens=preset["tokens"], seed=measured["seeds"][0])
    assert made.distances == pytest.approx(preset["distances"][0], abs=0.01)
    assert not any(lines for one in measured["presets"].values() for lines in one["missed_bars"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "preset", "num_experts"), RECORDED)
def test_presets_are_within_the_bars_of_recorded_traces(
    shared_data: Path, name: str, preset: str, num_experts: int
) -> None:
    """A fresh seed, as many tokens as recorded: hit rates within 3 points, overlap and unions within 5 %."""
    recorded = load(shared_data, name)
    wanted = profile(recorded, num_experts)
    fitted = load_preset(preset)
    assert fitted.profile is not None
    assert fitted.profile.hit_rate_E == pytest.approx(wanted.hit_rate_E, abs=1e-6)
    drawn = draw_sequences(fitted.model, num_tokens=len(recorded.expert_ids), seed=101)
    assert missed(profile(drawn, num_experts), wanted) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_experts"), [(name, experts) for name, _, experts in RECORDED])
def test_a_fit_to_a_part_of_a_recorded_trace_is_within_the_bars(shared_data: Path, name: str, num_experts: int) -> None:
    """The fit itself, on every sixth layer, judged on a fresh seed."""
    recorded = load(shared_data, name)
    part = replace(recorded, expert_ids=as_ids(recorded.expert_ids[:, ::6], num_experts), gate_weights=None)
    drawn = draw_sequences(fit(part, num_experts), num_tokens=len(part.expert_ids), seed=102)
    assert missed(profile(drawn, num_experts), profile(part, num_experts)) == []


@pytest.mark.slow
def test_the_preset_of_our_own_model_is_within_the_bars_of_its_trace() -> None:
    """The trace that ships, and a fresh seed: the same bars as for others' recordings."""
    trace = open_trace(TRACE)
    wanted = profile(trace.sequences(), trace.num_experts)
    drawn = draw_sequences(load_preset("moesim-nano").model, num_tokens=trace.num_tokens, seed=103)
    assert missed(profile(drawn, trace.num_experts), wanted) == []
