"""JSON Schema of quantities: texts with a unit."""

from hardware_profiles.quantity import Dimension, example_of, quantity_pattern
from simulator.json_schema.generate import Schema
from simulator.workload.quantities import RATE_PATTERN, SPAN_PATTERN


def quantity_text(dimension: Dimension) -> Schema:
    """Return the schema of a text such as "25 GB/s"."""
    return {
        "type": "string",
        "pattern": quantity_pattern(dimension),
        "title": f"text with a unit of {dimension.value}, such as {example_of(dimension)}",
    }


def span_text() -> Schema:
    """Return the schema of a time from ns to hours, as workloads have it."""
    return {
        "type": "string",
        "anyOf": [{"pattern": quantity_pattern(Dimension.SECONDS)}, {"pattern": SPAN_PATTERN}],
        "title": 'time with its unit, such as "500 ms", "10 min" or "1 h"',
    }


def rate_text() -> Schema:
    """Return the schema of a rate of requests."""
    return {
        "type": "string",
        "pattern": RATE_PATTERN,
        "title": 'rate with its unit, such as "2 requests/s" or "90 /min"',
    }
