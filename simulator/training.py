"""Recorded routing that policies may learn from: other sequences than those of the run.

Legend: T tokens, L routing rounds, K top-k.

Limits: all of it is held in memory.
"""

from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from traces.format import Trace

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class NoTrainingError(ValueError):
    """A policy learns from recorded routing, and the run has none."""


class Training:
    """Some sequences of a trace, for fitting. Nothing of them is run.

    `keys_TLK` is int32 [T, L, K] by falling gate weight, `sequence_start` int64 [S+1] the offsets of the S sequences into
    T, `prompt_tokens` [S] how many tokens of each are prompt.
    """

    def __init__(self, trace: Trace, sequences: Sequence[int]) -> None:
        if not sequences:
            raise ValueError("training needs one sequence or more")
        ranges = [trace.sequence_tokens(sequence) for sequence in sequences]
        self._trace = trace
        self._ranges = ranges
        self.num_layers = trace.num_layers
        self.num_experts = trace.num_experts
        self.num_keys = trace.num_banks * trace.num_experts
        first_key = (np.array(trace.banks, dtype=np.int32) * trace.num_experts)[None, :, None]
        self.keys_TLK: NDArray[np.int32] = np.concatenate(
            [trace.expert_ids(tokens.start, tokens.stop).astype(np.int32) + first_key for tokens in ranges]
        )
        self.sequence_start = np.cumsum([0, *map(len, ranges)]).astype(np.int64)
        self.prompt_tokens = np.asarray(trace.prompt_tokens)[list(sequences)]
        self._fitted: dict[object, object] = {}

    @property
    def has_gate_weights(self) -> bool:
        """Whether `weights_TLK` can be had."""
        return self._trace.has_gate_weights

    def weights_TLK(self) -> NDArray[np.float32]:  # noqa: N802
        """Return the gate weights, float32 [T, L, K]. Raises ValueError if the trace has none."""
        if not self._trace.has_gate_weights:
            raise ValueError(f"needs gate weights, and {self._trace.path} has none; record it with `moesim capture`")
        rows = [self._trace.gate_weights(tokens.start, tokens.stop) for tokens in self._ranges]
        return np.concatenate(rows).astype(np.float32)

    def popularity(self) -> NDArray[np.int64]:
        """Count the tokens routed to each key, [num_keys]."""
        return np.bincount(self.keys_TLK.ravel(), minlength=self.num_keys).astype(np.int64)

    def fitted(
        self,
        fit: Callable[Concatenate["Training", Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Return `fit(self, ...)`, made once for all policies that ask for it with the same parameters."""
        asked = (fit, args, tuple(sorted(kwargs.items())))
        if asked not in self._fitted:
            self._fitted[asked] = fit(self, *args, **kwargs)
        return cast(Result, self._fitted[asked])
