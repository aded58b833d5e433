"""JSON Schema of a model."""

from pydantic import TypeAdapter

from simulator.json_schema.generate import Schema, generated, properties, replace_form, suggested
from simulator.model.quantisation import QUANTISATIONS
from simulator.model.spec import ModelSpec


def model_schema() -> Schema:
    """Return the schema of a model's file."""
    schema = generated(TypeAdapter(ModelSpec))
    for key in ("expert_quantisation", "rest_quantisation", "embedding_quantisation"):
        replace_form(properties(schema)[key], suggested(list(QUANTISATIONS)))
    return schema
