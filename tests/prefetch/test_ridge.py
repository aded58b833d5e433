"""The linear model against one fitted from dense features, and the recall of all that learn."""

from pathlib import Path

import numpy as np
import pytest

from simulator.prefetch import PREFETCH
from simulator.prefetch.affinity import STEP_START
from simulator.prefetch.counting import UNIT
from simulator.prefetch.ridge import Ridge, fit_ridge
from simulator.training import Training
from tests.hand_made import HandView, make_trace, random_routing
from tests.prefetch.held_out import recall_by_layer
from tests.prefetch.routing import decisions, linked_routing, training_of, view_of
from traces.format import Sequences, TraceMetadata, open_trace, write_trace


def test_coefficients_are_those_of_dense_least_squares(tmp_path: Path) -> None:
    """Least squares on one-hot features with rows for the penalty, token by token."""
    size, l2 = 4, 2.0
    routing = random_routing(1, lengths=[15, 1, 20], num_layers=3, num_experts=size, top_k=2)
    tables = fit_ridge(training_of(tmp_path, routing, num_experts=size), nearest=1, beyond=3, l2=l2)
    assert sorted(tables) == [(-1, 0), (-1, 1), (0, 1), (0, 2), (1, 2)]
    for (layer, target), table in tables.items():
        rows, targets = [], []
        for tokens in routing:
            for at in range(layer == STEP_START, len(tokens)):
                row = np.zeros(2 * size + 1)
                row[tokens[at - 1][-1] if layer == STEP_START else tokens[at][layer]] = 1
                if at:
                    row[[size + expert for expert in tokens[at - 1][target]]] = 1
                row[-1] = 1
                rows.append(row)
                targets.append(np.isin(np.arange(size), tokens[at][target]))
        penalty = np.diag([l2**0.5] * 2 * size + [1e-3])
        dense = np.linalg.lstsq(
            np.vstack([*rows, penalty]), np.vstack([*targets, np.zeros((len(penalty), size))]), rcond=None
        )[0]
        np.testing.assert_allclose(table / UNIT, dense, atol=2e-6)


def test_scores_add_up_over_tokens_and_their_predecessors(tmp_path: Path) -> None:
    """A coefficient per pick, per pick of each request's token before, and a constant per token."""
    size = 5
    routing = random_routing(2, lengths=[30], num_layers=2, num_experts=size, top_k=2)
    training = training_of(tmp_path, routing, num_experts=size)
    view = view_of(training)
    policy = Ridge(view, experts=size)
    table = fit_ridge(training, nearest=1, beyond=2, l2=10.0)[0, 1]
    view.oracle.visit, view.request_of_token = 1, [3, 4]
    view.tokens = [[5, 6], [7, 8]]
    assert policy.after_gate([]) == []
    view.oracle.visit, view.request_of_token = 2, [4, 8]
    view.tokens = [[0, 4], [1, 4]]
    scores = table[[0, 4, 1, 4, size + 2, size + 3]].sum(axis=0) + 2 * table[-1]
    assert policy.after_gate([]) == sorted(range(5, 10), key=lambda key: (-scores[key - 5], key))


def test_looks_as_far_as_the_stride_says(tmp_path: Path) -> None:
    """Stride 2 leaves the next layer out, and at a step's start the first; without a token before it names nothing."""
    routing = linked_routing(0, lengths=[40], num_layers=4, num_experts=4, faithful=1.0)
    view = view_of(training_of(tmp_path, routing, num_experts=4), [[0], [4], [8], [12]] * 2)
    named = decisions(Ridge(view, stride=2), view)
    assert [[key // 4 for key in keys] for keys in named] == [
        *([[], [2], [], [3], [], [], [], [], []]),
        *([[1], [2], [], [3], [], [], [], [], []]),
    ]


@pytest.mark.parametrize("policy", ["affinity", "edgemoe", "ridge", "whole_path"])
def test_what_learns_beats_popularity_on_sequences_it_has_not_seen(policy: str, tmp_path: Path) -> None:
    """Routing that follows from the layer before or from the token before, three times in four."""
    routing = linked_routing(7, lengths=[60] * 20, num_layers=6, num_experts=8, faithful=0.75)
    trace = make_trace(tmp_path / "trace.safetensors", routing, num_experts=8)
    training, judged = Training(trace, range(10)), Training(trace, range(10, 20))
    recall = recall_by_layer(PREFETCH[policy], training, judged)
    popular = recall_by_layer(PREFETCH["popularity"], training, judged)
    assert sum(popular) / 6 < 0.2
    assert sum(recall) > sum(popular) + 0.5
    if policy == "ridge":
        # of odd layers the token before tells 3/4 + 1/32, of even ones the layer before
        assert recall == pytest.approx([0.78] * 6, abs=0.05)


@pytest.mark.slow
def test_predictors_of_a_real_model_rank_as_they_should(shared_data: Path, tmp_path: Path) -> None:
    """gpt-oss-20b, fitted on 30 sequences, judged on 1,500 tokens of others: popularity < affinity < paths < ridge."""
    with np.load(shared_data / "traces" / "gpt-oss-20b_decode.npz") as arrays:
        starts = arrays["sequence_start"][:61].astype(np.int64)
        sequences = Sequences(
            expert_ids=arrays["expert_ids"][: starts[-1]], sequence_start=starts, prompt_tokens=np.zeros(60, np.int32)
        )
    write_trace(tmp_path / "trace.safetensors", sequences, TraceMetadata(model="gpt-oss-20b", num_experts=32))
    trace = open_trace(tmp_path / "trace.safetensors")
    training, judged = Training(trace, range(30)), Training(trace, range(30, 60))
    popularity, affinity, paths, ridge = (
        float(np.mean(recall_by_layer(PREFETCH[name], training, judged, max_tokens=1500)[1:]))
        for name in ("popularity", "affinity", "edgemoe", "ridge")
    )
    assert 4 / 32 < popularity < affinity - 0.2
    assert affinity < paths < ridge < 0.8


def test_refuses_what_means_nothing() -> None:
    """The fault names the parameter and its value."""
    with pytest.raises(ValueError, match=r"l2 is 0\.0; it should be above 0"):
        Ridge(HandView(), l2=0.0)
    with pytest.raises(ValueError, match="stride is 0; it should be 1 layer or more"):
        Ridge(HandView(), stride=0)
