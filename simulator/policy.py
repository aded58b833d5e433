"""Find and build policies: by name, by entry point, or as `module:Class`."""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import TypeVar

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of
from simulator.batching import BATCHING, Batching
from simulator.eviction.protocol import Eviction
from simulator.miss.protocol import Miss
from simulator.order.protocol import Order
from simulator.placement.protocol import Placement
from simulator.prefetch.protocol import Prefetch
from simulator.queue.protocol import Queue
from simulator.request_router import REQUEST_ROUTER
from simulator.request_router.protocol import Replicas, RequestRouter
from simulator.scenario import PolicyChoice, Scenario
from simulator.slots.protocol import Split
from simulator.view import View

P = TypeVar("P")

_PROTOCOLS: Mapping[str, type] = {
    "placement": Placement,
    "slots": Split,
    "eviction": Eviction,
    "prefetch": Prefetch,
    "miss": Miss,
    "order": Order,
    "queue": Queue,
    "batching": Batching,
    "router": RequestRouter,
}
_VERBS = {kind: [name for name in vars(protocol) if not name.startswith("_")] for kind, protocol in _PROTOCOLS.items()}
_WRITTEN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}

DEFAULTS = {
    "placement": PolicyChoice(name="none"),
    "slots": PolicyChoice(name="equal"),
    "eviction": PolicyChoice(name="lru"),
    "prefetch": PolicyChoice(name="none"),
    "miss": PolicyChoice(name="fetch"),
    "order": PolicyChoice(name="first_appearance"),
    "queue": PolicyChoice(name="keep"),
    "batching": PolicyChoice(name="together"),
}


def composed_policies(scenario: Scenario) -> dict[str, PolicyChoice]:
    """Return the policy of each kind: the scenario's own (or its system's), else the default."""
    return {kind: getattr(scenario, kind) or default for kind, default in DEFAULTS.items()}


def build_policy(kind: str, choice: PolicyChoice, known: Mapping[str, Callable[..., P]], view: View, source: str) -> P:
    """Build a policy of a kind (`eviction`, `prefetch`, ...) with its parameters.

    Its name is looked up in `known`, then among the entry points of the group `moesim.<kind>`; a name with a colon is a
    module and a class of the user's. Raises InputError for an unknown name or unfit parameters.
    """
    return _build(kind, choice, _find(kind, choice.name, known, source), (view,), source)


def build_batching(choice: PolicyChoice, source: str) -> Batching:
    """Build what divides the sequences that decode into steps; it sees no run. Raises InputError as `build_policy`."""
    return _build("batching", choice, _find("batching", choice.name, BATCHING, source), (), source)


def build_request_router(choice: PolicyChoice, replicas: Replicas, source: str) -> RequestRouter:
    """Build what gives requests to replicas. Raises InputError as `build_policy`."""
    return _build("router", choice, _find("router", choice.name, REQUEST_ROUTER, source), (replicas,), source)


def _build(kind: str, choice: PolicyChoice, make: Callable[..., P], seen: Sequence[View | Replicas], source: str) -> P:
    """Build a policy from what it sees and its parameters, checked."""
    try:
        accepted = {
            name: parameter.annotation
            for name, parameter in inspect.signature(make).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }
        unknown = [name for name in choice.parameters if name not in accepted]
        if unknown:
            raise ValueError(f"has no parameter {', '.join(unknown)}; it has {', '.join(accepted) or 'none'}")
        for name, value in choice.parameters.items():
            _check_type(name, value, accepted[name])
        policy = make(*seen, **choice.parameters)
    except (TypeError, ValueError) as error:
        raise InputError(source, f"{kind}: {choice.name}: {error}") from error
    missing = [verb for verb in _VERBS[kind] if not callable(getattr(policy, verb, None))]
    if missing:
        raise InputError(source, f"{kind}: {choice.name} is no {kind} policy; it lacks {', '.join(missing)}")
    return policy


def _check_type(name: str, value: object, annotation: object) -> None:
    """Raise ValueError if a parameter is not of the plain type that the policy declares."""
    if annotation not in _WRITTEN:
        return
    is_bool = isinstance(value, bool)
    accepted = (int, float) if annotation is float else annotation
    assert isinstance(accepted, type | tuple)
    if not isinstance(value, accepted) or is_bool != (annotation is bool):
        raise ValueError(f"{name} is {value!r}; write {_WRITTEN[annotation]}")


def _find(kind: str, name: str, known: Mapping[str, Callable[..., P]], source: str) -> Callable[..., P]:
    if name in known:
        return known[name]
    module_name, colon, class_name = name.partition(":")
    if colon:
        try:
            found: Callable[..., P] = getattr(importlib.import_module(module_name), class_name)
        except Exception as error:  # whatever the user's module raises as it is imported
            fault = str(error) if isinstance(error, ImportError | AttributeError | ValueError) else repr(error)
            raise InputError(source, f"{kind}: {name!r} cannot be imported: {fault}; check module:Class") from None
        return found
    plugins = entry_points(group=f"moesim.{kind}")
    if name in plugins.names:
        loaded: Callable[..., P] = plugins[name].load()
        return loaded
    raise InputError(source, f"{kind}: {name!r} is not known; {one_of(name, known)}; or module:Class")
