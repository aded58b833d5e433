"""What a result was made with: the machine, the versions, the commit."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("moesim", "torch", "transformers", "numpy")
_SECONDS_FOR_GIT = 10


def processor_name() -> str:
    """Return the name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine() or "unknown"


def machine_facts() -> Mapping[str, object]:
    """Return processor, cores that this process may use, memory, and the GPUs that torch has been using."""
    return {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "system": platform.platform(),
        "gpus": _gpus(),
    }


def version_facts() -> Mapping[str, str | None]:
    """Return the versions of Python and of the packages that decide over a result; None for one that is not there."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def commit_facts(folder: Path = Path(__file__).parent) -> Mapping[str, object]:
    """Return the commit that `folder` is of, and whether its files differ from it; "unknown" where git cannot say."""
    commit, status = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--untracked-files=no")
    if commit is None or status is None:
        return {"id": "unknown", "is_dirty": None}
    return {"id": commit.strip(), "is_dirty": bool(status.strip())}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        ended = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=_SECONDS_FOR_GIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout if ended.returncode == 0 else None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _gpus() -> list[Mapping[str, object]]:
    """Return name and memory of each GPU, where torch has been imported and sees one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": str(device.name), "memory_bytes": int(device.total_memory)} for device in found]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
