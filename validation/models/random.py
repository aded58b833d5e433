"""Build an offloaded model of a given shape with random weights, in the memory of one model.

Limits: the weights are spread as an untrained model's are, so its routing, and what it writes, mean nothing.
"""

from pathlib import Path

import torch
import transformers
from torch import Tensor, nn

from hardware_profiles.errors import InputError
from traces.capture.loading import first_line
from validation.runtime.experts import HostExperts, drop_weights
from validation.runtime.offload import OffloadDevice, OffloadedModel
from validation.runtime.survey import survey

_BLOCK = 1 << 22
_PIECE = 1 << 20
_FALLBACK_STD = 0.02


def random_model(config_path: str | Path, device: OffloadDevice, dtype: torch.dtype, seed: int) -> OffloadedModel:
    """Build a model from a `config.json`, or from the folder that holds one; the same seed gives the same weights.

    It is built on the meta device. Its experts are filled where they stay, in host memory; the rest is made on the
    device, and initialised there by the model's own `_init_weights`, rotary tables included. So there is never a second
    copy of anything. The same seed gives the same experts on every device; what is initialised on the device follows
    its own random generator.

    Experts are normal with the config's `initializer_range`, but not independent: pieces of 2^20 elements are cut
    from 2^22 random numbers, each at an offset and with a sign of its own. That goes at the speed of memory; drawing
    each number would take ten times as long, and no cost depends on it.

    Raises InputError for a config that transformers cannot read, or whose model `survey` refuses.
    """
    return random_model_of(_read(Path(config_path)), device, dtype, seed, source=config_path)


def random_model_of(
    config: transformers.PretrainedConfig,
    device: OffloadDevice,
    dtype: torch.dtype,
    seed: int,
    *,
    source: str | Path,
    num_distinct_banks: int | None = None,
) -> OffloadedModel:
    """Build a model of a config as `random_model` does.

    With `num_distinct_banks`, only so many banks of experts have weights in host memory; the others share theirs.
    """
    model = model_on_meta(config, dtype, source=source)
    found = survey(model)
    host = HostExperts(found.layout, num_banks=found.num_banks, num_experts=found.num_experts, device=device)
    std = getattr(model.config.get_text_config(), "initializer_range", None) or _FALLBACK_STD
    fill = _Fill(found.layout.dtype, std=float(std), seed=seed)
    num_filled = found.num_banks if num_distinct_banks is None else max(1, num_distinct_banks)
    for bank in range(found.num_banks):
        if bank >= num_filled:
            host.share(bank, bank % num_filled)
            continue
        host.allocate(bank)
        for key in range(bank * found.num_experts, (bank + 1) * found.num_experts):
            fill(host.flat(key))
    for layer in found.layers:
        drop_weights(layer.experts, found.layout)
    _initialise(model, [layer.experts for layer in found.layers], device.torch_device, seed)
    return OffloadedModel(model, found, host, device.torch_device)


def _read(path: Path) -> transformers.PretrainedConfig:
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise InputError(path, "is neither a config.json nor a folder that holds one; check the path")
    try:
        config: transformers.PretrainedConfig = transformers.AutoConfig.from_pretrained(str(file))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(file, f"transformers builds no model from it: {first_line(error)}") from None
    return config


def model_on_meta(
    config: transformers.PretrainedConfig, dtype: torch.dtype, *, source: str | Path
) -> transformers.PreTrainedModel:
    """Build a model without weights. Raises InputError, naming `source`, for a config that transformers refuses."""
    try:
        with torch.device("meta"):
            model: transformers.PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(source, f"transformers builds no model from it: {first_line(error)}") from None
    return model.eval()


class _Fill:
    """Fills flat tensors with numbers that are normal around 0; one after another they differ."""

    def __init__(self, dtype: torch.dtype, *, std: float, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._block = torch.randn(_BLOCK, generator=self._generator).mul_(std).to(dtype)

    def __call__(self, flat: Tensor) -> None:
        pieces = flat.split(_PIECE)
        offsets = torch.randint(_BLOCK - _PIECE + 1, (len(pieces),), generator=self._generator).tolist()
        signs = torch.randint(2, (len(pieces),), generator=self._generator).tolist()
        for piece, offset, sign in zip(pieces, offsets, signs, strict=True):
            source = self._block[offset : offset + piece.numel()]
            if sign:
                torch.neg(source, out=piece)
            else:
                piece.copy_(source)


def _initialise(model: transformers.PreTrainedModel, experts: list[nn.Module], device: torch.device, seed: int) -> None:
    """Make what is on the meta device on `device`, and initialise it; experts modules have no weights to do so."""
    _materialise(model, device)
    for module in experts:
        module._is_hf_initialized = True
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model.initialize_weights()
    model.tie_weights()


def _materialise(model: nn.Module, device: torch.device) -> None:
    """Give every parameter and buffer memory; those that are the same before are the same after."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_meta:
                if id(parameter) not in made:
                    memory = torch.empty_like(parameter, device=device)
                    made[id(parameter)] = nn.Parameter(memory, requires_grad=parameter.requires_grad)
                module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                if id(buffer) not in made:
                    made[id(buffer)] = torch.empty_like(buffer, device=device)
                module._buffers[name] = made[id(buffer)]
