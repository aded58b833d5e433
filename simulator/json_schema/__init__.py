"""JSON Schemas of the files that people write, for editors: completion, hover texts and faults while typing.

They are made of the types that read the files, and of their docstrings; nothing is written twice.

Limits: a schema knows one file by itself. That keys contradict each other, that a trace fits its model, that a policy has a
parameter of that name, or that the constraints of a sweep can be read, is found by `moesim` when it reads the file. Where
`moesim` takes a number that is written as a text (`frac: "0.5"`), a schema refuses it.
"""

from collections.abc import Callable, Mapping

from simulator.json_schema.generate import Schema
from simulator.json_schema.model import model_schema
from simulator.json_schema.profile import profile_schema
from simulator.json_schema.scenario import scenario_schema
from simulator.json_schema.space import space_schema
from simulator.json_schema.sweep import sweep_schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SCHEMAS: Mapping[str, Callable[[], Schema]] = {
    "scenario": scenario_schema,
    "sweep": sweep_schema,
    "plan": space_schema,
    "profile": profile_schema,
    "model": model_schema,
}
"""What makes the schema of each kind of file."""


def json_schema(kind: str) -> Schema:
    """Return the schema of a kind of file, one of `SCHEMAS`, as plain values."""
    return {"$schema": DIALECT, "title": f"moesim {kind}", **SCHEMAS[kind]()}
