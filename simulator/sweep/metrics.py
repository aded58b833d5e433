"""A run's summary as the columns of a table: every number, under a name that ends with its unit.

`tpot_s: {p50: ...}` becomes `tpot_p50_s`, `busy_frac: {gpu: ...}` `busy_gpu_frac`, `cache: {bytes: ...}` `cache_bytes`.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from hardware_profiles.suggest import one_of

_UNITS = ("_s", "_ns", "_frac", "_bytes", "_j", "_w", "_usd")


def flat_metrics(summary: Mapping[str, object]) -> dict[str, int | float]:
    """Return the numbers of a summary by their names; true and false are 1 and 0, series over time are left out."""
    return dict(_flat(summary, "", ""))


def chosen(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the names that match one of the patterns, all if there are none, in their order. Raises ValueError."""
    if not patterns:
        return list(names)
    strange = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
    if strange:
        raise ValueError(
            "; ".join(f"{pattern!r} is no metric of these results; {one_of(pattern, names)}" for pattern in strange)
        )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _flat(values: Mapping[str, object], before: str, unit: str) -> Iterator[tuple[str, int | float]]:
    for key, value in values.items():
        own = next((suffix for suffix in _UNITS if key.endswith(suffix)), "")
        if isinstance(value, Mapping):
            stem = key.removesuffix(own)
            yield from _flat(value, f"{before}{stem}_", own or unit)
        elif isinstance(value, int | float):
            yield f"{before}{key}{'' if own else unit}", value if not isinstance(value, bool) else int(value)
