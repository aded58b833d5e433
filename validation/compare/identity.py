"""The name of a configuration: stable, readable, and fit for a file."""

import re
from collections.abc import Mapping

from simulator.policy import DEFAULTS
from simulator.scenario import PolicyChoice

_UNFIT = re.compile(r"[^A-Za-z0-9.=+-]+")
_FIRST = ("eviction", "prefetch", "miss")
_PREFIXES = ((1e9, "GBps"), (1e6, "MBps"), (1e3, "kBps"), (1.0, "Bps"))


def configuration_id(
    *,
    model: str,
    cache_frac: float,
    scope: str,
    system: str | None,
    policies: Mapping[str, PolicyChoice],
    settings: Mapping[str, object],
    batch: int,
    bandwidth_bytes_per_s: float | None,
    chunk_bytes: int | None,
    label: str,
) -> str:
    """Name a configuration after what it is, such as `lab-wide_c25_lru_b4_2GBps`.

    `policies` are those that it gives itself, over those of its system; `settings` all that it gives. What is as usual is
    left out: no prefetch, misses fetched, slots per layer, a cold start, the device's own link, whole transfers. Lengths,
    warm-up and latency are left out always.
    """
    parts = [model, f"c{100 * cache_frac:.6g}"]
    parts += [system] if system is not None else []
    kinds = sorted(policies, key=lambda kind: _FIRST.index(kind) if kind in _FIRST else len(_FIRST))
    parts += [
        _policy(policies[kind])
        for kind in kinds
        if kind == "eviction" or system is not None or policies[kind] != DEFAULTS[kind]
    ]
    parts += _of_settings(settings)
    parts.append(f"b{batch}")
    if bandwidth_bytes_per_s is not None:
        parts.append(_bandwidth(bandwidth_bytes_per_s))
    if chunk_bytes is not None:
        parts.append(f"chunk{chunk_bytes}")
    parts += [scope] if scope != "per_layer" else []
    if label:
        parts.append(label)
    return "_".join(_UNFIT.sub("-", part).strip("-") for part in parts)


def _of_settings(settings: Mapping[str, object]) -> list[str]:
    """Name what is set beside policies and the scope: `staging2`, `low+frac=0.25+format=int8`, `fit+sequences=8`."""
    parts = []
    for name in ("low_precision", "lookahead", "fit"):
        values = settings.get(name)
        if isinstance(values, Mapping):
            written = [f"{key}={_written(value)}" for key, value in sorted(values.items()) if value is not None]
            parts.append("+".join([name.removesuffix("_precision"), *written]))
    cache = settings.get("cache")
    if isinstance(cache, Mapping):
        parts += [f"staging{cache['staging']}"] if cache.get("staging") else []
        parts += ["write-back"] if cache.get("write_back") else []
    return parts


def _written(value: object) -> str:
    if isinstance(value, tuple | list):
        return "-".join(str(one) for one in value)
    return value.rsplit("/", 1)[-1] if isinstance(value, str) else str(value)


def _policy(choice: PolicyChoice) -> str:
    parameters = [f"{name}={value}" for name, value in sorted(choice.parameters.items())]
    return "+".join([choice.name, *parameters])


def _bandwidth(bytes_per_s: float) -> str:
    factor, unit = next((item for item in _PREFIXES if bytes_per_s >= item[0]), _PREFIXES[-1])
    return f"{bytes_per_s / factor:.6g}{unit}"
