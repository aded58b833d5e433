"""Find and build policies: by name, by entry point, or as `module:Class`."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import TypeVar

from hardware_profiles.errors import InputError
from simulator.scenario import PolicyChoice, Scenario, build_scenario
from simulator.systems import read_system
from simulator.view import View

P = TypeVar("P")

DEFAULTS = {
    "eviction": PolicyChoice(name="lru"),
    "prefetch": PolicyChoice(name="none"),
    "miss": PolicyChoice(name="fetch"),
}


def composed_policies(scenario: Scenario) -> dict[str, PolicyChoice]:
    """Return the policy of each kind: the scenario's own, else its system's, else the default. Raises InputError."""
    system: Mapping[str, PolicyChoice | None] = {}
    if scenario.system is not None:
        values = {key: value for key, value in read_system(scenario.system).items() if key in DEFAULTS}
        composed = build_scenario({"trace": "", "model": "", "hardware": "", **values}, f"system {scenario.system!r}")
        system = {kind: getattr(composed, kind) for kind in DEFAULTS}
    return {kind: getattr(scenario, kind) or system.get(kind) or default for kind, default in DEFAULTS.items()}


def build_policy(kind: str, choice: PolicyChoice, known: Mapping[str, Callable[..., P]], view: View, source: str) -> P:
    """Build a policy of a kind (`eviction`, `prefetch`, `miss`) with its parameters.

    Its name is looked up in `known`, then among the entry points of the group `moesim.<kind>`; a name with a colon is a
    module and a class of the user's. Raises InputError for an unknown name or unfit parameters.
    """
    make = _find(kind, choice.name, known, source)
    accepted = [
        name
        for name, parameter in inspect.signature(make).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    unknown = [name for name in choice.parameters if name not in accepted]
    if unknown:
        raise InputError(
            source,
            f"{kind}: {choice.name} has no parameter {', '.join(unknown)}; it has {', '.join(accepted) or 'none'}",
        )
    try:
        return make(view, **choice.parameters)
    except (TypeError, ValueError) as error:
        raise InputError(source, f"{kind}: {choice.name}: {error}") from None


def _find(kind: str, name: str, known: Mapping[str, Callable[..., P]], source: str) -> Callable[..., P]:
    if name in known:
        return known[name]
    module_name, colon, class_name = name.partition(":")
    if colon:
        try:
            found: Callable[..., P] = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(source, f"{kind}: {name!r} cannot be imported: {error}") from None
        return found
    plugins = entry_points(group=f"moesim.{kind}")
    if name in plugins.names:
        loaded: Callable[..., P] = plugins[name].load()
        return loaded
    close = get_close_matches(name, known)
    hint = f"did you mean {close[0]}? " if close else ""
    raise InputError(source, f"{kind}: {name!r} is not known; {hint}known: {', '.join(known)}; or module:Class")
