"""Put together what the experts of one layer make of its tokens, in whatever order they are computed.

Legend: N tokens of one forward pass, K top-k, H hidden width, S = N * K pairs of a token and an expert.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from validation.runtime.kernel import compute_expert


class LayerOutput:
    """The output of one MoE layer under construction: `add` each expert of `experts` once, then ask for `result`.

    Each pair of a token and one of its experts has a row of its own, and a token's rows are summed over K at the end.
    So the result does not depend on the order of `add`, to the last bit, and experts never added count as zero. Rows
    are weighted in the wider dtype of states and weights, summed, and rounded to the states' dtype once, as
    transformers' `batched_mm` does.

    An id of -1 stands for a pick that is done without: its row stays zero, and the weights of a token's other picks are as
    they were.

    The pairs are sorted by expert once, so that the tokens of an expert are a slice; a single token needs no sorting.
    The ids are read on the host, which on CUDA waits for them, unless `host_ids_NK` gives them.
    """

    def __init__(
        self,
        hidden_NH: Tensor,
        ids_NK: Tensor,
        weights_NK: Tensor,
        *,
        host_ids_NK: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self._num_tokens, self._top_k = ids_NK.shape
        self._dtype = hidden_NH.dtype
        ids_S = np.asarray(ids_NK.cpu() if host_ids_NK is None else host_ids_NK, dtype=np.int16).reshape(-1)
        self._place_S: Tensor | None = None
        self._token_S: Tensor | None = None
        self._spans: dict[int, tuple[int, int]]
        if self._num_tokens == 1 and len(set(ids_S.tolist())) == self._top_k:
            self._spans = {expert: (rank, rank + 1) for rank, expert in enumerate(ids_S.tolist()) if expert >= 0}
            self._hidden, self._weights_S1 = hidden_NH, weights_NK.reshape(-1, 1)
        else:
            self._sort(hidden_NH, weights_NK, ids_S)
        self.experts: tuple[int, ...] = tuple(sorted(self._spans))
        wide = torch.promote_types(hidden_NH.dtype, weights_NK.dtype)
        shape = (self._num_tokens * self._top_k, hidden_NH.shape[-1])
        self._rows_SH = torch.zeros(shape, dtype=wide, device=hidden_NH.device)

    def _sort(self, hidden_NH: Tensor, weights_NK: Tensor, ids_S: NDArray[np.int16]) -> None:
        """Order the pairs by expert, those of an expert by token; numpy sorts 16 bits several times faster than 64."""
        order_S = np.argsort(ids_S, kind="stable")
        inverse_S = np.empty_like(order_S)
        inverse_S[order_S] = np.arange(order_S.size)
        counts = np.bincount(ids_S + 1)  # -1 counts as the first
        ends = counts.cumsum().tolist()
        self._spans = {
            above - 1: (ends[above] - count, ends[above])
            for above, count in enumerate(counts.tolist())
            if count and above
        }
        indices = np.stack([order_S // self._top_k, order_S, inverse_S])
        self._token_S, pair_S, self._place_S = torch.from_numpy(indices).to(hidden_NH.device)
        self._hidden = hidden_NH.index_select(0, self._token_S)
        self._weights_S1 = weights_NK.reshape(-1).index_select(0, pair_S).unsqueeze(-1)

    def num_tokens(self, expert_id: int) -> int:
        """Count the tokens that are routed to an expert of `experts`."""
        start, end = self._spans[expert_id]
        return end - start

    def has(self, expert_id: int) -> bool:
        """Tell whether any token is routed to an expert."""
        return expert_id in self._spans

    def rows(self, expert_id: int) -> Tensor:
        """Return the states that an expert of `experts` is given, [tokens, H]: a view, to be read only."""
        if self._place_S is None:
            return self._hidden
        start, end = self._spans[expert_id]
        return self._hidden[start:end]

    def rows_of(self, expert_id: int, given_NH: Tensor) -> Tensor:
        """Return those rows of some other [N, H] that belong to the tokens of an expert of `experts`, [tokens, H]."""
        if self._token_S is None:
            return given_NH
        start, end = self._spans[expert_id]
        return given_NH.index_select(0, self._token_S[start:end])

    def add(self, expert_id: int, compute: Callable[[Tensor], Tensor]) -> None:
        """Compute an expert of `experts`: `compute` turns its states [tokens, H] into outputs [tokens, H]."""
        self.put(expert_id, compute(self.rows(expert_id)))

    def put(self, expert_id: int, made: Tensor) -> None:
        """Take in what an expert of `experts` has made of its states: [tokens, H], on the device of the layer."""
        start, end = self._spans[expert_id]
        torch.mul(made, self._weights_S1[start:end], out=self._rows_SH[start:end])

    def belated(self, made: Mapping[int, Tensor]) -> Tensor:
        """Return what experts of `experts` add that were not ready for `result`, [N, H], in the dtype of the states.

        `made` is what each has made of its states, as for `put`, which is not called for them.
        """
        late_NH = self._rows_SH.new_zeros((self._num_tokens, self._rows_SH.shape[-1]))
        for expert_id in sorted(made):
            start, end = self._spans[expert_id]
            weighted = made[expert_id] * self._weights_S1[start:end]
            if self._token_S is None:
                late_NH += weighted
            else:
                late_NH.index_add_(0, self._token_S[start:end], weighted.to(late_NH.dtype))
        return late_NH.to(self._dtype)

    def result(self) -> Tensor:
        """Return the layer's output [N, H], in the dtype of the states."""
        rows_SH = self._rows_SH if self._place_S is None else self._rows_SH.index_select(0, self._place_S)
        return rows_SH.view(self._num_tokens, self._top_k, -1).sum(dim=1).to(self._dtype)


def weighted_sum(
    experts_module: nn.Module,
    tensors_of: Callable[[int], Mapping[str, Tensor]],
    hidden_NH: Tensor,
    ids_NK: Tensor,
    weights_NK: Tensor,
) -> Tensor:
    """Return the output [N, H] of a layer, each of its experts computed from `tensors_of(expert id)`.

    What an executor does, without its decisions: the reference for one.
    """
    with torch.no_grad():
        output = LayerOutput(hidden_NH, ids_NK, weights_NK)
        for expert in output.experts:
            output.add(expert, partial(compute_expert, experts_module, tensors_of(expert)))
        return output.result()
