"""Tell from one forward pass how a model makes gate weights of router logits.

Legend: N tokens, E experts, K top-k. The weights that the experts were given are compared with what each known rule
makes of the logits, so that the answer holds for the model at hand, whatever its configuration says.
"""

import torch
from torch import Tensor

from traces.capture.layers import MoELayer

_SCALE_ATTRIBUTES = ("routed_scaling_factor", "route_scale", "router_scaling_factor")
_NAMED_BY_ROUTER = {"PhimoeTopKRouter": "sparsemixer"}
_TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-4, torch.float16: 4e-3}
_BFLOAT16_TOLERANCE = 3e-2


def describe_gate(layer: MoELayer, logits: Tensor | None, ids: Tensor, weights: Tensor) -> dict[str, str]:
    """Return `gate`, and where they apply `gate_scale` and `gate_selection`. `logits` [N, E], the others [N, K].

    `gate` is `softmax` (over all experts), `softmax_top_k` (over the picked ones; a softmax over all that is
    renormalised is the same), `sigmoid`, `sigmoid_top_k` (divided by the sum of the picked), `sqrtsoftplus_top_k`,
    the name of a rule of one family, or `unknown`. `gate_selection` says `biased` where the picked experts are not
    those of the largest logits: a correction bias or groups have a say.
    """
    router = type(layer.router).__name__
    if logits is None:
        return {"gate": "unknown", "gate_router": router}
    logits, ids = logits.float(), ids.long().to(logits.device)
    if bool((logits >= 0).all()) and torch.allclose(logits.sum(dim=-1), torch.ones(len(logits), device=logits.device)):
        logits = logits.log()  # a router that returns probabilities
    weights_found = weights.float().to(logits.device)
    described = {"gate": _NAMED_BY_ROUTER.get(router, "unknown"), "gate_router": router}
    tolerance = max(_TOLERANCES.get(dtype, _BFLOAT16_TOLERANCE) for dtype in (weights.dtype, *_parameter_dtypes(layer)))
    if described["gate"] == "unknown":
        best = tolerance
        for name, made in _rules(logits, ids).items():
            for scale in _scales(layer):
                error = float(((made * scale - weights_found).abs() / weights_found.abs().clamp_min(1e-6)).max())
                if error < best:
                    best = error
                    described["gate"] = name
                    described["gate_scale"] = repr(scale)
    if described.get("gate_scale") == "1.0":
        del described["gate_scale"]
    largest = logits.topk(ids.shape[-1], dim=-1).values.min(dim=-1).values
    if bool((logits.gather(-1, ids).min(dim=-1).values < largest).any()):
        described["gate_selection"] = "biased"
    return described


def _rules(logits: Tensor, ids: Tensor) -> dict[str, Tensor]:
    picked = logits.gather(-1, ids)
    sigmoid = picked.sigmoid()
    softplus = torch.nn.functional.softplus(picked).sqrt()
    return {
        "softmax": logits.softmax(dim=-1).gather(-1, ids),
        "softmax_top_k": picked.softmax(dim=-1),
        "sigmoid": sigmoid,
        "sigmoid_top_k": sigmoid / sigmoid.sum(dim=-1, keepdim=True),
        "sqrtsoftplus_top_k": softplus / softplus.sum(dim=-1, keepdim=True),
    }


def _scales(layer: MoELayer) -> list[float]:
    """Return the constant factors that a model may put on its weights, 1 first."""
    scales = [1.0]
    for module in (layer.router, layer.block):
        for attribute in _SCALE_ATTRIBUTES:
            scale = getattr(module, attribute, None)
            if isinstance(scale, (int, float)) and float(scale) not in scales:
                scales.append(float(scale))
    return scales


def _parameter_dtypes(layer: MoELayer) -> set[torch.dtype]:
    return {parameter.dtype for parameter in layer.router.parameters()} if layer.router is not None else set()
