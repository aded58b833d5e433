"""Systems: named compositions of policies, one YAML file each in this folder.

A file has `description`, `source`, and `eviction`, `prefetch`, `miss` as a scenario has them. What it leaves out is the
default: lru, none, fetch.
"""

from importlib import resources

from hardware_profiles.errors import InputError
from hardware_profiles.yaml_file import read_yaml

_KEYS = {"description", "source", "eviction", "prefetch", "miss"}


def system_names() -> list[str]:
    """Return the names of the systems that ship, sorted."""
    files = resources.files("simulator.systems").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def read_system(name: str) -> dict[str, object]:
    """Return a system's plain values. Raises InputError, listing the names, for one that does not ship."""
    if name not in system_names():
        raise InputError(f"system {name!r}", f"no such system ships; known: {', '.join(system_names())}")
    with resources.as_file(resources.files("simulator.systems") / f"{name}.yaml") as path:
        values = read_yaml(path)
    assert set(values) <= _KEYS, name
    return values
