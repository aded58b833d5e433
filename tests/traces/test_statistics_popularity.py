"""Popularity, affinity, co-activation, gate weights, lookahead and drift against plain loops and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings

from tests.traces.random_traces import RandomTrace, skewed_ids, traces, uniform_ids
from traces.statistics.affinity import conditional, mutual_information_bits, transition_counts
from traces.statistics.coactivation import best_partner_lift, coactivation_counts, lift
from traces.statistics.coactivation import mutual_information_bits as together_bits
from traces.statistics.drift import (
    between_halves,
    between_sequences,
    between_shuffled_halves,
    jensen_shannon_distance,
    sequence_counts,
)
from traces.statistics.gate_concentration import effective_experts, rank_shares
from traces.statistics.lookahead_recall import lookahead_recall
from traces.statistics.popularity import gini, normalised_entropy, top_share, use_counts


@given(traces())
@settings(max_examples=40, deadline=None)
def test_use_counts_and_their_skew_are_those_of_plain_loops(trace: RandomTrace) -> None:
    counts = use_counts(trace.ids, trace.num_experts)
    for layer, row in enumerate(counts.tolist()):
        assert row == [int((trace.ids[:, layer] == expert).sum()) for expert in range(trace.num_experts)]
        differences = sum(abs(one - other) for one in row for other in row)
        assert gini(counts)[layer] == pytest.approx(differences / (2 * len(row) * sum(row)))
        shares = [count / sum(row) for count in row if count]
        entropy = -sum(share * math.log(share) for share in shares)
        wanted = entropy / math.log(len(row)) if len(row) > 1 else 1.0
        assert normalised_entropy(counts)[layer] == pytest.approx(wanted)
        top = sorted(row, reverse=True)[: math.ceil(0.25 * len(row))]
        assert top_share(counts, 0.25)[layer] == pytest.approx(sum(top) / sum(row))


def test_even_use_has_no_skew_and_one_expert_all_of_it() -> None:
    counts = np.array([[5, 5, 5, 5], [20, 0, 0, 0]])
    assert gini(counts).tolist() == [0, 0.75]
    assert normalised_entropy(counts).tolist() == [1, 0]
    assert top_share(counts, 0.25).tolist() == [0.25, 1]


@given(traces())
@settings(max_examples=40, deadline=None)
def test_transition_and_coactivation_counts_are_those_of_plain_loops(trace: RandomTrace) -> None:
    num_tokens, num_layers, top_k = trace.ids.shape
    following = np.zeros((num_layers - 1, trace.num_experts, trace.num_experts), int)
    together = np.zeros((num_layers, trace.num_experts, trace.num_experts), int)
    for token in range(num_tokens):
        for layer in range(num_layers):
            for one in trace.ids[token, layer].tolist():
                for other in trace.ids[token, layer].tolist():
                    together[layer, one, other] += 1
                for other in trace.ids[token, layer + 1].tolist() if layer + 1 < num_layers else ():
                    following[layer, one, other] += 1
    assert coactivation_counts(trace.ids, trace.num_experts).tolist() == together.tolist()
    counts = transition_counts(trace.ids, trace.num_experts)
    assert counts.tolist() == following.tolist()
    rows = conditional(counts, top_k).sum(axis=2)
    np.testing.assert_allclose(rows[~np.isnan(rows)], top_k)


def test_layers_that_repeat_each_other_tell_log2_of_the_experts() -> None:
    """With one uniform expert per token, copied by the next layer, the mutual information is log2 E."""
    ids = np.repeat(np.arange(800, dtype=np.uint8)[:, None, None] % 8, 2, axis=1)
    assert mutual_information_bits(transition_counts(ids, 8)).tolist() == [pytest.approx(3.0)]


def test_independent_layers_tell_nothing_but_the_bias_of_the_sample() -> None:
    ids = uniform_ids(20_000, 2, 1, 8, seed=3)
    bias = 7 * 7 / (2 * math.log(2) * 20_000)
    assert mutual_information_bits(transition_counts(ids, 8))[0] == pytest.approx(bias, abs=bias)


def test_lift_is_one_by_chance_and_high_for_a_pair_that_always_meets() -> None:
    ids = uniform_ids(20_000, 1, 2, 8, seed=4)
    by_chance = lift(coactivation_counts(ids, 8))
    assert np.nanmax(np.abs(by_chance - 1)) < 0.2
    assert np.isnan(np.diagonal(by_chance, axis1=1, axis2=2)).all()
    pairs = np.array([[0, 1], [2, 3], [4, 5], [6, 7]] * 200, np.uint8)[:, None, :]
    assert best_partner_lift(coactivation_counts(pairs, 8)).tolist() == [pytest.approx(7.0)]  # 1 of 7 partners


def test_lift_of_rare_pairs_is_not_judged() -> None:
    assert np.isnan(best_partner_lift(coactivation_counts(uniform_ids(5, 2, 2, 8, seed=4), 8))).all()


@given(traces())
@settings(max_examples=40, deadline=None)
def test_gate_concentration_is_the_mean_over_sets(trace: RandomTrace) -> None:
    weights = trace.sequences.gate_weights
    assert weights is not None
    share = weights.astype(float) / weights.astype(float).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(rank_shares(weights), share.mean(axis=0))
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(axis=2)
    np.testing.assert_allclose(effective_experts(weights), np.exp(entropy).mean(axis=0))


def test_sets_without_weight_are_left_out() -> None:
    weights = np.array([[[0.5, 0.5]], [[0, 0]]], np.float16)
    assert rank_shares(weights).tolist() == [[0.5, 0.5]]
    assert effective_experts(weights).tolist() == [pytest.approx(2.0)]


@given(traces())
@settings(max_examples=40, deadline=None)
def test_lookahead_recall_is_the_share_of_experts_that_were_guessed(trace: RandomTrace) -> None:
    guesses = trace.sequences.lookahead_ids
    assert guesses is not None
    recall = lookahead_recall(trace.ids, guesses)
    num_tokens, num_layers, top_k = trace.ids.shape
    for distance in (1, 2):
        for layer in range(num_layers):
            if layer < distance:
                assert np.isnan(recall[distance - 1, layer])
                continue
            found = sum(
                len(set(guesses[token, layer - distance, distance - 1]) & set(trace.ids[token, layer]))
                for token in range(num_tokens)
            )
            assert recall[distance - 1, layer] == pytest.approx(found / (num_tokens * top_k))


def test_distance_is_nought_for_equal_and_one_for_disjoint_popularity() -> None:
    one, other = np.array([[3, 1, 0], [1, 1, 0]]), np.array([[6, 2, 0], [0, 0, 5]])
    np.testing.assert_allclose(jensen_shannon_distance(one, other), [0, 1], atol=1e-9)
    assert np.isnan(jensen_shannon_distance(np.zeros(3, int), np.ones(3, int)))


@given(traces())
@settings(max_examples=40, deadline=None)
def test_sequence_counts_add_up_to_the_trace(trace: RandomTrace) -> None:
    counts = sequence_counts(trace.ids, trace.sequences.sequence_start, trace.num_experts)
    for row, tokens in zip(counts, trace.ranges, strict=True):
        assert row.tolist() == use_counts(trace.ids[tokens.start : tokens.stop], trace.num_experts).tolist()
    distance = between_sequences(counts)
    assert np.isnan(distance).all() if len(counts) == 1 else ((distance >= 0) & (distance <= 1)).all()


def test_a_change_in_the_middle_is_drift_and_chance_is_not() -> None:
    steady = skewed_ids(4_000, 1, 2, 8, seed=5)
    changed = steady.copy()
    changed[2_000:] = 7 - changed[2_000:]
    assert between_halves(steady, 8)[0] < 0.06
    assert between_halves(changed, 8)[0] > 0.4
    assert between_shuffled_halves(changed, 8)[0] < 0.06


def test_members_that_always_meet_tell_all_of_each_other() -> None:
    """Of eight experts in four fixed pairs, one member leaves no doubt about the other: log2 8 bits."""
    pairs = np.array([[0, 1], [2, 3], [4, 5], [6, 7]] * 50, np.uint8)[:, None, :]
    assert together_bits(coactivation_counts(pairs, 8)).tolist() == [pytest.approx(3.0)]


def test_members_drawn_alike_tell_only_that_they_differ() -> None:
    """For uniform pairs the joint is even off the diagonal: log2 (E / (E - 1)) bits."""
    ids = uniform_ids(20_000, 1, 2, 8, seed=9)
    assert together_bits(coactivation_counts(ids, 8))[0] == pytest.approx(math.log2(8 / 7), abs=0.005)
    assert together_bits(coactivation_counts(ids[..., :1], 8)).tolist() == [0]
