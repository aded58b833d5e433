"""Systems: named compositions of policies and settings, one YAML file each in this folder.

A file has `description` (one line), `source` (paper or code, with section or file), and optionally `quality` (what the
system loses in the model's output; nothing, where it is left out), `differs` (what of the real system this composition
lacks), and any setting of a scenario but its trace, model, machine and load. What it leaves out is the default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from hardware_profiles.errors import InputError
from hardware_profiles.yaml_file import read_yaml

POLICY_KINDS = ("placement", "slots", "eviction", "prefetch", "miss", "order", "queue", "batching")
_SETTINGS = {*POLICY_KINDS, "cache", "low_precision", "tiles", "lookahead", "hardware_set", "quantisation"}
_TEXTS = ("description", "source", "quality", "differs")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A system: its texts, and the settings of a scenario that it stands for."""

    name: str
    description: str
    source: str
    quality: str
    differs: str
    settings: Mapping[str, object]


def system_names() -> list[str]:
    """Return the names of the systems that ship, sorted."""
    files = resources.files("simulator.systems").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


@cache
def read_system(name: str) -> System:
    """Return a system. Raises InputError, listing the names, for one that does not ship."""
    if name not in system_names():
        raise InputError(f"system {name!r}", f"no such system ships; known: {', '.join(system_names())}")
    with resources.as_file(resources.files("simulator.systems") / f"{name}.yaml") as path:
        values = read_yaml(path)
    texts = {key: " ".join(str(values.pop(key, "")).split()) for key in _TEXTS}
    assert set(values) <= _SETTINGS, f"{name}: {set(values) - _SETTINGS}"
    assert texts["description"], name
    assert texts["source"], name
    return System(name=name, settings=values, **texts)
