"""Name the machine that a training or a recording runs on."""

from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or `CPU (name)` with the processor's name where the system tells it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU ({names[0]})" if names else "CPU"
