"""How many bytes of weights a model's work reads: per expert, per layer beside its experts, for the logits."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from simulator.model.quantisation import parse_quantisation
from traces.capture.layers import MoELayer
from validation.runtime.experts import ExpertLayout
from validation.runtime.low_precision import LowLayout

LOW_FORMAT = "int4_g128"
"""What low-precision copies are timed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightBytes:
    """Bytes of one expert, of the rest of a MoE layer, of a dense layer (0 where there is none), of the logits' matrix.

    `low_expert` are those of an expert's low-precision copy.
    """

    expert: int
    low_expert: int
    layer: int
    dense_layer: int
    head: int


def weights_of(network: PreTrainedModel, moe_layers: Sequence[MoELayer], layout: ExpertLayout) -> WeightBytes:
    """Count the bytes of a model, on any device, the meta device too; its experts' weights have been taken out of it."""
    blocks = {layer.name.rpartition(".")[0].rpartition(".")[0] for layer in moe_layers}
    stem = next(iter(blocks)).rpartition(".")[0]
    layers = dict(network.get_submodule(stem).named_children())
    moe = [_bytes_of(layers[block.rpartition(".")[2]]) for block in blocks]
    dense = [_bytes_of(layer) for name, layer in layers.items() if f"{stem}.{name}" not in blocks]
    return WeightBytes(
        expert=layout.num_bytes,
        low_expert=low_layout(layout).format_bytes,
        layer=round(sum(moe) / len(moe)),
        dense_layer=round(sum(dense) / len(dense)) if dense else 0,
        head=_bytes_of(network.get_output_embeddings() or network.get_input_embeddings()),
    )


def low_layout(layout: ExpertLayout) -> LowLayout:
    """Return how the low-precision copies that are timed are laid out."""
    return LowLayout(layout, parse_quantisation(LOW_FORMAT))


def _bytes_of(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
