"""JSON Schema of a hardware profile, and of what a run may set in one."""

from pydantic import TypeAdapter

from hardware_profiles.link_presets import link_presets
from hardware_profiles.profile import HardwareProfile
from hardware_profiles.quantity import Dimension
from hardware_profiles.schema import Place, places
from simulator.json_schema.generate import (
    Schema,
    definitions,
    generated,
    nullable,
    properties,
    replace_form,
    without_unused,
)
from simulator.json_schema.quantity import quantity_text

_PROVENANCE: Schema = {
    "kind": {
        "enum": ["measured", "datasheet", "published", "assumed"],
        "description": "How the number is known.",
    },
    "source": {
        "type": "string",
        "pattern": r"\S",
        "description": "Where the number comes from: a document, a measurement, or why it is assumed.",
    },
}


def profile_schema() -> Schema:
    """Return the schema of a profile's file."""
    schema = generated(TypeAdapter(HardwareProfile))
    named = definitions(schema)
    named |= {_name(dimension.name): _figure(dimension) for dimension in Dimension}
    named |= {
        f"DurationBy{_name(place.amount)}": _duration(place.amount) for place in places().values() if place.amount
    }
    for path, place in places().items():
        *groups, last = path.split(".")
        part = schema
        for group in groups:
            part = named[_class_of(properties(part)[group])]
        form = _form(place)
        if form is not None:
            replace_form(properties(part)[last], nullable(form) if place.optional else form)
    replace_form(properties(named["Link"])["preset"], {"enum": [*link_presets(), None]})
    return without_unused(schema)


def settings() -> dict[str, Schema]:
    """Return the named parts that `setting` refers to."""
    return {
        f"SettingOf{_name(dimension.name)}": {
            "anyOf": [quantity_text(dimension), {"enum": ["none", None]}, {"type": "object"}],
        }
        for dimension in Dimension
    }


def setting(place: Place) -> Schema:
    """Return the schema of what a run may set at a path: a text in place of a figure, the figure whole, or nothing."""
    if place.form == "text" or place.dimension is None:
        return {"type": ["string", "null"]}
    return {"$ref": f"#/$defs/SettingOf{_name(place.dimension.name)}"}


def _name(key: str) -> str:
    return "".join(part.capitalize() for part in key.split("_"))


def _class_of(part: Schema) -> str:
    reference = part["$ref"]
    assert isinstance(reference, str)
    return reference.removeprefix("#/$defs/")


def _form(place: Place) -> Schema | None:
    """Return the form of what stands at a place; None where pydantic has it right, which is for texts."""
    if place.form == "text" or place.dimension is None:
        return None
    if place.form == "duration":
        return {"$ref": f"#/$defs/DurationBy{_name(place.amount or '')}"}
    figure: Schema = {"$ref": f"#/$defs/{_name(place.dimension.name)}"}
    return figure if place.form == "figure" else {"type": "object", "additionalProperties": figure}


def _figure(dimension: Dimension) -> Schema:
    return {
        "type": "object",
        "required": ["value", "kind", "source"],
        "properties": {"value": quantity_text(dimension), **_PROVENANCE},
        "additionalProperties": False,
    }


def _duration(amount: str, *, is_listed: bool = False) -> Schema:
    """Return the schema of a duration: constant, or a table by an amount; both perhaps for weights of several sizes."""
    time = quantity_text(Dimension.SECONDS)
    amounts = quantity_text(Dimension.BYTES) if amount == "bytes" else {"type": "integer", "minimum": 0}
    also: Schema = dict(_PROVENANCE)
    if amount == "tokens":
        also["weights"] = quantity_text(Dimension.BYTES)
        if not is_listed:
            also["other_weights"] = {"type": "array", "items": _duration(amount, is_listed=True)}
    required = ["kind", "source", *(("weights",) if is_listed else ())]
    table: Schema = {
        amount: {"type": "array", "items": amounts, "minItems": 1},
        "time": {"type": "array", "items": time, "minItems": 1},
    }
    return {
        "anyOf": [
            {
                "type": "object",
                "required": [*keys, *required],
                "properties": keys | also,
                "additionalProperties": False,
            }
            for keys in ({"constant": time}, table)
        ]
    }
