"""The KV cache of a batch: a row of preallocated keys and values for each request, rows as long as their requests are.

Legend: B rows of the batch, N rows of a step, G KV heads, C max_context, d width of a head, Q queries of a row, M entries
that a step attends to (the longest of its rows).

Limits: one layout for all layers; full attention (see `attention_shape`); a context that was not recorded is the same
noise in every row and layer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Cache

from validation.replay.attention import AttentionShape

_MASK_ALIGNMENT = 16  # elements from row to row of a mask: CUDA's kernels copy a mask whose rows are not aligned
_NOISE_SCALE = 0.02


class RowCache(Cache):  # type: ignore[misc]
    """Keys and values of B rows, as attention in transformers wants them (`past_key_values`).

    A step is announced with `begin_chunk` or `begin_tokens`; each layer's `update` then writes the step's entries where
    they belong and returns those that the step attends to, as views.
    """

    def __init__(
        self, shape: AttentionShape, *, batch: int, max_context: int, torch_device: torch.device, seed: int
    ) -> None:
        """Allocate all rows, every page touched: for each layer, keys and values [B, G, C, d]."""
        super().__init__(layers=[])
        self.shape = shape
        self.num_rows = batch
        self.max_context = max_context
        self.torch_device = torch_device
        size = (2 * shape.num_layers, batch, shape.num_heads, max_context, shape.head_dim)
        self._all = torch.empty(size, dtype=shape.dtype, device=torch_device).fill_(0)
        self.keys, self.values = self._all[0::2].unbind(), self._all[1::2].unbind()
        self._seed = seed
        self._noise: Tensor | None = None
        self._columns = torch.arange(max_context, device=torch_device)
        heads = torch.arange(batch * shape.num_heads, device=torch_device) * max_context
        self._first_entry_BG = heads.view(batch, shape.num_heads)
        self._start = 0
        # Views for all layers, keys and values in turn, made once a step: making them costs more than using them.
        self._flat = self._all.view(2 * shape.num_layers, -1, shape.head_dim).unbind()
        self._attended: Sequence[Tensor] = ()
        self._targets: Sequence[Tensor] = ()
        self._entries: Tensor | None = None  # where the step's entries go in [B*G*C, d]; None: into the targets

    def fill(self, row: int, num_tokens: int) -> None:
        """Let a row begin with `num_tokens` entries of small seeded noise: a context that was never recorded."""
        if not num_tokens:
            return
        if self._noise is None:
            generator = torch.Generator(self.torch_device).manual_seed(self._seed)
            size = (2, self.shape.num_heads, self.max_context, self.shape.head_dim)
            noise = torch.empty(size, dtype=self.shape.dtype, device=self.torch_device)
            self._noise = noise.normal_(std=_NOISE_SCALE, generator=generator)
        self._all[0::2, row, :, :num_tokens] = self._noise[0, :, :num_tokens]
        self._all[1::2, row, :, :num_tokens] = self._noise[1, :, :num_tokens]

    def move(self, rows: Sequence[tuple[int, int]], num_tokens: int) -> None:
        """Let each row `to` of the pairs (to, source) become what row `source` was, its first `num_tokens` entries."""
        to, source = (torch.tensor(one, device=self.torch_device) for one in zip(*rows, strict=True))
        for tensor in (*self.keys, *self.values):
            tensor[to, :, :num_tokens] = tensor[source, :, :num_tokens]

    def begin_chunk(self, row: int, start: int, num_tokens: int) -> Tensor | None:
        """Announce a step of one row whose next tokens stand at start, start + 1, ...; return its mask [1, 1, Q, M].

        None where the attention kernel needs none: a first chunk, which is causal by itself, or a single token.
        """
        stop = start + num_tokens
        self._start, self._entries = start, None
        self._targets = self._all[:, row : row + 1, :, start:stop].unbind()
        self._attended = self._all[:, row : row + 1, :, :stop].unbind()
        if start == 0 or num_tokens == 1:
            return None
        return self._mask(self._columns[:stop] > self._columns[start:stop, None])[None, None]

    def begin_tokens(self, positions: Sequence[int], positions_N: Tensor) -> Tensor | None:
        """Announce a step of one token for each of the first N rows, at these positions; return its mask [N, 1, 1, M].

        `positions_N` is the same on the device. None where all rows are of the same length.
        """
        num_rows, longest = len(positions), max(positions)
        if num_rows == 1:
            return self.begin_chunk(0, longest, 1)
        self._start = longest
        self._attended = self._all[:, :num_rows, :, : longest + 1].unbind()
        self._entries = (self._first_entry_BG[:num_rows] + positions_N[:, None]).view(-1)
        if min(positions) == longest:
            return None
        return self._mask(self._columns[: longest + 1] > positions_N[:, None])[:, None, None]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's new entries [N, G, Q, d] and return all that the step attends to, [N, G, M, d] each."""
        first = 2 * layer_idx
        for index, states in ((first, key_states), (first + 1, value_states)):
            if self._entries is None:
                self._targets[index].copy_(states)
            else:
                self._flat[index].index_copy_(0, self._entries, states.reshape(-1, self.shape.head_dim))
        return self._attended[first], self._attended[first + 1]

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002
        """Return the entries before the step, of its longest row."""
        return self._start

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:  # noqa: ARG002
        """Return how many entries the step attends to, and the first of them."""
        return self._start + query_length, 0

    def get_max_length(self, layer_idx: int | None = None) -> int:  # noqa: ARG002
        """Return the entries that a row can hold."""
        return self.max_context

    def __len__(self) -> int:
        return self.shape.num_layers

    def _mask(self, hidden: Tensor) -> Tensor:
        """Return what is added to the scores, [N or Q, M]: -inf where `hidden`, else 0; its rows aligned."""
        rows, columns = hidden.shape
        padded = -(-columns // _MASK_ALIGNMENT) * _MASK_ALIGNMENT
        mask = torch.zeros((rows, padded), dtype=self.shape.dtype, device=self.torch_device)[:, :columns]
        return mask.masked_fill_(hidden, float("-inf"))
