"""Import CSV with a header: a row per token, layer and rank, or a row per token and layer.

Columns, by these names or mapped: `sequence` (any name; without it all rows are one sequence), `token`, `layer`, and
either `rank` and `expert` [and `weight`], or one column per rank, `expert_0`, `expert_1`, ... [and `weight_0`, ...];
`prompt_tokens`, `context_start` and `sequence_category` of the sequence. Lines that begin with `#` before the header
are comments.
"""

import csv
import re
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.importing.options import ImportOptions
from traces.importing.recorded import Recorded
from traces.importing.rows import Rows
from traces.importing.text import read_lines, to_float, to_int

_OF_ROW = ("sequence", "token", "layer", "rank", "expert", "weight")
_OF_SEQUENCE = ("prompt_tokens", "context_start", "sequence_category")


def read_table(path: Path, options: ImportOptions) -> Recorded:
    """Read a CSV file. Raises TraceError, OSError."""
    unknown = sorted(options.fields.keys() - set(_OF_ROW) - set(_OF_SEQUENCE))
    if unknown:
        raise TraceError(path, f"--map {unknown[0]}=...: a CSV can be mapped to {', '.join(_OF_ROW + _OF_SEQUENCE)}")
    names = {name: options.fields.get(name, name) for name in _OF_ROW + _OF_SEQUENCE}
    table = _split(path, options)
    try:
        _, header = next(table)
    except StopIteration:
        raise TraceError(path, "is empty") from None
    header = [name.strip() for name in header]
    columns = {name: at for at, name in enumerate(header)}
    if len(columns) != len(header):
        raise TraceError(path, f"names a column twice: {', '.join(header)}")
    for name, column in names.items():
        if column not in columns and (name in ("token", "layer") or (name in options.fields and name != "expert")):
            raise TraceError(path, f"has no column {column}, but {', '.join(header)}: name it with --map {name}=COLUMN")
    if names["expert"] in columns and names["rank"] in columns:
        return _Reader(path, options, names, columns).by_rank(table)
    ranks = _ranked(columns, names["expert"])
    if not ranks:
        raise TraceError(
            path,
            f"has neither the columns {names['rank']} and {names['expert']} nor {names['expert']}_0, "
            f"{names['expert']}_1, ..., but {', '.join(header)}: name them with --map rank=COLUMN --map expert=COLUMN",
        )
    return _Reader(path, options, names, columns).by_layer(table, ranks)


def _split(path: Path, options: ImportOptions) -> Iterator[tuple[int, list[str]]]:
    in_comments = True
    for number, text in read_lines(path, options):
        if in_comments and text.startswith("#"):
            continue
        in_comments = False
        if '"' not in text:
            yield number, text.split(",")
            continue
        try:
            yield number, next(csv.reader([text], strict=True))
        except csv.Error as error:
            raise TraceError(path, f"line {number} is not CSV ({error}): {text[:60]!r}") from None


def _ranked(columns: dict[str, int], prefix: str) -> list[int]:
    found = {
        int(match[1]): at
        for name, at in columns.items()
        if (match := re.fullmatch(re.escape(prefix) + r"_?([0-9]{1,5})", name))
    }
    return [found[rank] for rank in sorted(found)]


class _Reader:
    def __init__(self, path: Path, options: ImportOptions, names: dict[str, str], columns: dict[str, int]) -> None:
        self._path = path
        self._options = options
        self._names = names
        self._columns = columns
        self._rows = Rows(path)
        self._of_sequence: dict[str, dict[object, str]] = {name: {} for name in _OF_SEQUENCE if names[name] in columns}
        self._used = {names[name] for name in _OF_ROW + _OF_SEQUENCE}

    def by_layer(self, table: Iterator[tuple[int, list[str]]], ranks: list[int]) -> Recorded:
        weight_at = _ranked(self._columns, self._names["weight"])
        if weight_at and len(weight_at) != len(ranks):
            raise TraceError(self._path, f"has {len(ranks)} columns of experts, but {len(weight_at)} of weights")
        at_name = list(self._columns)
        self._used |= {at_name[at] for at in ranks + weight_at}
        for number, row in self._checked(table):
            sequence, token, layer = self._key(number, row)
            if layer in self._options.skip_layers:
                continue
            self._rows.add(
                number,
                sequence=sequence,
                token=token,
                layer=layer,
                experts=[self._int(number, "expert", row[at]) for at in ranks],
                weights=[to_float(self._path, f"line {number}: weight", row[at]) for at in weight_at],
            )
        return self._recorded()

    def by_rank(self, table: Iterator[tuple[int, list[str]]]) -> Recorded:
        rank_at, expert_at = self._columns[self._names["rank"]], self._columns[self._names["expert"]]
        weight_at = self._columns.get(self._names["weight"])
        cells = array("q")  # sequence, token, layer, rank, expert, line of each row
        weights = array("d")
        for number, row in self._checked(table):
            sequence, token, layer = self._key(number, row)
            if layer in self._options.skip_layers:
                continue
            rank = self._int(number, "rank", row[rank_at])
            expert = self._int(number, "expert", row[expert_at])
            cells.extend((self._rows.code(sequence), token, layer, rank, expert, number))
            if weight_at is not None:
                weights.append(to_float(self._path, f"line {number}: weight", row[weight_at]))
        if cells:
            self._add_ranks(np.frombuffer(cells, np.int64).reshape(-1, 6), np.frombuffer(weights, np.float64))
        return self._recorded()

    def _add_ranks(self, cells: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        order = np.lexsort(cells.T[[3, 2, 1, 0]])
        cells = cells[order]
        same_set = (cells[1:, :3] == cells[:-1, :3]).all(axis=1)
        twice = same_set & (cells[1:, 3] == cells[:-1, 3])
        if twice.any():
            at = int(np.argmax(twice))
            raise TraceError(
                self._path,
                f"lines {cells[at, 5]} and {cells[at + 1, 5]} both hold rank {cells[at, 3]} of "
                f"{self._spelled(cells[at])}",
            )
        starts = np.nonzero(np.concatenate([[True], ~same_set]))[0]
        lengths = np.diff(np.concatenate([starts, [len(cells)]]))
        top_k, lowest = int(lengths.max()), int(cells[:, 3].min())
        expected = np.arange(len(cells)) - np.repeat(starts, lengths) + lowest
        bad = (cells[:, 3] != expected) | np.repeat(lengths != top_k, lengths)
        if bad.any():
            first = starts[np.searchsorted(starts, np.argmax(bad), side="right") - 1]
            ranks = cells[first : first + lengths[starts == first][0], 3].tolist()
            raise TraceError(
                self._path,
                f"{self._spelled(cells[first])} has the ranks {ranks}; it should have {lowest} to {lowest + top_k - 1}",
            )
        self._rows.extend(
            cells[starts][:, [0, 1, 2, 5]],
            cells[:, 4].reshape(-1, top_k),
            weights[order].reshape(-1, top_k) if len(weights) else None,
        )

    def _spelled(self, cells: NDArray[np.int64]) -> str:
        return f"sequence {self._rows.sequences()[int(cells[0])]!r}, token {cells[1]}, layer {cells[2]}"

    def _int(self, number: int, name: str, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = 1 << 63
        if -(1 << 63) <= value < 1 << 63:
            return value
        return to_int(self._path, f"line {number}: {self._names[name]}", text)

    def _checked(self, table: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
        for number, row in table:
            if len(row) != len(self._columns):
                raise TraceError(self._path, f"line {number} has {len(row)} fields, the header {len(self._columns)}")
            yield number, row

    def _key(self, number: int, row: list[str]) -> tuple[str | None, int, int]:
        at = self._columns.get(self._names["sequence"])
        sequence = None if at is None else row[at]
        for name, values in self._of_sequence.items():
            value = row[self._columns[self._names[name]]]
            before = values.setdefault(sequence, value)
            if before != value:
                raise TraceError(
                    self._path,
                    f"line {number}: {self._names[name]} of sequence {sequence!r} is {value!r}, but was {before!r}",
                )
        token = self._int(number, "token", row[self._columns[self._names["token"]]])
        layer = self._int(number, "layer", row[self._columns[self._names["layer"]]])
        return sequence, token, layer

    def _recorded(self) -> Recorded:
        assembled = self._rows.assemble()
        category = self._of_sequence.get("sequence_category")
        return Recorded(
            path=self._path,
            expert_ids=assembled.expert_ids,
            lengths=assembled.lengths,
            gate_weights=assembled.gate_weights,
            prompt_tokens=self._integers("prompt_tokens"),
            context_start=self._integers("context_start"),
            category=None if category is None else [category[name] for name in self._rows.sequences()],
            extra={"source_layers": ",".join(map(str, assembled.layers))},
            notes=tuple(f"column not imported: {name}" for name in self._columns if name not in self._used),
        )

    def _integers(self, name: str) -> NDArray[np.int64] | None:
        values = self._of_sequence.get(name)
        if values is None:
            return None
        return np.array(
            [to_int(self._path, self._names[name], values[sequence]) for sequence in self._rows.sequences()], np.int64
        )
