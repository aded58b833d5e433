"""JSON Schema of a space that `moesim plan` searches."""

from pydantic import TypeAdapter

from hardware_profiles.quantity import Dimension
from simulator.json_schema.generate import Schema, definitions, generated, properties
from simulator.json_schema.quantity import quantity_text
from simulator.json_schema.sweep import sweep_schema
from simulator.plan.search_space import SearchChoice


def space_schema() -> Schema:
    """Return the schema of a space's file: that of a sweep, with prices, a promise, and how much is searched."""
    schema = sweep_schema()
    price = quantity_text(Dimension.DOLLARS_PER_HOUR)
    bounds: Schema = {"type": "object", "additionalProperties": {"type": ["number", "string"]}}
    search = generated(TypeAdapter(SearchChoice))
    search.pop("$defs", None)
    definitions(schema)["SearchChoice"] = search
    properties(schema).update(
        {
            "prices": {
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": price},
                "description": "What each value of an axis costs by the hour; prices of several axes add up.",
            },
            "promise": {
                "type": "object",
                "minProperties": 1,
                "properties": {
                    "most": {
                        **bounds,
                        "description": "Figures of a run and their upper limits, times with their unit.",
                    },
                    "least": {**bounds, "description": "Figures of a run and their lower limits."},
                },
                "additionalProperties": False,
                "description": "What a choice has to keep; cost is weighed against the first figure.",
            },
            "search": {
                "$ref": "#/$defs/SearchChoice",
                "description": "How many choices of a large space are run; without it, all.",
            },
        }
    )
    required = schema["required"]
    assert isinstance(required, list)
    return {**schema, "required": [*required, "promise"]}
