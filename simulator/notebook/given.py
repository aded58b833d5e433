"""A scenario as a program gives it: a file's path, a mapping, or a `Scenario`; and settings laid over it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hardware_profiles.errors import InputError
from simulator.scenario import PolicyChoice, Scenario, plain, read_scenario, set_path

Given = Scenario | Mapping[str, object] | str | Path


def given_values(given: Given, settings: Mapping[str, object]) -> tuple[dict[str, object], str]:
    """Return a scenario's plain values with settings laid over them, and what to call it in errors.

    Paths in a file are relative to the file, those in a mapping or a setting to the current folder. A setting's key is a
    field (`batch`), the path of one (`cache.frac`) or a figure of the machine (`link.h2d.bandwidth`), as after `--set`.
    Raises InputError for a file that cannot be read, and for a key that is none.
    """
    if isinstance(given, str | Path):
        values, source = read_scenario(Path(given)), str(given)
    elif isinstance(given, Scenario):
        values, source = _mapping(plain(given)), "scenario"
    elif isinstance(given, Mapping):
        values, source = _mapping(given), "scenario"
    else:
        raise InputError(
            "scenario", f"is {type(given).__name__}; give a file's path, a mapping or a simulator.Scenario"
        )
    lay_over(values, settings)
    return values, f"{source} with settings" if settings else source


def lay_over(values: dict[str, object], settings: Mapping[str, object]) -> None:
    """Set what each setting says in a scenario's plain values. Raises InputError."""
    for path, value in settings.items():
        try:
            set_path(values, path, plain_value(value))
        except InputError as error:
            raise InputError(f"setting {path}", error.faults) from None


def plain_value(value: object) -> object:
    """Return a value as a YAML file would give it: paths become texts, numpy's numbers Python's, policies mappings."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        number: object = value.item()
        return number
    if isinstance(value, PolicyChoice):
        return {"name": value.name, **value.parameters}
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [plain_value(item) for item in value]
    return value


def _mapping(values: Mapping[str, object]) -> dict[str, object]:
    return {str(key): plain_value(value) for key, value in values.items()}
