"""JSON Schema of a dataclass, by pydantic, with what the class's docstring says of each field."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from inspect import getdoc
from typing import TYPE_CHECKING

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import core_schema

Schema = dict[str, object]
"""A JSON Schema, or a part of one, as plain values."""

_SENTENCE = re.compile(r"(?<=[.)])\s+(?=[A-Z`])")


class _Described(GenerateJsonSchema):
    """Give every property the words that its class's docstring has for it, in place of a title."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False

    def dataclass_schema(self, schema: "core_schema.DataclassSchema") -> JsonSchemaValue:
        described = super().dataclass_schema(schema)
        texts = field_texts(schema["cls"])
        for name, value in described.get("properties", {}).items():
            if name in texts:
                value["description"] = texts[name]
        described.pop("title", None)
        return described


def generated(adapter: "TypeAdapter[object]") -> Schema:
    """Return the schema of what an adapter reads."""
    return adapter.json_schema(schema_generator=_Described)


def field_texts(of: type) -> dict[str, str]:
    """Return what the docstring of a dataclass says of each field that it names in backquotes.

    That is what begins with the field's name; of a field with which nothing begins, every sentence that names it.
    """
    names = [field.name for field in fields(of)]
    clauses = [clause for paragraph in (getdoc(of) or "").split("\n\n") for clause in _clauses(paragraph, names)]
    texts = {}
    for name in names:
        own = [clause for clause in clauses if clause.startswith(f"`{name}`")]
        said = own or [clause for clause in clauses if f"`{name}`" in clause]
        if said:
            texts[name] = " ".join(clause if clause.endswith(".") else f"{clause.rstrip(';,')}." for clause in said)
    return texts


def _clauses(paragraph: str, names: Sequence[str]) -> Iterator[str]:
    """Divide a paragraph into sentences, and these where a semicolon is followed by a field's name."""
    begins = re.compile(rf";\s+(?=`(?:{'|'.join(names)})`)")
    for sentence in _SENTENCE.split(" ".join(paragraph.split())):
        yield from begins.split(sentence)


def nullable(schema: Mapping[str, object]) -> Schema:
    """Return a schema that takes null as well."""
    return {"anyOf": [dict(schema), {"type": "null"}]}


def suggested(names: Sequence[str]) -> Schema:
    """Return a schema of texts that offers some names and takes others too."""
    return {"anyOf": [{"enum": list(names)}, {"type": "string"}]}


def definitions(schema: Mapping[str, object]) -> dict[str, Schema]:
    """Return the named parts of a schema."""
    found = schema.get("$defs")
    assert isinstance(found, dict)
    return found


def properties(schema: Mapping[str, object]) -> dict[str, Schema]:
    """Return the properties of a schema of a mapping."""
    found = schema["properties"]
    assert isinstance(found, dict)
    return found


def replace_form(part: Schema, form: Mapping[str, object]) -> None:
    """Put another form in place of a property's, and keep its words and its default."""
    kept = {key: part[key] for key in ("description", "default") if key in part}
    part.clear()
    part.update(kept | dict(form))


def without_unused(schema: Schema) -> Schema:
    """Return a schema without named parts that nothing refers to."""
    named = definitions(schema)
    body = {key: value for key, value in schema.items() if key != "$defs"}
    used: set[str] = set()
    waiting = list(_references(body))
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting += _references(named[name])
    return {**body, "$defs": {name: named[name] for name in sorted(used)}}


def _references(part: object) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix("#/$defs/")
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)
