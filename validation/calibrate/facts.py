"""What a calibration was made on: the machine, the model, the versions."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from validation.calibrate.samples import Identity
from validation.calibrate.siblings import Sibling
from validation.calibrate.subject import Subject
from validation.calibrate.weights import WeightBytes, weights_of
from validation.compare.facts import machine_facts, processor_name, version_facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is read off the machine and the model, not timed. Bytes as the operating system or the driver counts them.

    `weights` are those of the model, `sibling_weights` those of its siblings by their scale.
    """

    device_name: str
    processor: str
    cores: int
    host_bytes: int
    device_bytes: int
    reserve_bytes: int
    model: str
    dtype: str
    weights: WeightBytes
    sibling_weights: Mapping[float, WeightBytes]
    versions: Mapping[str, str]


def read_facts(
    subject: Subject, *, model: str, dtype: str, reserve_bytes: int, siblings: Sequence[Sibling] = ()
) -> Facts:
    """Read all facts; `reserve_bytes` is what the device had lost before the model came."""
    machine = machine_facts()
    torch_device = subject.device.torch_device
    host_bytes = int(str(machine["memory_bytes"]))
    is_cpu = torch_device.type == "cpu"
    return Facts(
        device_name=processor_name() if is_cpu else torch.cuda.get_device_name(torch_device),
        processor=processor_name(),
        cores=int(str(machine["cores"])),
        host_bytes=host_bytes,
        device_bytes=host_bytes if is_cpu else int(torch.cuda.get_device_properties(torch_device).total_memory),
        reserve_bytes=reserve_bytes,
        model=model,
        dtype=dtype,
        weights=weights_of(subject.offloaded.model, subject.offloaded.layers, subject.offloaded.layout),
        sibling_weights={sibling.scale: sibling.weights for sibling in siblings},
        versions={name: str(value) for name, value in version_facts().items()},
    )


def memory_before_the_model(torch_device: torch.device) -> int:
    """Return what the device has lost to this process and its driver: the resident set on the CPU."""
    if torch_device.type == "cpu":
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError, ValueError):
            return 1 << 28
        return pages * os.sysconf("SC_PAGE_SIZE")
    torch.zeros(1, device=torch_device)
    free, total = torch.cuda.mem_get_info(torch_device)
    return int(total - free)


def identity_of(facts: Facts, subject: Subject, settings: Mapping[str, object]) -> Identity:
    """Return what samples belong to: another of any of these and they may not be mixed."""
    config = subject.offloaded.model.config.to_diff_dict()
    shape = {key: value for key, value in config.items() if not key.startswith("_") and key != "transformers_version"}
    text = json.dumps(shape, sort_keys=True, default=str)
    return {
        "device": facts.device_name,
        "processor": facts.processor,
        "cores": str(facts.cores),
        "model": facts.model,
        "model_config_sha256": hashlib.sha256(text.encode()).hexdigest()[:16],
        "dtype": facts.dtype,
        "torch": facts.versions["torch"],
        "transformers": facts.versions["transformers"],
        "moesim": facts.versions["moesim"],
    } | {key: str(value) for key, value in settings.items()}
