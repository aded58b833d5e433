"""How well a layer's own gate foretells its choice from an earlier hidden state.

Source: Eliseev and Mazur, "Fast Inference of Mixture-of-Experts Language Models with Offloading" (2023), section 3.2:
the next layers' gates applied to the hidden state of this one, and their recall.

Limits: only what the recording kept: `lookahead_ids`, whose entry d - 1 is for distance d, the gate of layer l + d on
the hidden state that enters layer l. Guesses beyond the last layer do not count.
"""

import numpy as np
from numpy.typing import NDArray

from traces.format import Ids


def lookahead_recall(ids_TLK: Ids, lookahead_TLDK: Ids) -> NDArray[np.float64]:
    """Return the share of the chosen experts that the guess holds, [D, L]: for distance d + 1, by the guessed layer.

    NaN for the first layers, which nothing that early can guess.
    """
    num_layers, top_k = ids_TLK.shape[1:]
    num_distances = lookahead_TLDK.shape[2]
    recall = np.full((num_distances, num_layers), np.nan)
    for row in range(num_distances):
        distance = row + 1
        if distance >= num_layers:
            continue
        guess = lookahead_TLDK[:, : num_layers - distance, row]
        actual = ids_TLK[:, distance:]
        found_L = np.zeros(num_layers - distance)
        for rank in range(top_k):
            for other in range(top_k):
                found_L += (actual[:, :, rank] == guess[:, :, other]).sum(axis=0)
        recall[row, distance:] = found_L / (len(ids_TLK) * top_k)
    return recall
