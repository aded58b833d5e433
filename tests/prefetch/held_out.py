"""The recall of prefetchers on sequences that they have not learned from."""

from collections.abc import Callable

from simulator.prefetch import Prefetch
from simulator.training import Training
from tests.hand_made import HandView


def recall_by_layer(
    make: Callable[[HandView], Prefetch], training: Training | None, judged: Training, *, max_tokens: int = 1 << 30
) -> list[float]:
    """Return the share of each layer's picks that had been named in time, of `judged`'s first tokens one after another.

    What counts as in time: named since the step before began its last layer, and before the layer's own gate.
    """
    num_layers = judged.num_layers
    keys = judged.keys_TLK[:max_tokens].tolist()
    view = HandView(
        [visit for token in keys for visit in token],
        num_layers=num_layers,
        num_experts=judged.num_experts,
        top_k=judged.keys_TLK.shape[2],
        training=training,
        shared_bank=False,
    )
    policy = make(view)
    found = [0] * num_layers
    starts = set(judged.sequence_start.tolist())
    request = -1
    for at, token in enumerate(keys):
        request += at in starts
        view.request_of_token = [request]
        names = set(policy.at_step_start())
        for layer, picks in enumerate(token):
            view.oracle.visit += 1
            found[layer] += len(names.intersection(picks))
            if layer == num_layers - 1:
                names = set()
            names.update(policy.after_gate(picks))
            names.update(policy.at_layer_end())
    return [number / (len(keys) * judged.keys_TLK.shape[2]) for number in found]
