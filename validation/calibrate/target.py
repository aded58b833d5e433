"""Find the model that is to be measured: a shape that ships, a config.json, a checkpoint."""

from pathlib import Path

import torch

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of
from validation.models.checkpoint import checkpoint_model
from validation.models.random import random_model
from validation.runtime.device import Device
from validation.runtime.offload import OffloadedModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SHAPES = Path(__file__).parents[1] / "shapes"
_WEIGHTS = ("*.safetensors", "*.bin")


def shape_names() -> list[str]:
    """Return the names of the shapes that ship, sorted."""
    return sorted(path.stem for path in _SHAPES.glob("*.json"))


def open_model(model: str, device: Device, dtype: torch.dtype, seed: int) -> tuple[str, OffloadedModel]:
    """Return a model by name or place, and what to call it: random weights for a shape, its own for a checkpoint.

    A folder with weights and a hub id (`owner/name`) are checkpoints; a folder with nothing but a config.json is a shape.
    Raises InputError for what is none of these.
    """
    if model in shape_names():
        return model, random_model(_SHAPES / f"{model}.json", device, dtype, seed)
    path = Path(model)
    if path.is_file():
        name = path.parent.name if path.stem == "config" else path.stem
        return name, random_model(path, device, dtype, seed)
    if path.is_dir():
        if any(any(path.glob(pattern)) for pattern in _WEIGHTS):
            return path.resolve().name, checkpoint_model(model, device, dtype)
        if (path / "config.json").is_file():
            return path.resolve().name, random_model(path / "config.json", device, dtype, seed)
        raise InputError(f"--model {model}", "is a folder without a config.json; name one of a model")
    is_path = path.is_absolute() or path.suffix in (".json", ".yaml") or model.startswith((".", "~"))
    if is_path or model.count("/") != 1:
        raise InputError(
            f"--model {model}",
            f"is no file, no folder and no shape that ships; {one_of(model, shape_names())}, or give a config.json, the "
            "folder of a checkpoint or a hub id (owner/name)",
        )
    return model.rpartition("/")[2], checkpoint_model(model, device, dtype)
