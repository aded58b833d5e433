"""CSV with a header: rows by column name, and the place of each cell."""

import csv
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from hardware_profiles.errors import InputError
from simulator.workload.requests.lines import Lines, whole_number

T = TypeVar("T")


class Table:
    """A file's rows. `used` columns have to be there, `passed_over` ones may be; any other is noted as not used."""

    def __init__(self, lines: Lines, used: Sequence[str], passed_over: Sequence[str] = ()) -> None:
        self._lines = lines
        self._used, self._passed_over = used, passed_over

    def __iter__(self) -> Iterator["Row"]:
        """Yield the rows below the header. Raises InputError."""
        lines = iter(self._lines)
        number, header = next(lines, (1, ""))
        names = cells(header)
        for name in self._used:
            if names.count(name) != 1:
                found = f"the columns are {', '.join(names)}" if names else "the file is empty"
                raise self._lines.fault(number, 1, f"should have one column {name}; {found}")
        unused = [name for name in names if name not in self._used and name not in self._passed_over]
        if unused:
            self._lines.note(f"columns not used: {', '.join(unused)}")
        places = {name: names.index(name) for name in names}
        for number, text in lines:
            row = Row(self._lines, number, text, places)
            if len(row.cells) != len(names):
                what = f"the line has {len(row.cells)} columns, the header {len(names)}"
                raise self._lines.fault(number, min(len(text), starts(text)[min(len(row.cells), len(names)) - 1]), what)
            yield row


class Row:
    """One row of a table."""

    __slots__ = ("_lines", "_places", "cells", "number", "text")

    def __init__(self, lines: Lines, number: int, text: str, places: dict[str, int]) -> None:
        self._lines, self._places = lines, places
        self.number, self.text = number, text
        self.cells = cells(text) if '"' in text else text.split(",")

    def value(self, name: str, read: Callable[[str], T]) -> T:
        """Return what `read` makes of a column's cell; its ValueError becomes an InputError that says where."""
        try:
            return read(self.cells[self._places[name]])
        except ValueError as error:
            raise self.fault(name, str(error)) from None

    def tokens(self, name: str) -> int:
        """Return a column's number of tokens. Raises InputError."""
        text = self.cells[self._places[name]]
        if text.isascii() and text.isdecimal() and len(text) < 10:
            return int(text)
        return self.value(name, whole_number)

    def text_of(self, name: str | None) -> str | None:
        """Return a column's text; None where it is empty, or no column is named."""
        return (self.cells[self._places[name]].strip() or None) if name is not None else None

    def column(self, name: str) -> int:
        """Return where a column's cell begins in the line, from 1."""
        return starts(self.text)[self._places[name]] if self._places[name] else 1

    def fault(self, name: str, what: str) -> InputError:
        """Return the error of a cell."""
        return self._lines.fault(self.number, self.column(name), f"{name}: {what}")


def cells(text: str) -> list[str]:
    """Divide a line of CSV."""
    try:
        return next(csv.reader([text]), [])
    except csv.Error:  # a cell beyond the reader's bound
        return text.split(",")


def starts(text: str) -> list[int]:
    """Return where each cell of a line of CSV begins, from 1."""
    places, is_quoted = [1], False
    for index, character in enumerate(text):
        if character == '"':
            is_quoted = not is_quoted
        elif character == "," and not is_quoted:
            places.append(index + 2)
    return places


def has_columns(line: str, names: Sequence[str]) -> bool:
    """Tell whether a header has all of these columns."""
    return set(names) <= set(cells(line))
