"""What a recording says of itself: the model, where and when it ran, how its gate works."""

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import torch
import transformers
from torch import nn

from traces.capture.layers import MoELayer
from traces.format import TraceMetadata

LOOKAHEAD_INPUT = (
    "the input of layer l's router, as it is (normalised by layer l), given to the router of layer l+d; "
    "where there is no layer l+d, layer l's own ids"
)


def describe_recording(
    model: nn.Module,
    layers: Sequence[MoELayer],
    *,
    model_name: str,
    num_experts: int,
    rounds: tuple[int, ...],
    gate: Mapping[str, str],
    lookahead: int,
    started: datetime,
    source: str,
    licence: str,
    categories: tuple[str, ...],
    extra: Mapping[str, str],
) -> TraceMetadata:
    """Return the metadata of a recording; `extra` goes over what is found here.

    `rounds` are the indices of the layers in the order in which they ran, `gate` is what `describe_gate` returned;
    both are empty before the first pass.
    """
    num_banks = len(set(rounds))
    found = {
        "torch_version": torch.__version__,
        "transformers_version": transformers.__version__,
        "python_version": platform.python_version(),
        "device": _devices(model),
        "dtype": str(getattr(model, "dtype", "unknown")).removeprefix("torch."),
        "date": started.isoformat(timespec="seconds"),
        "model_class": type(model).__name__,
        "moe_layers": json.dumps([layer.name for layer in layers]),
    }
    if lookahead:
        num_layers = len(rounds)
        found["lookahead_input"] = LOOKAHEAD_INPUT
        found["lookahead_valid"] = json.dumps([min(lookahead, num_layers - 1 - at) for at in range(num_layers)])
    found |= {name: value for name, value in gate.items() if name != "gate"}
    return TraceMetadata(
        model=model_name,
        num_experts=num_experts,
        banks=rounds if num_banks < len(rounds) else (),
        gate=gate.get("gate", "unknown"),
        captured=(
            f"hooks of moesim on transformers {transformers.__version__}, torch {torch.__version__}, "
            f"{found['dtype']} on {found['device']}, {found['date']}"
        ),
        source=source,
        licence=licence,
        categories=categories,
        extra=found | dict(extra),
    )


def name_of_model(model: nn.Module) -> str:
    """Return the hub id, or the name of a local model's directory: the path to it is nobody's business."""
    name = str(getattr(getattr(model, "config", None), "_name_or_path", ""))
    if Path(name).is_dir():
        name = Path(name).resolve().name if name else ""
    return name or type(model).__name__


def _devices(model: nn.Module) -> str:
    """Name the devices that hold the parameters: `cuda:0 (NVIDIA ...)`, `cpu`."""
    devices = sorted({parameter.device for parameter in model.parameters() if parameter.device.type != "meta"}, key=str)
    return ", ".join(
        f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
        for device in devices
    )
