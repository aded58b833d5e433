"""Siblings of a model: the same model with other widths, to tell what grows with the weights from what does not.

    hidden width, intermediate widths       scaled, in steps of 16
    layers, experts, top-k, heads, context  the model's own

So a layer of a sibling runs the same Python, launches the same kernels and attends to as much, while its weights have about
`scale` times the bytes, and those of an expert `scale` squared.

Limits: a model may be slower for a width that its kernels like less, and siblings are two such widths.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PretrainedConfig

from hardware_profiles.errors import InputError
from hardware_profiles.quantity import format_decimal_bytes
from validation.calibrate.subject import SLOT_BYTES, Subject
from validation.calibrate.weights import WeightBytes, weights_of
from validation.models.random import model_on_meta, random_model_of
from validation.runtime.experts import drop_weights
from validation.runtime.survey import survey

SCALES = (0.5, 1.5)
_STEP = 16
_HOST_BYTES = 1 << 29  # of experts that are not the same: more than caches hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """A sibling without weights: its scale, its config, and how many bytes its weights would have."""

    scale: float
    config: PretrainedConfig
    weights: WeightBytes


def siblings_of(subject: Subject) -> tuple[list[Sibling], list[str]]:
    """Return the siblings that can be measured, and in words why one cannot.

    A larger one has to keep the few experts per layer that a pass needs in as much memory as the model itself may take.
    """
    found, refused = [], []
    for scale in SCALES:
        try:
            sibling = _sibling(subject, scale)
        except InputError as error:
            refused.append(f"a sibling of {scale:g} times the width cannot be built: {error}")
            continue
        needed_bytes = subject.offloaded.host.num_banks * subject.num_at_once * sibling.weights.expert
        if scale > 1 and needed_bytes > SLOT_BYTES:
            refused.append(
                f"a sibling of {scale:g} times the width was not measured: {subject.num_at_once} experts of each layer "
                f"take {format_decimal_bytes(needed_bytes)}"
            )
        elif sibling.weights.expert != subject.expert_bytes:
            found.append(sibling)
    return found, refused


def open_sibling(sibling: Sibling, subject: Subject) -> Subject:
    """Give a sibling random weights, on the device of `subject`; few of its experts differ, to save memory."""
    bank_bytes = subject.offloaded.num_experts * sibling.weights.expert
    return replace(
        subject,
        offloaded=random_model_of(
            copy.deepcopy(sibling.config),
            subject.device,
            _dtype(subject),
            subject.seed,
            source=_name(sibling.scale),
            num_distinct_banks=-(-_HOST_BYTES // bank_bytes),
        ),
    )


def subjects_by_scale(subject: Subject, siblings: Sequence[Sibling]) -> dict[float, Subject]:
    """Return the model itself, by scale 1, and its siblings with weights."""
    return {1.0: subject} | {sibling.scale: open_sibling(sibling, subject) for sibling in siblings}


def _sibling(subject: Subject, scale: float) -> Sibling:
    config = _scaled(subject.offloaded.model.config, scale)
    network = model_on_meta(copy.deepcopy(config), _dtype(subject), source=_name(scale))
    found = survey(network)
    for layer in found.layers:
        drop_weights(layer.experts, found.layout)
    return Sibling(scale=scale, config=config, weights=weights_of(network, found.layers, found.layout))


def _scaled(config: PretrainedConfig, scale: float) -> PretrainedConfig:
    """Return a copy of a config with other widths; the width of a head is stated, where it followed from the rest."""
    scaled = copy.deepcopy(config)
    text = scaled.get_text_config(decoder=True)
    if getattr(text, "head_dim", None) is None:
        text.head_dim = text.hidden_size // text.num_attention_heads
    for key, value in list(vars(text).items()):
        if (key == "hidden_size" or key.endswith("intermediate_size")) and isinstance(value, int):
            setattr(text, key, max(1, round(value * scale / _STEP)) * _STEP)
    return scaled


def _dtype(subject: Subject) -> torch.dtype:
    return subject.offloaded.dtype


def _name(scale: float) -> str:
    return f"the model at {scale:g} times its width"
