"""NVMe and the host memory above it, where host memory does not hold all experts."""

from collections.abc import Mapping
from fractions import Fraction

from hardware_profiles.quantity import Dimension, format_bytes
from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, left_out
from simulator.explain.knobs.scaled import scaled_duration, times

NVME, HOST_CACHE = "NVMe", "host cache"
_TWICE = Fraction(2)


def nvme(baseline: Baseline) -> Found:
    """Reads twice as fast, and room for twice as many experts in host memory."""
    choice = baseline.scenario.host_cache
    if choice is None:
        return left_out(NVME, "host memory holds all experts in this run (no host_cache)")
    profile = baseline.profile
    settings: dict[str, object] = {}
    if profile.durations.nvme_read is not None:
        settings["durations.nvme_read"] = scaled_duration(profile.durations.nvme_read, 1 / _TWICE, "bytes")
    elif profile.nvme.bandwidth is not None:
        settings["nvme.bandwidth"] = times(profile.nvme.bandwidth.value, _TWICE, Dimension.BYTES_PER_S)
    faster = Change(knob=NVME, name="NVMe twice as fast", settings=settings, figures={"factor": 2.0})
    there = baseline.summary["host_cache"]
    assert isinstance(there, Mapping)
    slots = min(2 * int(there["experts"]), baseline.inputs.trace.num_banks * baseline.inputs.trace.num_experts)
    given = [key for key in ("bytes", "frac") if getattr(choice, key) is not None]
    size = slots * baseline.expert_bytes
    larger = Change(
        knob=HOST_CACHE,
        name=f"room in host memory for {slots} experts ({format_bytes(size)})",
        settings={"host_cache.experts": slots, **{f"host_cache.{key}": None for key in given}},
        figures={"experts": float(slots), "bytes": float(size)},
        price="host memory has to be there",
    )
    return Found(changes=[faster, larger] if slots > int(there["experts"]) else [faster])
