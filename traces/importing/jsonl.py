"""Import JSON lines: one object per sequence, per token, or per token and layer.

The depth of `expert_ids` tells which: [tokens][layers][k], [layers][k] or [k]. Fields, by these names or mapped:

- `expert_ids`; `gate_weights`, of the same shape, optional
- `sequence`: any name or number; without it a line per sequence is one, and other lines are all of one sequence
- `token`: number within the sequence, without gaps; required with `layer` where a line is a token at a layer, and
  otherwise the order of the lines
- `layer`: number, where a line is a token at a layer
- `prompt_tokens`, `context_start`, `sequence_category`: of the sequence; on each line or on its first
- `token_ids` [tokens]: only where a line is a sequence, and only if mapped (they reveal the prompt)

A first line without `expert_ids` may hold `num_experts`, `model`, `gate` and `captured`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError
from traces.importing.options import ImportOptions
from traces.importing.recorded import Recorded, keep_layers
from traces.importing.rows import Rows
from traces.importing.text import parse_object, read_lines, to_array, to_float, to_int

_OF_LINE = ("expert_ids", "gate_weights", "sequence", "token", "layer", "token_ids")
_OF_SEQUENCE = ("prompt_tokens", "context_start", "sequence_category")
_HEADER = ("num_experts", "model", "gate", "captured")


def read_jsonl(path: Path, options: ImportOptions) -> Recorded:
    """Read JSON lines. Raises TraceError, OSError."""
    unknown = sorted(options.fields.keys() - set(_OF_LINE) - set(_OF_SEQUENCE))
    if unknown:
        raise TraceError(
            path, f"--map {unknown[0]}=...: JSON lines can be mapped to {', '.join(_OF_LINE + _OF_SEQUENCE)}"
        )
    return _Reader(path, options).read()


class _Reader:
    def __init__(self, path: Path, options: ImportOptions) -> None:
        self._path = path
        self._options = options
        self._names = {name: options.fields.get(name, name) for name in _OF_LINE + _OF_SEQUENCE}
        self._header: dict[str, Any] = {}
        self._depth = 0
        self._rows = Rows(path)
        self._whole: list[tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]] = []
        self._next_token: dict[object, int] = {}
        self._of_sequence: dict[str, dict[int, object]] = {name: {} for name in _OF_SEQUENCE}
        self._unused: dict[str, None] = {}

    def read(self) -> Recorded:
        for number, text in read_lines(self._path, self._options):
            line = parse_object(self._path, number, text)
            if self._names["expert_ids"] not in line and not self._depth and not self._header:
                self._header = line
                continue
            self._add(number, line)
        if not self._depth:
            found = f"; its first line has {', '.join(self._header)}" if self._header else ""
            raise TraceError(
                self._path,
                f"no line has a field {self._names['expert_ids']}{found}: name it with --map expert_ids=FIELD",
            )
        return self._recorded()

    def _add(self, number: int, line: dict[str, Any]) -> None:
        ids = self._field(number, line, "expert_ids", required=True)
        depth, inner = 0, ids
        while isinstance(inner, list) and inner:
            depth, inner = depth + 1, inner[0]
        self._depth = self._depth or depth
        if depth != self._depth or not 1 <= depth <= 3:
            raise TraceError(
                self._path,
                f"line {number}: {self._names['expert_ids']} is a list of depth {depth}; it should be "
                + (f"{self._depth}, as on the lines before" if 1 <= self._depth <= 3 else "1, 2 or 3 and not empty"),
            )
        self._unused.update(dict.fromkeys(line.keys() - set(self._names.values())))
        weights = self._field(number, line, "gate_weights")
        if depth == 3:
            code: int | None = self._add_sequence(number, line, ids, weights)
        else:
            code = self._add_token(number, line, ids, weights)
        if code is None:
            return
        for name in _OF_SEQUENCE:
            value = self._field(number, line, name)
            if value is None:
                continue
            before = self._of_sequence[name].setdefault(code, value)
            if before != value:
                raise TraceError(
                    self._path, f"line {number}: {self._names[name]} is {value!r}, but was {before!r} for this sequence"
                )

    def _add_sequence(self, number: int, line: dict[str, Any], ids: object, weights: object) -> int:
        where = f"line {number}: {self._names['expert_ids']}"
        array = to_array(self._path, where, ids, integers=True)
        scores, tokens = None, None
        if weights is not None:
            scores = to_array(self._path, f"line {number}: {self._names['gate_weights']}", weights, integers=False)
        if "token_ids" in self._options.fields:
            value = self._field(number, line, "token_ids", required=True)
            tokens = to_array(self._path, f"line {number}: {self._names['token_ids']}", value, integers=True)
        self._whole.append((array, scores, tokens))
        first = self._whole[0]
        if array.shape[1:] != first[0].shape[1:] or (scores is None) != (first[1] is None):
            raise TraceError(
                self._path, f"{where} has the shape {array.shape}, the first {first[0].shape}, or only one has weights"
            )
        if (scores is not None and scores.shape != array.shape) or (
            tokens is not None and tokens.shape != (len(array),)
        ):
            raise TraceError(self._path, f"{where} has the shape {array.shape}, its weights or token ids another")
        return len(self._whole) - 1

    def _add_token(self, number: int, line: dict[str, Any], ids: list[Any], weights: object) -> int | None:
        """Add the rows of a line; return the number of its sequence, None if all of its layers are skipped."""
        sequence = self._field(number, line, "sequence")
        if isinstance(sequence, (list, dict)):
            raise TraceError(self._path, f"line {number}: {self._names['sequence']} is {sequence!r}, not a name")
        per_row = self._depth == 1
        token = self._field(number, line, "token", required=per_row)
        layer = self._field(number, line, "layer", required=per_row)
        if token is None:
            token = self._next_token.get(sequence, 0)
            self._next_token[sequence] = token + 1
        experts_of = [ids] if per_row else ids
        weights_of: list[Any] = [weights] if per_row else weights if isinstance(weights, list) else [None] * len(ids)
        if len(weights_of) != len(experts_of):
            raise TraceError(
                self._path, f"line {number} has {len(ids)} layers of experts, {len(weights_of)} of weights"
            )
        code = None
        for at, (experts, scores) in enumerate(zip(experts_of, weights_of, strict=True)):
            where = f"line {number}: {self._names['expert_ids']}"
            number_of_layer = to_int(self._path, f"line {number}: {self._names['layer']}", layer) if per_row else at
            if number_of_layer in self._options.skip_layers:
                continue
            if not isinstance(experts, list) or not isinstance(scores, (list, type(None))):
                raise TraceError(self._path, f"{where} or its weights should be lists of numbers")
            code = self._rows.add(
                number,
                sequence=sequence,
                token=to_int(self._path, f"line {number}: {self._names['token']}", token),
                layer=number_of_layer,
                experts=[to_int(self._path, where, expert) for expert in experts],
                weights=[to_float(self._path, f"{where}: weight", score) for score in scores or ()],
            )
        return code

    def _field(self, number: int, line: dict[str, Any], name: str, *, required: bool = False) -> Any:  # noqa: ANN401
        value = line.get(self._names[name])
        if value is None and (required or (name in self._options.fields and name not in _OF_SEQUENCE)):
            raise TraceError(
                self._path,
                f"line {number} has no field {self._names[name]}, but {', '.join(line)}: "
                f"name it with --map {name}=FIELD",
            )
        return value

    def _recorded(self) -> Recorded:
        notes = [f"field not imported: {name}" for name in sorted(self._unused)]
        notes += [f"field of the first line not imported: {name}" for name in self._header if name not in _HEADER]
        extra = {}
        tokens = None
        if self._depth == 3:
            ids = np.concatenate([ids for ids, _, _ in self._whole])
            ids = keep_layers(self._path, ids, self._options.skip_layers)
            scores = [scores for _, scores, _ in self._whole if scores is not None]
            weights = keep_layers(self._path, np.concatenate(scores), self._options.skip_layers) if scores else None
            lengths = np.array([len(ids) for ids, _, _ in self._whole], np.int64)
            token_ids = [tokens for _, _, tokens in self._whole if tokens is not None]
            tokens = np.concatenate(token_ids) if token_ids else None
        else:
            assembled = self._rows.assemble()
            ids, weights, lengths = assembled.expert_ids, assembled.gate_weights, assembled.lengths
            extra["source_layers"] = ",".join(map(str, assembled.layers))
            if "token_ids" in self._options.fields:
                notes.append("token_ids not imported: they are read where a line is a whole sequence")
        num_experts = self._header.get("num_experts")
        category = self._values("sequence_category", len(lengths))
        return Recorded(
            path=self._path,
            expert_ids=ids,
            lengths=lengths,
            gate_weights=weights,
            prompt_tokens=self._integers("prompt_tokens", len(lengths)),
            context_start=self._integers("context_start", len(lengths)),
            category=None if category is None else [str(name) for name in category],
            token_ids=tokens,
            num_experts=None if num_experts is None else to_int(self._path, "num_experts", num_experts),
            model=self._said("model"),
            gate=self._said("gate"),
            captured=self._said("captured"),
            extra=extra,
            notes=tuple(notes),
        )

    def _said(self, name: str) -> str | None:
        value = self._header.get(name)
        return None if value is None else str(value)

    def _values(self, name: str, num_sequences: int) -> list[object] | None:
        found = self._of_sequence[name]
        if not found:
            if name in self._options.fields:
                raise TraceError(self._path, f"--map {name}={self._names[name]}: no line has this field")
            return None
        for code in range(num_sequences):
            if code not in found:
                raise TraceError(self._path, f"sequence {code} (from 0) has no {self._names[name]}, but others have")
        return [found[code] for code in range(num_sequences)]

    def _integers(self, name: str, num_sequences: int) -> NDArray[np.int64] | None:
        values = self._values(name, num_sequences)
        if values is None:
            return None
        return np.array([to_int(self._path, self._names[name], value) for value in values], np.int64)
