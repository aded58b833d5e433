"""Siblings of a model: the same model with other widths, to tell what grows with the weights from what does not.

Each of two scales has a sibling whose experts are timed, and one whose passes are:

                                            experts                     passes
    hidden width, other intermediate widths scaled                      scaled
    intermediate width of the experts       scaled                      divided by the scale
    layers, experts, top-k, heads, context  the model's own             the model's own

So a layer of a sibling runs the same Python, launches the same kernels and attends to as much. Its weights have about
`scale` times the bytes, those of an expert `scale` squared; in passes, an expert has the model's bytes, for what runs after
experts have come by finds caches as they leave them: on the machine of the committed results, the Python of a visit takes
53, 92 and 128 us after 9, 36 and 80 MB of them (decision 10). Widths are multiples of 16.

Limits: a model may be slower for a width that its kernels like less, and siblings are two such widths; another model's
experts leave caches otherwise than those of the model that was measured; where a config names the width of its experts
otherwise than as an intermediate size, experts in passes have `scale` times their bytes.
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
_EXPERT_WIDTHS = ("moe_intermediate_size", "intermediate_size")  # the first that a config has
_HOST_BYTES = 1 << 29  # of experts that are not the same: more than caches hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """The siblings of one scale, without weights: their configs, and how many bytes the weights that are timed would have.

    `weights` are those of an expert of `experts`, and of the rest of `passes`.
    """

    scale: float
    experts: PretrainedConfig
    passes: PretrainedConfig
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


def with_experts(subject: Subject, siblings: Sequence[Sibling]) -> dict[float, Subject]:
    """Return the model itself, by scale 1, and the siblings whose experts are timed, with weights."""
    return {1.0: subject} | {one.scale: _open(one.experts, one, subject, one.weights.expert) for one in siblings}


def with_passes(subject: Subject, siblings: Sequence[Sibling]) -> dict[float, Subject]:
    """Return the model itself, by scale 1, and the siblings whose passes are timed, with weights."""
    return {1.0: subject} | {one.scale: _open(one.passes, one, subject, subject.expert_bytes) for one in siblings}


def _open(config: PretrainedConfig, sibling: Sibling, subject: Subject, expert_bytes: int) -> Subject:
    """Give a sibling random weights, on the device of `subject`; few of its experts differ, to save memory."""
    bank_bytes = subject.offloaded.num_experts * expert_bytes
    return replace(
        subject,
        offloaded=random_model_of(
            copy.deepcopy(config),
            subject.device,
            _dtype(subject),
            subject.seed,
            source=_name(sibling.scale),
            num_distinct_banks=-(-_HOST_BYTES // bank_bytes),
        ),
    )


def _sibling(subject: Subject, scale: float) -> Sibling:
    own = subject.offloaded.model.config
    experts, passes = _scaled(own, scale, scale), _scaled(own, scale, 1 / scale)
    of_experts = _weights_of(experts, subject, scale)
    return Sibling(
        scale=scale,
        experts=experts,
        passes=passes,
        weights=replace(
            _weights_of(passes, subject, scale), expert=of_experts.expert, low_expert=of_experts.low_expert
        ),
    )


def _weights_of(config: PretrainedConfig, subject: Subject, scale: float) -> WeightBytes:
    network = model_on_meta(copy.deepcopy(config), _dtype(subject), source=_name(scale))
    found = survey(network)
    for layer in found.layers:
        drop_weights(layer.experts, found.layout)
    return weights_of(network, found.layers, found.layout)


def _scaled(config: PretrainedConfig, scale: float, expert_scale: float) -> PretrainedConfig:
    """Return a copy of a config with other widths; the width of a head is stated, where it followed from the rest."""
    scaled = copy.deepcopy(config)
    text = scaled.get_text_config(decoder=True)
    if getattr(text, "head_dim", None) is None:
        text.head_dim = text.hidden_size // text.num_attention_heads
    of_experts = next((key for key in _EXPERT_WIDTHS if hasattr(text, key)), None)
    for key, value in list(vars(text).items()):
        if (key == "hidden_size" or key.endswith("intermediate_size")) and isinstance(value, int):
            factor = expert_scale if key == of_experts else scale
            setattr(text, key, max(1, round(value * factor / _STEP)) * _STEP)
    return scaled


def _dtype(subject: Subject) -> torch.dtype:
    return subject.offloaded.dtype


def _name(scale: float) -> str:
    return f"the model at {scale:g} times its width"
