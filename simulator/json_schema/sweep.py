"""JSON Schema of a sweep."""

from pydantic import TypeAdapter

from simulator.json_schema.generate import Schema, definitions, generated, properties, replace_form, without_unused
from simulator.json_schema.scenario import scenario_schema
from simulator.sweep.file import SweepChoice

_END: Schema = {"type": ["number", "string"]}
_SPAN: Schema = {
    "type": "object",
    "required": ["from", "to"],
    "properties": {
        "from": {**_END, "description": "The lowest value, with its unit if it has one."},
        "to": {**_END, "description": "The highest value, in the same unit."},
        "points": {"type": "integer", "minimum": 2, "description": "So many values, both ends among them."},
        "step": {**_END, "description": "The distance of values, from the lowest on."},
        "scale": {"enum": ["linear", "log"], "description": "Whether values are spaced by differences or by factors."},
    },
    "additionalProperties": False,
}


def sweep_schema() -> Schema:
    """Return the schema of a sweep's file. A scenario in it may leave out what stands on an axis."""
    schema = generated(TypeAdapter(SweepChoice))
    scenario = scenario_schema()
    named = definitions(schema)
    named |= definitions(scenario)
    named["Scenario"] = {key: value for key, value in scenario.items() if key not in ("$defs", "required")}
    values: Schema = {"type": "array", "minItems": 1}
    keys = properties(schema)
    replace_form(keys["scenario"], {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Scenario"}]})
    replace_form(keys["axes"], {"type": "object", "additionalProperties": {"anyOf": [values, _SPAN]}})
    group = {"type": "object", "minProperties": 2, "additionalProperties": values}
    replace_form(keys["zip"], {"type": "array", "items": group})
    replace_form(keys["constraints"], {"type": "array", "items": {"type": "string"}})
    return without_unused(schema)
