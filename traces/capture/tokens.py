"""Turn prompts into token ids, and those of a batch into a tensor."""

from collections.abc import Sequence

import torch
import transformers
from torch import Tensor

from traces.capture.loading import first_line
from traces.capture.prompts import Prompt
from traces.errors import TraceError


def encode_prompt(tokenizer: transformers.PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Return the token ids of a prompt. Raises TraceError if it is a chat that fits no template, or has no tokens."""
    if prompt.messages is not None:
        if not tokenizer.chat_template:
            raise TraceError(
                prompt.where, "has messages, but the tokenizer has no chat template; give a prompt instead"
            )
        try:
            text = tokenizer.apply_chat_template(
                [dict(message) for message in prompt.messages], add_generation_prompt=True, tokenize=False
            )
        except Exception as error:
            raise TraceError(prompt.where, f"does not fit the chat template: {first_line(error)}") from None
        token_ids = tokenizer(str(text), add_special_tokens=False)["input_ids"]
    else:
        token_ids = tokenizer(prompt.text)["input_ids"]
    if not token_ids:
        raise TraceError(prompt.where, "is a prompt without tokens")
    return [int(one) for one in token_ids]


def padding_id(tokenizer: transformers.PreTrainedTokenizerBase) -> int:
    """Return any valid id to pad with; padding is masked and never recorded."""
    for found in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(found, int):
            return found
    return 0


def pad_batch(encoded: Sequence[Sequence[int]], pad: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Return token ids and mask, both [B, W]."""
    width = max(len(one) for one in encoded)
    token_ids = torch.full((len(encoded), width), pad, dtype=torch.int64)
    mask = torch.zeros_like(token_ids)
    for row, one in enumerate(encoded):
        at = slice(width - len(one), width) if left else slice(0, len(one))
        token_ids[row, at] = torch.tensor(one)
        mask[row, at] = 1
    return token_ids, mask
