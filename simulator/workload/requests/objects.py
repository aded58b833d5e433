"""JSON lines: one object per line, and the place of each field."""

import json
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import TypeVar

from hardware_profiles.errors import InputError
from simulator.workload.requests.lines import Lines, shown

T = TypeVar("T")


class Objects:
    """A file's objects. Fields that are not `used`, and not `passed_over`, are noted."""

    def __init__(self, lines: Lines, used: Sequence[str], passed_over: Sequence[str] = ()) -> None:
        self._lines = lines
        self._known = {*used, *passed_over}

    def __iter__(self) -> Iterator["Line"]:
        """Yield the objects. Raises InputError."""
        is_empty = True
        for number, text in self._lines:
            is_empty = False
            line = Line(self._lines, number, text)
            for name in line.fields:
                if name not in self._known:
                    self._lines.note(f"field not used: {name}")
                    self._known.add(name)
            yield line
        if is_empty:
            raise self._lines.fault(1, 1, "the file is empty")


class Line:
    """One object."""

    __slots__ = ("_lines", "fields", "number", "text")

    def __init__(self, lines: Lines, number: int, text: str) -> None:
        self._lines, self.number, self.text = lines, number, text
        try:
            parsed = json.loads(text, parse_float=Decimal)
        except json.JSONDecodeError as error:
            if number == 1 and text.lstrip().startswith("["):
                raise lines.fault(1, 1, "is one JSON array; write one object per line, as `jq -c '.[]'` does") from None
            raise lines.fault(number, error.colno, f"is not JSON: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            raise lines.fault(number, 1, f"is not JSON that moesim reads: {error}") from None
        if isinstance(parsed, list):
            raise lines.fault(number, 1, "is a JSON array; write one object per line, as `jq -c '.[]'` does")
        if not isinstance(parsed, dict):
            raise lines.fault(number, 1, f"{shown(parsed)} should be a JSON object")
        self.fields: dict[str, object] = parsed

    def value(self, name: str, read: Callable[[object], T]) -> T:
        """Return what `read` makes of a field; its ValueError becomes an InputError that says where."""
        if name not in self.fields:
            raise self._lines.fault(self.number, 1, f"has no field {name}; it has {', '.join(self.fields) or 'none'}")
        try:
            return read(self.fields[name])
        except ValueError as error:
            raise self.fault(name, str(error)) from None

    def text_of(self, name: str | None) -> str | None:
        """Return a field as text; None where it is not there, or no field is named."""
        value = self.fields.get(name) if name is not None else None
        return None if value is None else str(value)

    def column(self, name: str) -> int:
        """Return where a field stands in the line, from 1."""
        return max(self.text.find(f'"{name}"'), 0) + 1

    def fault(self, name: str, what: str) -> InputError:
        """Return the error of a field."""
        return self._lines.fault(self.number, self.column(name), f"{name}: {what}")


def has_fields(line: str, names: Sequence[str]) -> bool:
    """Tell whether a line is an object with all of these fields."""
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict) and set(names) <= parsed.keys()
