"""Turn what the passes of a batch left in the host buffer into sequences.

Legend: B rows of the batch, W columns of the batch.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from traces.capture.batch import PADDING, Batch
from traces.errors import TraceError
from traces.format import Ids, Sequences, expert_id_dtype

Arrays = Mapping[str, NDArray[np.generic]]


def assemble(
    batch: Batch,
    arrays: Arrays,
    *,
    num_tokens: Sequence[int] | None,
    eos_token_ids: Collection[int],
    categories: Sequence[str],
    num_experts: int,
    token_ids: bool,
    model_name: str,
) -> Sequences | None:
    """Cut the rows of a batch out of the arrays of the host buffer; return None if no row has a token.

    A row ends at an end-of-sequence token after its prompt, or after its num_tokens[b]. Raises TraceError if there are
    `categories` and the batch has none.
    """
    rows_BW = np.concatenate(
        [
            one.first_row + np.arange(batch.num_rows)[:, None] * one.width + np.arange(one.kept_width)
            for one in batch.passes
        ],
        axis=1,
    )
    is_prompt_W = np.concatenate([np.full(one.kept_width, one.is_prompt) for one in batch.passes])
    tokens_BW = arrays["tokens"][rows_BW]
    picked: list[NDArray[np.int64]] = []
    prompts: list[int] = []
    kept: list[int] = []
    for row in range(batch.num_rows):
        real_W = tokens_BW[row] != PADDING
        tokens = tokens_BW[row][real_W]
        prompt = int((real_W & is_prompt_W).sum()) if batch.prompt_tokens is None else batch.prompt_tokens[row]
        stop = len(tokens) if num_tokens is None else min(num_tokens[row], len(tokens))
        if batch.has_token_ids and eos_token_ids:
            ended = np.nonzero(np.isin(tokens[prompt:], list(eos_token_ids)))[0]
            if len(ended):
                stop = min(stop, prompt + int(ended[0]))
        if stop > 0:
            picked.append(rows_BW[row][real_W][:stop])
            prompts.append(min(prompt, stop))
            kept.append(row)
    if not picked:
        return None
    at = np.concatenate(picked)
    expert_ids, weights, lookahead_ids = (_joined(arrays, prefix) for prefix in ("ids.", "weights.", "lookahead."))
    assert expert_ids is not None
    return Sequences(
        expert_ids=_ids(expert_ids, at, num_experts),
        sequence_start=np.cumsum([0, *(len(one) for one in picked)], dtype=np.int64),
        prompt_tokens=np.array(prompts, np.int32),
        gate_weights=None if weights is None else weights[at].view(np.float16),
        context_start=batch.context_tokens[kept],
        sequence_category=_category_numbers(batch, kept, categories, model_name),
        lookahead_ids=None if lookahead_ids is None else _ids(lookahead_ids, at, num_experts),
        token_ids=arrays["tokens"][at].view(np.int32) if token_ids else None,
    )


def _category_numbers(
    batch: Batch, rows: Sequence[int], categories: Sequence[str], model_name: str
) -> NDArray[np.uint16] | None:
    if not categories:
        return None
    if batch.categories is None:
        raise TraceError(model_name, "the sequences have no categories; give them to new_sequences")
    return np.array([categories.index(batch.categories[row]) for row in rows], np.uint16)


def _joined(arrays: Arrays, prefix: str) -> NDArray[np.generic] | None:
    """Join the device groups of one tensor along its rounds, if it was recorded."""
    groups = [arrays[name] for name in sorted(arrays) if name.startswith(prefix)]
    if len(groups) > 1:
        return np.concatenate(groups, axis=1)
    return groups[0] if groups else None


def _ids(recorded: NDArray[np.generic], at: NDArray[np.int64], num_experts: int) -> Ids:
    """Return rows of an id tensor in the dtype of the format; torch has no unsigned 16-bit arithmetic."""
    rows = recorded[at]
    return rows.view(np.uint8) if expert_id_dtype(num_experts) is np.uint8 else rows.view(np.uint16)
