"""Measure a model: each configuration's losses and masses, kept as they end, so that an interrupted call can go on.

Every configuration has a file in the folder, named by its number and by a digest of what it depends on: settings, texts,
model, dtype, and the form of the file. One that is there is not measured again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hardware_profiles.errors import InputError
from simulator.run import simulate
from simulator.scenario import build_scenario
from traces.capture.loading import find_auto_class, load_network
from traces.errors import TraceError
from traces.format import write_text_atomically
from validation.quality.configurations import Configuration
from validation.quality.offloaded import KINDS, evaluate
from validation.quality.reference import Reference, run_reference
from validation.quality.texts import Texts
from validation.runtime.device import Device
from validation.runtime.offload import offload

_FORM = 2  # of the kept files
_DIGITS = 9
Progress = Callable[[int, int, str], None]
"""Called with (configurations done, all of them, the name of the next)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came out. `rows` has one mapping for each configuration, `reference_losses` one mean per segment."""

    rows: Sequence[Mapping[str, object]]
    reference_losses: Sequence[float]
    num_parameters: int
    model_digest: str
    shape: Mapping[str, int]


def measure(
    model: str,
    texts: Texts,
    configurations: Sequence[Configuration],
    folder: Path,
    device: Device,
    *,
    dtype: str = "float32",
    side_by_side: int = 1,
    progress: Progress | None = None,
) -> Measured:
    """Measure all configurations that have not been. Raises InputError for a model or a configuration that is unfit."""
    try:
        auto_class = find_auto_class(model, trust_remote_code=False)
        network = load_network(auto_class, model, dtype=dtype, device="cpu", trust_remote_code=False)
        network.eval()
        digest = _model_digest(network)
        network.to(device.torch_device)
        reference = run_reference(network, texts.evaluated, texts.learned, folder / "traces")
    except TraceError as error:
        raise InputError(error.source, error.fault) from None
    (folder / "model").mkdir(parents=True, exist_ok=True)
    shape_file = folder / "model" / "config.json"
    network.config.to_json_file(shape_file, use_diff=False)
    num_parameters = sum(one.numel() for one in network.parameters())
    rows = []
    with offload(network, device) as offloaded:
        for number, configuration in enumerate(configurations):
            if progress is not None:
                progress(number, len(configurations), configuration.name)
            depends_on = repr((_FORM, configuration, texts.digest, digest, dtype)).encode()
            path = folder / "kept" / f"{number:03d}-{hashlib.sha256(depends_on).hexdigest()[:16]}.json"
            if path.exists():
                rows.append(json.loads(path.read_text(encoding="utf-8")))
                continue
            scenarios = [
                build_scenario(
                    configuration.scenario(
                        trace=str(trace.path), model=str(shape_file), learned=str(reference.learned.path)
                    ),
                    configuration.name,
                )
                for trace in reference.evaluated
            ]
            evaluated = evaluate(scenarios, offloaded, device, texts.evaluated, side_by_side=side_by_side)
            row = {
                "name": configuration.name,
                "settings": dict(configuration.settings),
                "is_counted": configuration.is_counted,
                "ln_ratio": _rounded((evaluated.losses - reference.losses).mean(axis=1)),
                "masses": {kind: _rounded(values) for kind, values in evaluated.masses.items()},
                "simulated_masses": _simulated([_loss(simulate(one).summary) for one in scenarios]),
                "routed_otherwise_frac": round(evaluated.rerouted_frac, _DIGITS),
                "hit_frac": round(evaluated.hit_frac, _DIGITS),
            }
            path.parent.mkdir(exist_ok=True)
            write_text_atomically(path, json.dumps(row) + "\n")
            rows.append(row)
        shape = {
            "moe_layers": offloaded.num_layers,
            "experts": offloaded.num_experts,
            "top_k": offloaded.top_k,
            "expert_parameters": offloaded.layout.numel,
        }
    if progress is not None:
        progress(len(configurations), len(configurations), "")
    return Measured(
        rows=rows,
        reference_losses=_mean_losses(reference),
        num_parameters=num_parameters,
        model_digest=digest,
        shape=shape,
    )


def _loss(summary: Mapping[str, object]) -> Mapping[str, float]:
    loss = summary["loss"]
    assert isinstance(loss, Mapping)
    return loss


def _simulated(losses: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return the simulator's masses by kind, one for each segment."""
    return {kind: _rounded(np.array([one[f"{kind}_mass_frac"] for one in losses])) for kind in KINDS}


def _mean_losses(reference: Reference) -> list[float]:
    return _rounded(reference.losses.mean(axis=1))


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]


def _model_digest(network: torch.nn.Module) -> str:
    """Return a SHA-256 of all weights, as they were loaded, by name."""
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else repr(tensor).encode())
    return found.hexdigest()
