"""What one forward pass was given, as far as that tells which tokens of which sequences run, and what it routed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from traces.capture.layers import Routing
from traces.errors import TraceError


@dataclass(slots=True, kw_only=True)
class PassInputs:
    """B rows of S tokens (`num_rows`, `width`), and how many tokens stand in the cache before them (`past`)."""

    token_ids: Tensor | None
    num_rows: int
    width: int
    device: torch.device
    attention_mask: Tensor | None
    has_prepared_mask: bool
    cache: object | None
    past: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRouting:
    """The ids and weights of a pass in the order in which they were routed, each with the index of its layer.

    `foreseen` has by layer what later routers made of that layer's input, the nearest router first.
    """

    routed: Sequence[tuple[int, Tensor, Tensor]]
    foreseen: Mapping[int, Sequence[Routing]]


def read_inputs(model: nn.Module, given: Mapping[str, object], *, model_name: str, needs_token_ids: bool) -> PassInputs:
    """Read the arguments of a model's forward, by name.

    Raises TraceError where they have no tokens, or do not tell how many stand in the cache.
    """
    prefix = "decoder_" if getattr(getattr(model, "config", None), "is_encoder_decoder", False) else ""
    token_ids, embeddings = given.get(f"{prefix}input_ids"), given.get(f"{prefix}inputs_embeds")
    shown = token_ids if isinstance(token_ids, Tensor) else embeddings
    if not isinstance(shown, Tensor):
        raise TraceError(model_name, f"was called without {prefix}input_ids or {prefix}inputs_embeds")
    if needs_token_ids and not isinstance(token_ids, Tensor):
        raise TraceError(model_name, f"was called without {prefix}input_ids, so token ids cannot be recorded")
    num_rows, width = shown.shape[:2]
    mask = given.get(f"{prefix}attention_mask")
    cache = given.get("past_key_values")
    return PassInputs(
        token_ids=token_ids if isinstance(token_ids, Tensor) else None,
        num_rows=num_rows,
        width=width,
        device=shown.device,
        attention_mask=mask if isinstance(mask, Tensor) and mask.ndim == 2 else None,
        has_prepared_mask=mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2),
        cache=cache,
        past=_cached_tokens(cache, mask, width),
    )


def _cached_tokens(cache: object | None, mask: object, width: int) -> int:
    """Return how many tokens stand in the cache, without asking a GPU where that can be had otherwise.

    Raises TraceError where neither the cache nor a mask tells.
    """
    found: object = 0
    if cache is None:
        return 0
    lengths = [getattr(cache, "get_seq_length", None)]
    lengths += [getattr(layer, "get_seq_length", None) for layer in getattr(cache, "layers", ())]
    for length in lengths:
        try:
            found = length() if length is not None else 0
        except ValueError:  # a cache of recurrent layers alone
            break
        if isinstance(found, Tensor):
            break
        if found:  # a cache that mixes recurrent layers in may say 0 of the first layer
            return int(found)
    else:
        return 0
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return int(mask.shape[1]) - width
    if isinstance(found, Tensor):
        return int(found)
    raise TraceError("capture", f"{type(cache).__name__} does not tell its length; give the model an attention_mask")
