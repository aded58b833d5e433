"""Load a checkpoint and offload its experts.

Limits: the whole model passes through host memory, as transformers loads it, before its experts are moved.
"""

import torch

from hardware_profiles.errors import InputError
from traces.capture.loading import find_auto_class, load_network
from traces.errors import TraceError
from validation.runtime.offload import OffloadDevice, OffloadedModel, offload


def checkpoint_model(name_or_path: str, device: OffloadDevice, dtype: torch.dtype) -> OffloadedModel:
    """Load a checkpoint, a folder or a hub id, in `dtype`, and offload its experts layer by layer.

    Raises InputError if it cannot be loaded, generates no text, or has experts that `survey` refuses; the first two,
    and most of the third, before any weights are read.
    """
    try:
        auto_class = find_auto_class(name_or_path, trust_remote_code=False)
        network = load_network(
            auto_class,
            name_or_path,
            dtype=str(dtype).removeprefix("torch."),
            device="cpu",
            trust_remote_code=False,
        )
    except TraceError as error:
        raise InputError(error.source, error.fault) from None
    return offload(network, device)
