"""The sequences that are being recorded, one per row of a batch, and which forward passes belong to them.

Legend: B rows of the batch, S tokens per row in one forward pass, N = B * S.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from traces.capture.passes import PassInputs
from traces.errors import TraceError

PADDING = -1
"""Stands for the token id of padding in what `Batch.tokens` returns."""


@dataclass(slots=True, kw_only=True)
class RecordedPass:
    """One forward pass of a batch: N rows of the host buffer from `first_row`, [B, S] of them."""

    first_row: int
    width: int
    kept_width: int
    is_prompt: bool


@dataclass(slots=True, kw_only=True)
class Batch:
    """The sequences that are being recorded."""

    num_rows: int
    num_context_columns: int
    context_tokens: NDArray[np.int32]
    has_token_ids: bool
    attention_mask: Tensor | None
    prompt_tokens: Sequence[int] | None
    categories: Sequence[str] | None
    cache: "weakref.ref[object] | None" = None
    passes: list[RecordedPass] = field(default_factory=list)

    @property
    def num_columns(self) -> int:
        return self.num_context_columns + sum(one.kept_width for one in self.passes)

    def is_decoding(self) -> bool:
        return any(not one.is_prompt for one in self.passes)

    def is_continued_by(self, inputs: PassInputs) -> bool:
        """Tell whether the cache of a pass holds what was recorded, or less of it."""
        return (
            inputs.past > 0
            and self.num_rows == inputs.num_rows
            and (self.num_columns == inputs.past or (self.holds_cache(inputs.cache) and inputs.past < self.num_columns))
        )

    def holds_cache(self, cache: object | None) -> bool:
        return self.cache is not None and self.cache() is cache

    def crop(self, num_columns: int) -> None:
        """Forget columns that the cache has dropped again."""
        while self.passes and self.num_columns > num_columns:
            last = self.passes[-1]
            surplus = self.num_columns - num_columns
            if surplus >= last.kept_width:
                self.passes.pop()
            else:
                last.kept_width -= surplus

    def tokens(self, inputs: PassInputs) -> Tensor:
        """Return the token ids of a pass that continues the batch, [N] in int32, `PADDING` where there is none."""
        shape = (inputs.num_rows, inputs.width)
        tokens = (
            inputs.token_ids.to(torch.int32)
            if inputs.token_ids is not None
            else torch.zeros(shape, dtype=torch.int32, device=inputs.device)
        )
        mask = inputs.attention_mask
        if mask is not None:
            mask = mask[:, -inputs.width :].to(inputs.device)
        if self.attention_mask is not None:
            begin = self.num_columns - self.num_context_columns
            announced = self.attention_mask[:, begin : begin + inputs.width]
            mask = nn.functional.pad(announced, (0, inputs.width - announced.shape[1]), value=1)
        if mask is not None:
            tokens = tokens.masked_fill(mask == 0, PADDING)
        return tokens.reshape(-1)

    def append(self, inputs: PassInputs, first_row: int) -> None:
        """Add a pass whose tokens stand in the host buffer from `first_row`."""
        is_prompt = inputs.past == 0 or (inputs.width > 1 and not self.is_decoding())
        self.passes.append(
            RecordedPass(first_row=first_row, width=inputs.width, kept_width=inputs.width, is_prompt=is_prompt)
        )


@dataclass(slots=True, kw_only=True)
class Announced:
    """What the caller said of the sequences that the next forward pass begins."""

    attention_mask: Tensor | None
    prompt_tokens: Sequence[int] | None
    categories: Sequence[str] | None


def begin_batch(inputs: PassInputs, announced: Announced | None, *, model_name: str) -> Batch:
    """Return the batch that a pass begins.

    Raises TraceError where what was announced does not fit the pass, or its padding cannot be told.
    """
    context = np.full(inputs.num_rows, inputs.past, np.int32)
    if inputs.past and inputs.attention_mask is not None:
        context = inputs.attention_mask[:, : inputs.past].sum(dim=1).to("cpu", torch.int32).numpy()
    for name in ("prompt_tokens", "categories"):
        told = getattr(announced, name, None)
        if told is not None and len(told) != inputs.num_rows:
            raise TraceError(model_name, f"{name} has {len(told)} entries for a batch of {inputs.num_rows} rows")
    announced_mask = announced.attention_mask if announced is not None else None
    if announced_mask is None and inputs.has_prepared_mask:
        raise TraceError(
            model_name,
            "was given an attention mask that is prepared already, which does not tell padding; give the plain one "
            "to recorder.new_sequences(attention_mask=...) before this pass",
        )
    return Batch(
        num_rows=inputs.num_rows,
        num_context_columns=inputs.past,
        context_tokens=context,
        has_token_ids=inputs.token_ids is not None,
        attention_mask=announced_mask.to(inputs.device) if announced_mask is not None else None,
        prompt_tokens=announced.prompt_tokens if announced is not None else None,
        categories=announced.categories if announced is not None else None,
    )
