"""Read a YAML file into plain values, and plain values into a dataclass, refusing with a clear message.

Stricter than YAML: no duplicate keys, no anchors or aliases (a few lines of them expand to gigabytes), no tags, no file
over a megabyte, string keys only.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from hardware_profiles.errors import InputError
from hardware_profiles.suggest import one_of

_MAX_FILE_BYTES = 1 << 20
_MAX_DEPTH = 32

T = TypeVar("T")
_ABSENT = object()
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")

strict = with_config(ConfigDict(extra="forbid"))
"""Decorates a dataclass that `validate` builds: pydantic passes over unknown keys of a plain dataclass in silence."""


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases and without duplicate keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            raise yaml.composer.ComposerError(
                None, None, "anchors and aliases are not accepted; write the value out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not a string; quote it", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice; keep one", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_text(path: Path) -> str:
    """Read a small UTF-8 file. Raises InputError naming the file and the remedy."""
    try:
        if path.is_dir():
            raise InputError(path, "is a directory; name a file in it")
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)  # not stat(): a pipe and /dev/zero have no size
        if len(raw) > _MAX_FILE_BYTES:
            raise InputError(path, f"is too large; a configuration has at most {_MAX_FILE_BYTES} bytes")
        return raw.decode("utf-8")
    except FileNotFoundError:
        raise InputError(path, "no such file; check the path") from None
    except UnicodeDecodeError as error:
        raise InputError(path, f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from None


def read_yaml(path: Path) -> dict[str, object]:
    """Read a YAML mapping. Raises InputError for anything else, with line and column where YAML knows them."""
    values = parse_yaml(read_text(path), path)
    if not isinstance(values, dict):
        found = "nothing" if values is None else type(values).__name__
        raise InputError(path, f"should hold a mapping of keys to values, but holds {found}")
    return values


def parse_yaml(text: str, source: str | Path) -> object:
    """Read text as YAML, with the restrictions above. Raises InputError that names `source`."""
    try:
        value: object = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
        raise InputError(source, f"is not YAML that moesim reads{where}: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(source, f"is not YAML that moesim reads: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise InputError(source, f"is nested deeper than {_MAX_DEPTH} levels; flatten it") from None
    if _depth(value) > _MAX_DEPTH:
        raise InputError(source, f"is nested deeper than {_MAX_DEPTH} levels; flatten it")
    return value


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(item) for item in value), default=0)
    return 0


def validate(adapter: TypeAdapter[T], values: Mapping[str, object], source: str | Path) -> T:
    """Build the adapter's type from plain values.

    Raises InputError with one line per fault, each with the key's path (`gpu.memory.value`), the value, and what was
    expected; a fault that a parser of this project raised keeps its own words.
    """
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        faults = []
        for fault in error.errors(include_url=False):
            kind = fault["type"]
            where = _dotted(fault["loc"], values, is_missing=kind in _MISSING) or "(top level)"
            if kind == "unexpected_keyword_argument" or kind == "extra_forbidden":
                faults.append(f"{where}: unknown key; remove it or check its spelling")
            elif kind in _MISSING:
                faults.append(f"{where}: is missing")
            elif kind == "value_error":
                faults.append(f"{where}: {fault['ctx']['error']}")
            elif kind in ("dataclass_type", "dict_type"):
                faults.append(f"{where}: {_shown(fault['input'])} is not a group of keys; indent its keys below it")
            elif kind == "union_tag_invalid":
                key, tags = fault["ctx"]["discriminator"].strip("'"), fault["ctx"]["expected_tags"]
                known = [tag.strip("'") for tag in tags.split(", ")]
                faults.append(
                    f"{where}.{key}: {fault['ctx']['tag']!r} is not known; {one_of(fault['ctx']['tag'], known)}"
                )
            else:
                faults.append(f"{where}: {_shown(fault['input'])}: {fault['msg']}")
        raise InputError(source, faults) from None


def _dotted(location: tuple[int | str, ...], values: object, *, is_missing: bool) -> str:
    """Write pydantic's location as a dotted key, without the names of union branches, which stand in no file."""
    parts: list[str] = []
    here = values
    for number, part in enumerate(location):
        below = _below(here, part)
        if below is not _ABSENT:
            here = below
        elif not (is_missing and number == len(location) - 1):
            continue
        parts.append(str(part))
    return ".".join(parts)


def _below(values: object, key: int | str) -> object:
    if isinstance(values, Mapping):
        return values.get(key, _ABSENT)
    return values[key] if isinstance(values, list) and isinstance(key, int) else _ABSENT


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
