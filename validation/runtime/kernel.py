"""Compute one expert from its tensors, wherever they lie.

Legend: N tokens, H hidden width of the experts, I intermediate width.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class _ExpertsModule(Protocol):
    """What an experts module of transformers says about its experts."""

    has_gate: bool
    is_transposed: bool
    has_post_expert_norm: bool
    act_fn: Callable[[Tensor], Tensor]
    post_expert_norm: Callable[[Tensor], Tensor]
    _apply_gate: Callable[[Tensor], Tensor]


def compute_expert(experts_module: nn.Module, tensors: Mapping[str, Tensor], hidden_NH: Tensor) -> Tensor:
    """Return what one expert makes of its tokens, [N, H], not yet weighted by the router.

    `tensors` are those of the expert by name, on the device of `hidden_NH`. The module says what is done with them: the
    attributes that transformers' `use_experts_implementation` sets (`has_gate`, `has_bias`, `is_transposed`,
    `has_post_expert_norm`), its activation or gating, and a norm of the output if it has one.

    Source: the contract of `transformers.integrations.moe`, which its own batched and grouped kernels follow.
    """
    module = cast(_ExpertsModule, experts_module)
    first = "gate_up_proj" if module.has_gate else "up_proj"
    transposed = module.is_transposed
    up_NI = _linear(hidden_NH, tensors[first], tensors.get(f"{first}_bias"), transposed=transposed)
    act_NI = module._apply_gate(up_NI) if module.has_gate else module.act_fn(up_NI)
    out_NH = _linear(act_NI, tensors["down_proj"], tensors.get("down_proj_bias"), transposed=transposed)
    return module.post_expert_norm(out_NH) if module.has_post_expert_norm else out_NH


def _linear(rows: Tensor, weight: Tensor, bias: Tensor | None, *, transposed: bool) -> Tensor:
    """Apply a layer whose weight is [out, in], or [in, out] if transposed."""
    if not transposed:
        return functional.linear(rows, weight, bias)
    return rows @ weight if bias is None else torch.addmm(bias, rows, weight)
