"""Gate lookahead of a stated recall, for traces that have recorded none.

What a gate further on would pick is made of what it will pick: each of the picks is kept with the stated probability, and
else replaced by another expert of that bank that the token does not use. So a predictor is as good as it is said to be.

Limits: errors are independent of one another and of how popular an expert is; real predictors err more on rare experts.
"""

import random
from collections.abc import Sequence

from simulator.workload.step import Step


class StatedLookahead:
    """Picks of gates ahead with a stated recall.

    `recall` [L][D] is the share of a gate's picks that lookahead by 1, 2, ... layers finds, by the layer that is predicted;
    the last distance stands for those beyond. Raises ValueError for a share that is none.
    """

    def __init__(
        self,
        recall: Sequence[Sequence[float]],
        *,
        first_keys: Sequence[int],
        num_experts: int,
        seed: int,
    ) -> None:
        if any(not 0 <= share <= 1 for of_layer in recall for share in of_layer):
            raise ValueError("a recall is a share, from 0 to 1")
        self.recall = recall
        self._first_keys = first_keys
        self._num_experts = num_experts
        self._seed = seed

    def picks(self, step: Step, visit: int, distance: int) -> Sequence[Sequence[int]]:
        """Return what the gate `distance` layers after this visit seems to pick, [n][K]; the same whenever it is asked."""
        layer = visit % len(self._first_keys) + distance
        of_layer = self.recall[layer]
        recall = of_layer[min(distance, len(of_layer)) - 1]
        first_key = self._first_keys[layer]
        rng = random.Random(f"{self._seed}:{visit}:{distance}")
        result = []
        for token in step.tokens:
            true = token[layer]
            others = [key for key in range(first_key, first_key + self._num_experts) if key not in true]
            rng.shuffle(others)
            result.append([key if rng.random() < recall or not others else others.pop() for key in true])
        return result
