"""Write docs/reference/*.md and docs/schema/*.json: every key of every file, read off the types that read the files.

python docs/make_reference.py
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import traces.format
from simulator.json_schema import SCHEMAS, json_schema
from simulator.json_schema.generate import Schema, definitions, properties
from traces.format.schema import FORMAT_VERSION, METADATA_KEYS, TraceMetadata

DOCS = Path(__file__).resolve().parent
TITLES = {
    "scenario": ("Scenario", "../scenario.md"),
    "sweep": ("Sweep", "../sweep.md"),
    "plan": ("Space of a plan", "../plan.md"),
    "profile": ("Hardware profile", "../hardware_profiles.md"),
    "model": ("Model", "../models.md"),
}
_MOST_NAMES = 12
_TEXT = "text"


def schema_text(kind: str) -> str:
    """Return what `moesim schema` prints, the file docs/schema/<kind>.schema.json."""
    return json.dumps(json_schema(kind), indent=1, ensure_ascii=False) + "\n"


def page(kind: str) -> str:
    """Return docs/reference/<kind>.md."""
    title, guide = TITLES[kind]
    schema = json_schema(kind)
    lines = [
        f"# {title}: all keys",
        "",
        f"Written by `docs/make_reference.py` from the types that read the file and their docstrings; [the guide]({guide})",
        f"says what they are for, and [an editor](../editors.md) knows them from `moesim schema {kind}`.",
        "",
        _text(schema),
        "",
    ]
    named = definitions(schema) if "$defs" in schema else {}
    headings = _headings(schema, named)
    if kind in ("sweep", "plan"):
        headings = {name: heading for name, heading in headings.items() if not heading.startswith("scenario")}
    if kind == "plan":
        headings.pop("SampleChoice")  # it stands on the page of sweeps
    lines += _table(schema, headings)
    for name, heading in headings.items():
        lines += [f"({_anchor(name)})=", f"## {heading}", "", _text(named[name]), "", *_table(named[name], headings)]
    return "\n".join(lines).rstrip() + "\n"


def trace_page() -> str:
    """Return docs/reference/trace.md."""
    lines = [
        "# Trace format",
        "",
        "Written by `docs/make_reference.py` from the docstrings of `traces.format`. [Traces](../traces.md) are described,",
        "measured and made by `moesim trace`, [recorded](../capture.md) live, and [imported](../importing.md).",
        "",
        inspect.getdoc(traces.format) or "",
        "",
        "## Metadata",
        "",
        "Texts in the header of each file.",
        "",
        inspect.getdoc(TraceMetadata) or "",
        "",
        f"All keys of version {FORMAT_VERSION}: {', '.join(f'`{key}`' for key in METADATA_KEYS)}.",
    ]
    return "\n".join(lines) + "\n"


def _headings(schema: Schema, named: Mapping[str, Schema]) -> dict[str, str]:
    """Return the named mappings of a schema, each with the path at which it stands first."""
    headings: dict[str, str] = {}
    waiting = [(f"{key}", part) for key, part in properties(schema).items()]
    while waiting:
        path, part = waiting.pop(0)
        for name in _references(part):
            if name in headings or "properties" not in named[name] or _is_figure(named[name]):
                continue
            keys = properties(named[name])
            const = dict(keys.get("process", {})).get("const")
            headings[name] = f"{path}, {const}" if const else path
            waiting += [(f"{path}.{key}", below) for key, below in keys.items()]
    return headings


def _references(part: object) -> Iterator[str]:
    """Yield the names of what a property may be; not the values of a mapping by name, but for those of `slo`."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "$ref" and isinstance(value, str):
                yield value.rpartition("/")[2]
            elif key != "properties":
                yield from _references(value)
    elif isinstance(part, list):
        for item in part:
            yield from _references(item)


def _table(schema: Schema, headings: Mapping[str, str]) -> list[str]:
    required = schema.get("required", [])
    assert isinstance(required, list)
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, part in properties(schema).items():
        cells = (
            f"`{key}`",
            _value(part, headings, schema),
            "required" if key in required else _default(part.get("default")),
            _meaning(key, str(part.get("description", ""))),
        )
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return [*lines, ""]


def _meaning(key: str, text: str) -> str:
    """Return what is said of a key, without its name before."""
    begin = re.compile(rf"`{key}` (?:(?:is|are) |(?:says )?(?=(?:what|how|who|which|whether|by how much) ))")
    return begin.sub("", text, count=1) if begin.match(text) else text


def _default(value: object) -> str:
    if value is None or value in ({}, [], ""):
        return "-"
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def _value(part: Mapping[str, object], headings: Mapping[str, str], schema: Schema) -> str:
    """Say in words what a value may be."""
    options = part.get("anyOf") or part.get("oneOf")
    if isinstance(options, list) and "title" not in part:
        told = [_value(option, headings, schema) for option in options if option != {"type": "null"}]
        offered = {"type": "string"} in options and any("enum" in option for option in options)
        return " or ".join(
            "another name" if text == _TEXT and offered else text for text in dict.fromkeys(told) if text
        )
    match part:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return f"[{headings[name]}](#{_anchor(name)})" if name in headings else _words(name)
        case {"const": value}:
            return f"`{value}`"
        case {"enum": list(names)}:
            shown = [f"`{name}`" for name in names if name is not None]
            return ", ".join(shown) if len(shown) <= _MOST_NAMES else f"{', '.join(shown[:3])} and others that ship"
        case {"title": str(title)}:
            return title
        case {"type": "integer" | "number" as kind}:
            return ("whole number" if kind == "integer" else "number") + _range(part)
        case {"type": "array", "items": dict(items)}:
            return f"list of {_value(items, headings, schema)}"
        case {"type": "object", "required": ["name"]}:
            return "a mapping with its `name` and parameters"
        case {"type": "object", "properties": dict(keys)} if len(keys) > _MOST_NAMES:
            return "mapping of the dotted paths of a [machine](profile.md) to values"
        case {"type": "object", "additionalProperties": dict(below)}:
            return f"mapping of names to {_value(below, headings, schema) or 'values'}"
        case {"type": str(kind)}:
            return {"string": _TEXT, "boolean": "`true` or `false`", "object": "mapping", "array": "list"}.get(
                kind, kind
            )
    return "any"


def _words(name: str) -> str:
    """Name a form that has no table of its own."""
    if name.startswith("DurationBy"):
        return "[a duration](../hardware_profiles.md#a-figure)"
    if name == "Scenario":
        return "[the keys of a scenario](scenario.md)"
    if name == "SampleChoice":
        return "[a sample](sweep.md#samplechoice)"
    return f"[a figure](../hardware_profiles.md#a-figure) of {_UNITS.get(name, name)}"


_UNITS = {
    "Bytes": "bytes",
    "BytesPerS": "bytes/s",
    "Flops": "FLOP/s",
    "Seconds": "time",
    "Fraction": "a share",
    "Count": "a number",
    "Watts": "watts",
    "Dollars": "money",
    "DollarsPerHour": "money per hour",
    "DollarsPerKwh": "money per energy",
    "Hours": "hours, days or years",
}


def _range(part: Mapping[str, object]) -> str:
    least, most = part.get("minimum"), part.get("maximum")
    text = f" from {least}" if least is not None else ""
    text += f" above {part['exclusiveMinimum']}" if "exclusiveMinimum" in part else ""
    return text + (f" to {most}" if isinstance(most, int | float) and most <= 10**6 else "")


def _is_figure(schema: Mapping[str, object]) -> bool:
    keys = schema.get("properties")
    return isinstance(keys, dict) and set(keys) == {"value", "kind", "source"}


def _text(schema: Mapping[str, object]) -> str:
    return str(schema.get("description", "")).strip()


def _anchor(name: str) -> str:
    return name.lower()


def main() -> None:
    """Write the pages and the schemas."""
    (DOCS / "reference" / "trace.md").write_text(trace_page(), encoding="utf-8")
    for kind in SCHEMAS:
        (DOCS / "reference" / f"{kind}.md").write_text(page(kind), encoding="utf-8")
        (DOCS / "schema" / f"{kind}.schema.json").write_text(schema_text(kind), encoding="utf-8")


if __name__ == "__main__":
    main()
