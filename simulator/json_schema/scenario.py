"""JSON Schema of a scenario."""

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from hardware_profiles.link_presets import link_presets
from hardware_profiles.load import profile_names
from hardware_profiles.quantity import Dimension
from hardware_profiles.schema import place_at, settable_paths
from simulator.batching import BATCHING
from simulator.eviction import EVICTION
from simulator.fields import BytesText, Share, TimeText
from simulator.json_schema.generate import (
    Schema,
    definitions,
    generated,
    nullable,
    properties,
    replace_form,
    suggested,
    without_unused,
)
from simulator.json_schema.profile import setting, settings
from simulator.json_schema.quantity import quantity_text, rate_text, span_text
from simulator.miss import MISS
from simulator.model.load import model_names
from simulator.model.quantisation import QUANTISATIONS
from simulator.order import ORDER
from simulator.placement import PLACEMENT
from simulator.prefetch import PREFETCH
from simulator.queue import QUEUE
from simulator.request_router import REQUEST_ROUTER
from simulator.scenario import Policy, Scenario
from simulator.serving.choice import Span, WarmupText
from simulator.serving.warmup import MSER5, NONE
from simulator.slots import SLOTS
from simulator.systems import system_names
from simulator.workload.choice import (
    File,
    FormatName,
    OptionalRate,
    OptionalSpan,
    RateText,
    SpanText,
    TokenLengths,
    Weights,
    WorkloadChoice,
)
from simulator.workload.requests import FORMATS

_POLICIES: Mapping[str, Iterable[str]] = {
    "placement": PLACEMENT,
    "slots": SLOTS,
    "eviction": EVICTION,
    "prefetch": PREFETCH,
    "miss": MISS,
    "order": ORDER,
    "queue": QUEUE,
    "batching": BATCHING,
    "router": REQUEST_ROUTER,
}


def scenario_schema() -> Schema:
    """Return the schema of a scenario's file."""
    schema = generated(TypeAdapter(Scenario))
    workload = generated(TypeAdapter(WorkloadChoice))
    named = definitions(schema)
    named |= definitions(workload) | settings()
    classes = _dataclasses(Scenario) | _dataclasses(WorkloadChoice)
    for of in classes:
        part = schema if of is Scenario else named[of.__name__]
        for name, hint in get_type_hints(of, include_extras=True).items():
            form = _form_of(name, hint)
            if form is not None:
                replace_form(properties(part)[name], form)
    _offer_names(schema)
    replace_form(properties(schema)["workload"], nullable({"$ref": "#/$defs/WorkloadChoice"}))
    return without_unused(schema)


def _form_of(name: str, hint: object) -> Schema | None:
    """Return the form of a field whose type pydantic cannot tell: texts with units, and what may be written shorter."""
    span = span_text()
    rate = rate_text()
    forms: dict[object, Schema] = {
        BytesText: nullable(quantity_text(Dimension.BYTES)),
        TimeText: quantity_text(Dimension.SECONDS),
        Share: nullable({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
        Span: nullable(span),
        OptionalSpan: nullable(span),
        SpanText: span,
        WarmupText: {"anyOf": [{"enum": [MSER5, NONE, None]}, span]},
        RateText: rate,
        OptionalRate: nullable(rate),
        Weights: {
            "anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}]
        },
        FormatName: {"enum": [*FORMATS, None]},
        File | None: {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/FileChoice"}, {"type": "null"}]},
        TokenLengths | None: {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"$ref": "#/$defs/TokensChoice"},
                {"type": "null"},
            ]
        },
    }
    if hint in (Policy, Policy | None):
        policy = _policy(_POLICIES[name])
        return policy if hint == Policy else nullable(policy)
    return forms.get(hint)


def _policy(known: Iterable[str]) -> Schema:
    """Return the schema of a policy: its name, or a mapping with its parameters beside it."""
    name = suggested(list(known))
    parameter = {"type": ["number", "string", "boolean"]}
    return {
        "anyOf": [
            *name["anyOf"],  # type: ignore[misc]
            {
                "type": "object",
                "required": ["name"],
                "properties": {"name": name, "parameters": {"type": "object", "additionalProperties": parameter}},
                "additionalProperties": parameter,
            },
        ]
    }


def _offer_names(schema: Schema) -> None:
    """Put in the names that ship, where a text stands for one of them, and the paths of a machine's figures."""
    keys, named = properties(schema), definitions(schema)
    replace_form(keys["model"], suggested(model_names()))
    replace_form(keys["hardware"], suggested(profile_names()))
    replace_form(keys["system"], {"enum": [*system_names(), None]})
    replace_form(keys["pcie"], {"enum": [*link_presets(), None]})
    formats = suggested(list(QUANTISATIONS))
    quantisation = properties(named["QuantisationChoice"])
    for key in ("experts", "rest"):
        replace_form(quantisation[key], nullable(formats))
    replace_form(quantisation["kv_cache"], formats)
    replace_form(properties(named["LowPrecisionChoice"])["format"], formats)
    places = {path: place_at(path) for path in settable_paths()}
    replace_form(
        keys["hardware_set"],
        {
            "type": "object",
            "properties": {path: setting(place) for path, place in places.items() if place is not None},
            "additionalProperties": {"type": ["object", "string", "null"]},
        },
    )


def _dataclasses(of: type) -> set[type]:
    """Return a dataclass with all that its fields are made of."""
    found: set[type] = set()
    waiting: list[object] = [of]
    while waiting:
        hint = waiting.pop()
        if isinstance(hint, type) and is_dataclass(hint) and hint not in found:
            found.add(hint)
            waiting += get_type_hints(hint).values()
        elif get_origin(hint) in (Union, UnionType, dict, tuple, list):
            waiting += get_args(hint)
    return found
