"""Import CSV with a header: a row per token, layer and rank, or a row per token and layer.

Columns, by these names or mapped: `sequence` (any name; without it all rows are one sequence), `token`, `layer`, and
either `rank` and `expert` [and `weight`], or one column per rank, `expert_0`, `expert_1`, ... [and `weight_0`, ...];
`prompt_tokens`, `context_start` and `sequence_category` of the sequence. Lines that begin with `#` before the header
are comments.
"""

import csv
import re
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
                experts=[to_int(self._path, f"line {number}: expert", row[at]) for at in ranks],
                weights=[to_float(self._path, f"line {number}: weight", row[at]) for at in weight_at],
            )
        return self._recorded()

    def by_rank(self, table: Iterator[tuple[int, list[str]]]) -> Recorded:
        rank_at, expert_at = self._columns[self._names["rank"]], self._columns[self._names["expert"]]
        weight_at = self._columns.get(self._names["weight"])
        sets: dict[tuple[str | None, int, int], dict[int, tuple[int, float, int]]] = {}
        for number, row in self._checked(table):
            key = self._key(number, row)
            if key[2] in self._options.skip_layers:
                continue
            rank = to_int(self._path, f"line {number}: {self._names['rank']}", row[rank_at])
            expert = to_int(self._path, f"line {number}: {self._names['expert']}", row[expert_at])
            weight = 0.0 if weight_at is None else to_float(self._path, f"line {number}: weight", row[weight_at])
            before = sets.setdefault(key, {}).setdefault(rank, (expert, weight, number))
            if before[2] != number:
                raise TraceError(
                    self._path, f"lines {before[2]} and {number} both hold rank {rank} of {self._spelled(key)}"
                )
        lowest = min((rank for ranks in sets.values() for rank in ranks), default=0)
        for key, ranks in sets.items():
            ordered = [ranks[rank] for rank in sorted(ranks)]
            if sorted(ranks) != list(range(lowest, lowest + len(ranks))):
                raise TraceError(self._path, f"{self._spelled(key)} has the ranks {sorted(ranks)}; one is missing")
            self._rows.add(
                ordered[0][2],
                sequence=key[0],
                token=key[1],
                layer=key[2],
                experts=[expert for expert, _, _ in ordered],
                weights=[] if weight_at is None else [weight for _, weight, _ in ordered],
            )
        return self._recorded()

    def _spelled(self, key: tuple[str | None, int, int]) -> str:
        return f"sequence {key[0]!r}, token {key[1]}, layer {key[2]}"

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
        token = to_int(self._path, f"line {number}: {self._names['token']}", row[self._columns[self._names["token"]]])
        layer = to_int(self._path, f"line {number}: {self._names['layer']}", row[self._columns[self._names["layer"]]])
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
