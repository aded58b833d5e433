"""The bytes of the expert cache. In a service that divides memory, GPU memory grows by as much, so that KV cache stays."""

from collections.abc import Mapping
from fractions import Fraction

from hardware_profiles.quantity import Dimension, format_bytes, format_quantity
from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, LeftOut

CACHE = "cache"
_FACTORS = (Fraction(3, 4), Fraction(5, 4), Fraction(2))


def with_slots(baseline: Baseline, num_slots: int) -> Mapping[str, object]:
    """Return what makes the cache hold so many experts, staging slots and low-precision copies included."""
    settings: dict[str, object] = {"cache.experts": num_slots}
    settings |= {f"cache.{key}": None for key in ("bytes", "frac") if getattr(baseline.scenario.cache, key) is not None}
    if shares_memory(baseline):
        grown = (num_slots - baseline.num_slots) * baseline.expert_bytes
        memory = int(baseline.profile.gpu.memory.value) + grown
        settings["gpu.memory"] = format_quantity(max(1, memory), Dimension.BYTES)
    return settings


def shares_memory(baseline: Baseline) -> bool:
    """Whether KV cache has what the experts leave of GPU memory."""
    scheduler = baseline.scenario.scheduler
    return baseline.is_service and (scheduler is None or scheduler.kv_cache is None)


def cache(baseline: Baseline) -> Found:
    """A quarter less, a quarter more, twice as much; no more than holds all experts."""
    now, most = baseline.num_slots, baseline.all_slots
    sizes = {min(most, round(now * factor)) for factor in _FACTORS}
    changes = [_of(baseline, size) for size in sorted(sizes) if size not in (0, now)]
    if now < most:
        return Found(changes=changes)
    all_there = LeftOut(knob=CACHE, reason="more of it is not tried: the cache holds all experts already")
    return Found(changes=changes, left_out=[all_there])


def _of(baseline: Baseline, num_slots: int) -> Change:
    now, size = baseline.num_slots, num_slots * baseline.expert_bytes
    share = abs(num_slots - now) / now
    gpus = baseline.scenario.gpus
    whose = "of each GPU " if gpus is not None and gpus.count > 1 else ""
    words = "larger" if num_slots > now else "smaller"
    return Change(
        knob=CACHE,
        name=f"cache {whose}{share:.0%} {words} ({num_slots} experts, {format_bytes(size)})",
        settings=with_slots(baseline, num_slots),
        figures={"experts": num_slots, "bytes": size, "change_frac": share},
        price="GPU memory has to be there" if num_slots > now else "",
    )
