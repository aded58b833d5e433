"""See whether the experts of a model can be offloaded, and what there is to offload. Nothing is changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from hardware_profiles.errors import InputError
from traces.capture.layers import MoELayer, find_moe_layers
from traces.errors import TraceError
from validation.runtime.experts import ExpertLayout, layout_of

_TOP_K = ("top_k", "num_experts_per_tok", "top_k_experts", "moe_topk", "moe_k")
_MARKS = ("has_gate", "has_bias", "is_transposed", "has_post_expert_norm", "_apply_gate", "config")
"""What transformers' `use_experts_implementation` gives an experts module."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Survey:
    """The MoE layers of a model in order, the bank of each, and what one expert is."""

    layers: Sequence[MoELayer]
    bank_of_layer: tuple[int, ...]
    layout: ExpertLayout
    num_experts: int
    top_k: int

    @property
    def num_banks(self) -> int:
        """Count the banks: the layers, less those that share another's weights."""
        return max(self.bank_of_layer) + 1


def survey(model: nn.Module) -> Survey:
    """Look at a model, whose weights may be on the meta device.

    Raises InputError, naming the class and a remedy: for a model without routed experts, with experts that do not go
    through transformers' experts interface, that compute nothing, that are spread over processes, or whose layers
    differ in number or shape of experts.
    """
    source = _source(model)
    experts_modules = [module for module in model.modules() if _is_experts(module)]
    for module in experts_modules:
        _check_class(module, source)
    try:
        layers = find_moe_layers(model)
    except TraceError as error:
        raise InputError(error.source, error.fault) from None
    _check_all_found(experts_modules, layers, source)
    layouts = [layout_of(layer.experts) for layer in layers]
    for layer, layout in zip(layers, layouts, strict=True):
        if layer.num_experts != layers[0].num_experts or layout != layouts[0]:
            raise InputError(
                source,
                f"{layer.name} has {layer.num_experts} experts of {layout.num_bytes} bytes, {layers[0].name} has "
                f"{layers[0].num_experts} of {layouts[0].num_bytes}, or of other shapes; use a model whose layers have "
                "experts alike",
            )
    return Survey(
        layers=layers,
        bank_of_layer=_banks(layers, layouts[0]),
        layout=layouts[0],
        num_experts=layers[0].num_experts,
        top_k=_top_k(model, layers[0], source),
    )


def _source(model: nn.Module) -> str:
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return str(name) or type(model).__name__


def _is_experts(module: nn.Module) -> bool:
    kind = type(module).__name__
    return kind.endswith("Experts") and "Shared" not in kind


def _check_class(module: nn.Module, source: str) -> None:
    kind = type(module).__name__
    if getattr(module, "zero_expert_num", 0):
        raise InputError(
            source,
            f"{kind} has experts that compute nothing ({getattr(module, 'zero_expert_num', 0)} of them): there is no "
            "weight to offload for those; use a model all of whose routed experts have weights",
        )
    if any(not hasattr(module, mark) for mark in _MARKS):
        raise InputError(
            source,
            f"{kind} does not go through transformers' experts interface, so its experts cannot be taken over; "
            "decorate the class with transformers.integrations.use_experts_implementation, or use a model whose class "
            "has it (Mixtral, Qwen-MoE, OLMoE, DeepSeek, GLM, gpt-oss and most others)",
        )
    if getattr(module, "_is_expert_parallel", False):
        raise InputError(
            source, f"{kind} runs expert-parallel, each process with its own experts; load the model in one process"
        )


def _check_all_found(experts_modules: Sequence[nn.Module], layers: Sequence[MoELayer], source: str) -> None:
    """Refuse experts outside the decoder: they would be called without having been offloaded."""
    found = {id(layer.experts) for layer in layers}
    for module in experts_modules:
        if id(module) not in found:
            raise InputError(
                source,
                f"{type(module).__name__} lies outside the decoder, in an encoder or a tower for other media; use a "
                "decoder-only model",
            )


def _banks(layers: Sequence[MoELayer], layout: ExpertLayout) -> tuple[int, ...]:
    """Number the layers' weights: those that two layers share have one bank."""
    banks: dict[tuple[int, ...], int] = {}
    return tuple(
        banks.setdefault(
            tuple(id(layer.experts.get_parameter(tensor.name)) for tensor in layout.tensors),
            len(banks),
        )
        for layer in layers
    )


def _top_k(model: nn.Module, layer: MoELayer, source: str) -> int:
    config = getattr(model, "config", None)
    text_config = config.get_text_config() if config is not None and hasattr(config, "get_text_config") else config
    for holder in (layer.router, layer.block, text_config):
        for name in _TOP_K:
            value = getattr(holder, name, None)
            if isinstance(value, int) and value > 0:
                return value
    raise InputError(
        source,
        f"does not say how many experts a token has: neither {type(layer.router).__name__} nor the config has one of "
        f"{', '.join(_TOP_K)}; add num_experts_per_tok to the config",
    )
