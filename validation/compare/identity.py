"""The name of a configuration: stable, readable, and fit for a file."""

import re
from collections.abc import Mapping

from simulator.scenario import PolicyChoice

_UNFIT = re.compile(r"[^A-Za-z0-9.=+-]+")
_PREFIXES = ((1e9, "GBps"), (1e6, "MBps"), (1e3, "kBps"), (1.0, "Bps"))
_DEFAULT_POLICIES = {"prefetch": "none", "miss": "fetch"}


def configuration_id(
    *,
    model: str,
    cache_frac: float,
    scope: str,
    start: str,
    policies: Mapping[str, PolicyChoice],
    batch: int,
    bandwidth_bytes_per_s: float | None,
    chunk_bytes: int | None,
    label: str,
) -> str:
    """Name a configuration after what it is, such as `lab-wide_c25_lru_b4_2GBps`.

    What is as usual is left out: no prefetch, misses fetched, slots per layer, a cold start, the device's own link, whole
    transfers. Lengths, warm-up and latency are left out always.
    """
    parts = [model, f"c{100 * cache_frac:.6g}"]
    parts += [_policy(choice) for kind, choice in policies.items() if choice.name != _DEFAULT_POLICIES.get(kind)]
    parts.append(f"b{batch}")
    if bandwidth_bytes_per_s is not None:
        parts.append(_bandwidth(bandwidth_bytes_per_s))
    if chunk_bytes is not None:
        parts.append(f"chunk{chunk_bytes}")
    parts += [usual for usual in (scope, start) if usual not in ("per_layer", "cold")]
    if label:
        parts.append(label)
    return "_".join(_UNFIT.sub("-", part).strip("-") for part in parts)


def _policy(choice: PolicyChoice) -> str:
    parameters = [f"{name}={value}" for name, value in sorted(choice.parameters.items())]
    return "+".join([choice.name, *parameters])


def _bandwidth(bytes_per_s: float) -> str:
    factor, unit = next((item for item in _PREFIXES if bytes_per_s >= item[0]), _PREFIXES[-1])
    return f"{bytes_per_s / factor:.6g}{unit}"
