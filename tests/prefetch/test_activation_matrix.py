"""Matching activation matrices: by hand, and against a plain computation of every cosine anew."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from simulator.prefetch.activation_matrix import ActivationMatrix
from simulator.prefetch.activation_matrix_code import ActivationMatrixCode
from tests.hand_made import HandView, Routing, random_routing
from tests.prefetch.recorded import recorded

# Two past requests over three layers of four experts, top 1, as [tokens][layers][1].
# Matrix 0: layer 0 {0: 2}, layer 1 {1: 1, 2: 1}, layer 2 {3: 2}.
# Matrix 1: layer 0 {1: 4}, layer 1 {0: 3, 3: 1}, layer 2 {2: 4}.
PAST: Routing = [
    [[[0], [1], [3]], [[0], [2], [3]]],
    [[[1], [0], [2]], [[1], [0], [2]], [[1], [0], [2]], [[1], [3], [2]]],
]


def small_view(folder: Path) -> HandView:
    """Three layers of four experts, keys layer * 4 + expert."""
    training = recorded(folder, PAST, num_experts=4)
    visits: list[list[int]] = [[] for _ in range(60)]
    return HandView(visits, num_layers=3, num_experts=4, top_k=1, training=training, shared_bank=False)


def take(
    policy: ActivationMatrix, view: HandView, visit: int, tokens: list[list[int]], requests: list[int] | None = None
) -> list[int]:
    """Pass one gate with these picks, [n][K] of keys, and return what is named."""
    view.oracle.visit = visit
    view.tokens, view.request_of_token = tokens, requests if requests is not None else [0] * len(tokens)
    return list(policy.after_gate([key for token in tokens for key in token]))


def test_names_what_the_most_similar_request_used_later(tmp_path: Path) -> None:
    """At layer 0 expert 1 is that of matrix 1, whose later rows have priorities by share and distance.

    Layer 1: 4 has 3/4, 7 has 1/4, times 2/3: 1/2 and 1/6. Layer 2: 10 has 1, times 1/3. Then at layer 1 expert 1 is
    matrix 0's, but rows 0 and 1 are compared together: (1*0 + 1*1) / sqrt(2 * 6) < (4 + 0) / sqrt(2 * 26).
    """
    view = small_view(tmp_path)
    policy = ActivationMatrix(view)
    assert take(policy, view, 0, [[1]]) == [4, 10, 7]
    assert take(policy, view, 1, [[5]]) == [10]
    assert take(policy, view, 2, [[10]]) == []


def test_names_absent_experts_alone_and_no_more_than_most(tmp_path: Path) -> None:
    """4 is resident and 10 on its way; matrix 0 is what expert 0 recalls: 5 and 6 have 1/2 * 2/3 each, as has 11."""
    view = small_view(tmp_path)
    view.resident, view.in_flight = {4}, {10}
    assert take(ActivationMatrix(view), view, 0, [[1]]) == [7]
    assert take(ActivationMatrix(view), view, 0, [[0]]) == [5, 6, 11]
    assert take(ActivationMatrix(view, most=2), view, 0, [[0]]) == [5, 6]


def test_requests_of_a_step_are_matched_apart(tmp_path: Path) -> None:
    """Request 7 recalls matrix 0, request 8 matrix 1: the priorities 1/3 of 5, 6 and 11, and 1/2, 1/3, 1/6 of 4, 10, 7."""
    view = small_view(tmp_path)
    assert take(ActivationMatrix(view), view, 0, [[0], [1]], [7, 8]) == [4, 5, 6, 10, 11, 7]


def test_an_ended_request_joins_the_collection(tmp_path: Path) -> None:
    """Request 0 goes 2, 2, 0. A prefill does not end it; a decode step without it does, and request 1 recalls it."""
    view = small_view(tmp_path)
    policy = ActivationMatrix(view)
    for visit, key in enumerate((2, 6, 8)):
        take(policy, view, visit, [[key]], [0])
    view.is_prefill = True
    assert take(policy, view, 3, [[2]], [1]) == [5, 6, 11]  # nothing alike: the first of the two
    view.is_prefill = False
    assert take(policy, view, 6, [[2]], [1]) == [6, 8]
    offline = ActivationMatrix(view, online=False)
    for visit, key in enumerate((2, 6, 8)):
        take(offline, view, visit, [[key]], [0])
    assert take(offline, view, 3, [[2]], [1]) == [5, 6, 11]


def test_a_full_collection_gives_up_the_most_similar(tmp_path: Path) -> None:
    """A request like matrix 1 takes its place: expert 1 now recalls 1, 0, 0, and expert 0 matrix 0 as before."""
    view = small_view(tmp_path)
    policy = ActivationMatrix(view, capacity=2)
    for visit, key in enumerate((1, 4, 8)):
        take(policy, view, visit, [[key]], [0])
    assert take(policy, view, 3, [[1]], [1]) == [4, 8]
    assert take(policy, view, 6, [[0]], [2]) == [5, 6, 11]


def test_knows_nothing_before_the_first_request_has_ended(tmp_path: Path) -> None:
    """Without training the first request is the first matrix."""
    view = small_view(tmp_path)
    policy = ActivationMatrix(view, trained=False)
    for visit, key in enumerate((1, 4, 8)):
        assert take(policy, view, visit, [[key]], [0]) == []
    assert take(policy, view, 3, [[1]], [1]) == [4, 8]


def test_the_code_compares_the_rows_to_come_with_earlier_steps(tmp_path: Path) -> None:
    """In the first step all are equal and matrix 0 is taken; from the second on rows 1 and 2 of the first step count.

    Named at layer 0 of matrix 0: 0 itself with 2, then row 1 (1, 1) * 3/4, row 2 (2) * 1/2, and others for next to nothing.
    In the second step the rows 1 and 2 so far are those of matrix 1, although layer 0 says matrix 0: row 0 has 1 with 4,
    row 1 0 with 3 * 3/4 and 3 with 3/4, row 2 2 with 4 / 2.
    """
    view = small_view(tmp_path)
    policy = ActivationMatrixCode(view, most=4)
    assert take(policy, view, 0, [[0]]) == [0, 11, 5, 6]
    take(policy, view, 1, [[4]])
    take(policy, view, 2, [[10]])
    assert take(policy, view, 3, [[0]]) == [1, 4, 10, 7]


def test_the_code_names_what_was_never_used_last(tmp_path: Path) -> None:
    """At the last layer: row 2 of matrix 0, 11 and then the others."""
    view = small_view(tmp_path)
    policy = ActivationMatrixCode(view, most=4)
    for visit, key in enumerate((0, 5)):
        take(policy, view, visit, [[key]])
    assert take(policy, view, 2, [[11]]) == [11, 8, 9, 10]


def test_the_code_replaces_what_was_matched_least(tmp_path: Path) -> None:
    """With room for one more than the training, the second request to end takes the place of the first."""
    view = small_view(tmp_path)
    policy = ActivationMatrixCode(view, capacity=3, most=2)
    for request, keys in enumerate(((2, 6, 8), (3, 7, 9), (3, 7, 9))):
        for layer, key in enumerate(keys):
            take(policy, view, 6 * request + layer, [[key]], [request])
        for layer, key in enumerate(keys):
            named = take(policy, view, 6 * request + 3 + layer, [[key]], [request])
            if (request, layer) == (2, 0):
                assert named == [3, 7]


class Plain:
    """The paper's policy for one request at a time: lists, and every cosine anew."""

    def __init__(self, past: Sequence[np.ndarray], capacity: int, most: int, first_keys: Sequence[int]) -> None:
        self.stored: list[np.ndarray] = []
        self.capacity, self.most, self.first_keys = capacity, most, first_keys
        self.request = -1
        self.matrix = past[0]  # of no request as yet
        for matrix in past:
            self.store(matrix)

    def store(self, matrix: np.ndarray) -> None:
        """Append, or replace the most similar."""
        if len(self.stored) < self.capacity:
            self.stored.append(matrix)
        else:
            self.stored[self.nearest(matrix, len(matrix))] = matrix

    def nearest(self, matrix: np.ndarray, num_rows: int) -> int:
        """Return the first of the highest cosines over some rows."""
        best, best_cosine = 0, -1.0
        for at, other in enumerate(self.stored):
            product, own, its = 0, 0, 0
            for layer in range(num_rows):
                for mine, theirs in zip(matrix[layer].tolist(), other[layer].tolist(), strict=True):
                    product, own, its = product + mine * theirs, own + mine * mine, its + theirs * theirs
            cosine = product / np.sqrt(float(own * its)) if own and its else 0.0
            if cosine > best_cosine:
                best, best_cosine = at, cosine
        return best

    def gate(self, request: int, layer: int, keys: Sequence[int], absent: set[int]) -> list[int]:
        """Count, match and name."""
        num_layers = len(self.first_keys)
        num_experts = self.stored[0].shape[1]
        if request != self.request:
            if self.request >= 0:
                self.store(self.matrix)
            self.request, self.matrix = request, np.zeros((num_layers, num_experts), int)
        for key in keys:
            self.matrix[layer, key - self.first_keys[layer]] += 1
        match = self.stored[self.nearest(self.matrix, layer + 1)]
        ranked = []
        for later in range(layer + 1, num_layers):
            for expert, count in enumerate(match[later].tolist()):
                if count:
                    priority = count / int(match[later].sum()) * (1 - (later - layer) / num_layers)
                    ranked.append((-priority, later, self.first_keys[later] + expert))
        return [key for _, _, key in sorted(ranked) if key in absent][: self.most]


@pytest.mark.parametrize("capacity", [4, 50])
@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_a_plain_computation(tmp_path: Path, seed: int, capacity: int) -> None:
    """Requests one after the other, some experts resident: the same keys in the same order at every gate."""
    num_layers, num_experts, most = 4, 6, 5
    past = random_routing(seed, lengths=[2, 3, 1, 4, 2, 5], num_layers=num_layers, num_experts=num_experts, top_k=2)
    training = recorded(tmp_path, past, num_experts=num_experts)
    view = HandView([[]] * 400, num_layers=num_layers, num_experts=num_experts, training=training, shared_bank=False)
    first_keys = [num_experts * layer for layer in range(num_layers)]
    matrices = []
    for tokens in past:
        matrix = np.zeros((num_layers, num_experts), int)
        for token in tokens:
            for layer, experts in enumerate(token):
                matrix[layer, experts] += 1
        matrices.append(matrix)
    policy = ActivationMatrix(view, capacity=capacity, most=most)
    plain = Plain(matrices, capacity, most, first_keys)
    rng = np.random.default_rng(seed)
    run = random_routing(
        seed + 100, lengths=[3, 1, 4, 2, 3, 3], num_layers=num_layers, num_experts=num_experts, top_k=2
    )
    visit, num_named = 0, 0
    for request, tokens in enumerate(run):
        for token in tokens:
            for layer, experts in enumerate(token):
                keys = [first_keys[layer] + expert for expert in experts]
                view.resident = set(rng.permutation(view.num_keys)[:6].tolist())
                absent = set(range(view.num_keys)) - view.resident
                named = take(policy, view, visit, [keys], [request])
                assert named == plain.gate(request, layer, keys, absent)
                num_named += len(named)
                visit += 1
    assert num_named > 100


def plain_code_scores(past: Sequence[np.ndarray], matrix: np.ndarray, layer: int) -> np.ndarray:
    """Do to the letter what the code does to stored matrices and the request's, and return the mean cosines."""
    scores = []
    for other in past:
        masked = other.astype(float)
        masked[: layer + 1] = 1e-9
        masked /= masked.sum(axis=1, keepdims=True)
        own = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1e-300)
        norms = np.linalg.norm(own, axis=1) * np.linalg.norm(masked, axis=1)
        scores.append(np.mean((own * masked).sum(axis=1) / np.maximum(norms, 1e-6)))
    return np.array(scores)


@pytest.mark.parametrize("seed", range(6))
def test_the_code_agrees_with_a_plain_computation(tmp_path: Path, seed: int) -> None:
    """One request of eight tokens: what is named are the highest of the matrix with the best score, to the letter."""
    num_layers, num_experts, most = 4, 6, 5
    past = random_routing(seed, lengths=[5, 7, 6, 8, 9], num_layers=num_layers, num_experts=num_experts, top_k=2)
    training = recorded(tmp_path, past, num_experts=num_experts)
    view = HandView([[]] * 40, num_layers=num_layers, num_experts=num_experts, training=training, shared_bank=False)
    matrices = [
        np.array(
            [np.bincount(np.array(tokens)[:, layer].ravel(), minlength=num_experts) for layer in range(num_layers)]
        )
        for tokens in past
    ]
    policy = ActivationMatrixCode(view, most=most)
    matrix = np.zeros((num_layers, num_experts))
    (tokens,) = random_routing(seed + 50, lengths=[8], num_layers=num_layers, num_experts=num_experts, top_k=2)
    num_decided = 0
    for step, token in enumerate(tokens):
        for layer, experts in enumerate(token):
            named = take(
                policy, view, step * num_layers + layer, [[num_experts * layer + expert for expert in experts]]
            )
            matrix[layer, experts] += 1
            scores = plain_code_scores(matrices, matrix, layer)
            alike = np.flatnonzero(scores > scores.max() - 1e-9).tolist()
            answers = []
            for match in alike:
                ranked = [
                    (-(count + 1e-8) * (-(row - layer) / (num_layers + 1) + 1), row * num_experts + expert)
                    for row in range(layer, num_layers)
                    for expert, count in enumerate(matrices[match][row].tolist())
                ]
                answers.append([key for _, key in sorted(ranked)][:most])
            assert named in answers
            num_decided += len(alike) == 1
    assert num_decided > 10


@pytest.mark.parametrize("policy", [ActivationMatrix, ActivationMatrixCode])
def test_refuses_parameters_that_make_no_sense(policy: type[ActivationMatrix], tmp_path: Path) -> None:
    """The fault names the parameter and its value; training that is not there is asked for."""
    view = small_view(tmp_path)
    with pytest.raises(ValueError, match="capacity is 0; it should be 1 matrix or more"):
        policy(view, capacity=0)
    with pytest.raises(ValueError, match="most is 0; it should be 1 expert or more"):
        policy(view, most=0)
    with pytest.raises(ValueError, match="trained and online are both false"):
        policy(view, trained=False, online=False)
    with pytest.raises(ValueError, match="learns from recorded routing"):
        policy(HandView())
