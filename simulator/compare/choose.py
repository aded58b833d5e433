"""What a comparison runs: the systems asked for, and those that they are held against.

Each is run on the scenario's trace, model, machine, cache capacity and load; the scenario's own system and policies are
laid aside for those of the system.
"""

from collections.abc import Mapping, Sequence

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of
from simulator.scenario import Values
from simulator.systems import POLICY_KINDS, System, read_system, system_names

ON_DEMAND = "on_demand"
ORACLES = ("oracle_eviction", "oracle_prefetch")
ALL_RESIDENT = "everything_resident"
REFERENCES = (ON_DEMAND, *ORACLES, ALL_RESIDENT)

_REPLACED = {"system", *POLICY_KINDS, "low_precision", "tiles"}
_REPLACED_OF_CACHE = ("scope", "staging", "write_back")
_EVERYTHING_RESIDENT = System(
    name=ALL_RESIDENT,
    description="Bound: every expert on the GPU from the start, whether its memory holds them or not.",
    source="No system: what is left when no expert is ever waited for.",
    quality="",
    differs="",
    settings={"placement": "popular", "eviction": "lru"},
)


def chosen_systems(asked: str) -> Sequence[str]:
    """Return what `--systems` asks for, `all` or names divided by commas, in order, behind the references.

    Raises InputError for a name that is not known.
    """
    known = system_names()
    names = [name.strip() for name in asked.split(",")]
    if names == ["all"]:
        names = list(known)
    for name in names:
        if name not in known:
            raise InputError("--systems", f"{name!r} is not known; {one_of(name, known)}; or all")
    return list(dict.fromkeys([*REFERENCES, *names]))


def described(name: str) -> System:
    """Return the texts and settings of a system or a reference."""
    return _EVERYTHING_RESIDENT if name == ALL_RESIDENT else read_system(name)


def values_for(name: str, values: Mapping[str, object]) -> Values:
    """Return a scenario's plain values with its own system and policies replaced by those of a system."""
    kept: Values = {key: value for key, value in values.items() if key not in _REPLACED}
    cache = kept.get("cache")
    if isinstance(cache, Mapping):
        kept["cache"] = {key: value for key, value in cache.items() if key not in _REPLACED_OF_CACHE}
    if name != ALL_RESIDENT:
        return kept | {"system": name}
    return kept | dict(_EVERYTHING_RESIDENT.settings) | {"cache": {"frac": 1.0}}


def replaced_in(values: Mapping[str, object]) -> Sequence[str]:
    """Name what of a scenario is laid aside."""
    cache = values.get("cache")
    of_cache = [key for key in _REPLACED_OF_CACHE if key in cache] if isinstance(cache, Mapping) else []
    return [key for key in values if key in _REPLACED and values[key] is not None] + [
        f"cache.{key}" for key in of_cache
    ]
