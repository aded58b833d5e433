"""Training, views and runs for tests of prefetchers."""

import random
from collections.abc import Sequence
from pathlib import Path

from simulator.prefetch import Prefetch
from simulator.training import Training
from tests.hand_made import HandView, Routing, make_trace


def training_of(
    folder: Path, sequences: Sequence[Sequence[Sequence[Sequence[int]]]], *, num_experts: int, first: int | None = None
) -> Training:
    """Return a training on the `first` of some sequences, [tokens][layers][top_k] each (all unless given)."""
    trace = make_trace(folder / "trace.safetensors", sequences, num_experts=num_experts)
    return Training(trace, range(len(sequences) if first is None else first))


def view_of(training: Training, visits: Sequence[Sequence[int]] = ()) -> HandView:
    """Return a view of the model that a training was recorded from, with a bank per layer."""
    return HandView(
        visits,
        num_layers=training.num_layers,
        num_experts=training.num_experts,
        top_k=training.keys_TLK.shape[2],
        training=training,
        shared_bank=False,
    )


def keys_of(token: Sequence[Sequence[int]], num_experts: int) -> list[list[int]]:
    """Return a token's experts by layer as keys, a bank per layer."""
    return [[layer * num_experts + expert for expert in picks] for layer, picks in enumerate(token)]


def decisions(policy: Prefetch, view: HandView) -> list[list[int]]:
    """Take a policy through every visit of a view; return what it names at each step's start and gate and layer's end."""
    names: list[list[int]] = []
    for visit, keys in enumerate(view.oracle.visits):
        if visit % view.num_layers == 0:
            names.append(list(policy.at_step_start()))
        view.oracle.visit = visit
        names += [list(policy.after_gate(keys)), list(policy.at_layer_end())]
    return names


def linked_routing(seed: int, *, lengths: Sequence[int], num_layers: int, num_experts: int, faithful: float) -> Routing:
    """Draw top-1 routing in which a layer's expert follows from the layer before's and the token before's.

    With the probability `faithful` it is (expert of the layer before + expert of the token before * 3 + layer) modulo
    `num_experts`, of the layer before alone for even layers; else any.
    """
    rng = random.Random(seed)
    sequences: Routing = []
    for length in lengths:
        before = [rng.randrange(num_experts) for _ in range(num_layers)]
        tokens = []
        for _ in range(length):
            token: list[int] = []
            for layer in range(num_layers):
                due = before[layer] + 1 if layer % 2 else (token[-1] if token else before[-1]) + layer
                token.append(due % num_experts if rng.random() < faithful else rng.randrange(num_experts))
            tokens.append([[expert] for expert in token])
            before = token
        sequences.append(tokens)
    return sequences
