"""Overlaps, reuse, unions and templates against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings

from tests.traces.random_traces import RandomTrace, as_ids, traces, uniform_ids
from traces.statistics.locality import expected_overlap, overlap_by_lag, reuse_intervals
from traces.statistics.templates import shared_tokens
from traces.statistics.windows import batch_unions, window_unions


@given(traces())
@settings(max_examples=40, deadline=None)
def test_overlap_by_lag_is_the_mean_of_intersections_within_sequences(trace: RandomTrace) -> None:
    lags = (1, 2, 5, 40)
    found = overlap_by_lag(trace.ids, trace.sequences.sequence_start, lags)
    for row, lag in enumerate(lags):
        for layer in range(trace.ids.shape[1]):
            shared = [
                len(set(trace.ids[token, layer]) & set(trace.ids[token + lag, layer]))
                for tokens in trace.ranges
                for token in tokens[: max(0, len(tokens) - lag)]
            ]
            if shared:
                assert found[row, layer] == pytest.approx(np.mean(shared))
            else:
                assert np.isnan(found[row, layer])


def test_uniform_routing_overlaps_by_chance() -> None:
    """Independent uniform top-k sets share K * K / E experts at any lag."""
    ids = uniform_ids(20_000, 2, 4, 32, seed=1)
    found = overlap_by_lag(ids, np.array([0, 20_000]), (1, 8))
    np.testing.assert_allclose(found, expected_overlap(32, 4), rtol=0.03)
    assert expected_overlap(32, 4) == 0.5


@given(traces())
@settings(max_examples=40, deadline=None)
def test_reuse_intervals_count_tokens_since_the_last_use_in_the_sequence(trace: RandomTrace) -> None:
    found = reuse_intervals(trace.ids, trace.sequences.sequence_start, trace.num_experts)
    expected = np.zeros_like(found)
    for layer in range(trace.ids.shape[1]):
        for tokens in trace.ranges:
            last: dict[int, int] = {}
            for token in tokens:
                for expert in trace.ids[token, layer].tolist():
                    expected[layer, token - last.get(expert, token)] += 1
                    last[expert] = token
    assert found.tolist() == expected.tolist()
    assert found.sum() == trace.ids.size


@given(traces())
@settings(max_examples=40, deadline=None)
def test_window_unions_are_the_mean_over_windows_within_sequences(trace: RandomTrace) -> None:
    windows = (1, 2, 4, 8)
    found = window_unions(trace.ids, trace.sequences.sequence_start, trace.num_experts, windows)
    for row, window in enumerate(windows):
        for layer in range(trace.ids.shape[1]):
            unions = [
                len(set(trace.ids[at : at + window, layer].ravel().tolist()))
                for tokens in trace.ranges
                for at in range(tokens.start, tokens.stop - window + 1)
            ]
            if unions:
                assert found[row, layer] == pytest.approx(np.mean(unions))
            else:
                assert np.isnan(found[row, layer])


@given(traces())
@settings(max_examples=40, deadline=None)
def test_batch_unions_join_the_tokens_of_neighbouring_sequences(trace: RandomTrace) -> None:
    batches = (1, 2, 3, 16)
    found = batch_unions(trace.ids, trace.sequences.sequence_start, trace.num_experts, batches)
    for row, batch in enumerate(batches):
        groups = [trace.ranges[at : at + batch] for at in range(0, len(trace.ranges) - batch + 1, batch)]
        for layer in range(trace.ids.shape[1]):
            unions = [
                len({int(expert) for tokens in group for expert in trace.ids[tokens.start + step, layer]})
                for group in groups
                for step in range(min(len(tokens) for tokens in group))
            ]
            if unions:
                assert found[row, layer] == pytest.approx(np.mean(unions))
            else:
                assert np.isnan(found[row, layer])


def test_uniform_unions_grow_as_independent_draws_do() -> None:
    """n independent uniform sets leave an expert out with the chance (1 - K / E)**n."""
    ids = uniform_ids(20_000, 1, 4, 32, seed=2)
    found = window_unions(ids, np.array([0, 20_000]), 32, (2, 8, 32))
    np.testing.assert_allclose(found[:, 0], [32 * (1 - (1 - 4 / 32) ** n) for n in (2, 8, 32)], rtol=0.01)


@pytest.mark.parametrize("from_end", [False, True])
def test_shared_tokens_end_where_the_routing_of_neighbours_parts(from_end: bool) -> None:
    num_experts, top_k = 64, 3
    ids = uniform_ids(260, 4, top_k, num_experts, seed=7)  # two such tokens share next to nothing
    first, second = range(90), range(90, 190)
    if from_end:
        ids[second.stop - 66 : second.stop] = ids[first.stop - 66 : first.stop]
    else:
        ids[second.start : second.start + 66] = ids[first.start : first.start + 66]
    assert shared_tokens(ids, np.array([0, 90, 190, 260]), from_end=from_end).tolist() == [66, 0]


def test_equal_sequences_share_all_of_their_tokens() -> None:
    ids = as_ids(np.tile(uniform_ids(70, 2, 2, 16, seed=8), (2, 1, 1)), 16)
    assert shared_tokens(ids, np.array([0, 70, 140])).tolist() == [70]
