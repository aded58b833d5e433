"""Put rows of one top-k set each, in any order, together to [tokens, layers, top_k].

Legend: N rows, T tokens, S sequences, L layers, K top-k.
"""

from array import array
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import TraceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """Rows in the order of a trace. `token_row` [T] and `sequence_row` [S] are the first row of each, as added."""

    expert_ids: NDArray[np.int64]  # [T, L, K]
    gate_weights: NDArray[np.float64] | None  # [T, L, K]
    lengths: NDArray[np.int64]  # [S]
    layers: tuple[int, ...]  # [L], as the file numbers them
    first_token: NDArray[np.int64]  # [S], as the file numbers them
    token_row: NDArray[np.int64]
    sequence_row: NDArray[np.int64]


class Rows:
    """Gather the top-k set of one token at one layer at a time; `assemble` them.

    `sequence` is any name; sequences keep the order of first appearance, tokens that of their numbers.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sequences: dict[Hashable, int] = {}
        self._keys = array("q")  # sequence, token, layer, line of each row
        self._ids = array("q")
        self._weights = array("d")
        self._top_k = 0

    def __len__(self) -> int:
        return len(self._keys) // 4

    def add(
        self,
        line: int,
        *,
        sequence: Hashable,
        token: int,
        layer: int,
        experts: Sequence[int],
        weights: Sequence[float] = (),
    ) -> int:
        """Add a row and return the number of its sequence. Raises TraceError if it is wider or narrower than others."""
        if not self._keys:
            self._top_k = len(experts)
        if len(experts) != self._top_k or not experts:
            raise TraceError(
                self._path, f"line {line} has {len(experts)} experts, the first row {self._top_k}; top-k is constant"
            )
        if len(weights) != (len(experts) if self._weights or (weights and not self._keys) else 0):
            raise TraceError(self._path, f"line {line} has {len(experts)} experts, but {len(weights)} weights")
        code = self.code(sequence)
        self._keys.extend((code, token, layer, line))
        self._ids.extend(experts)
        self._weights.extend(weights)
        return code

    def code(self, sequence: Hashable) -> int:
        """Return the number of a sequence, a new one if it is new."""
        return self._sequences.setdefault(sequence, len(self._sequences))

    def extend(self, keys: NDArray[np.int64], ids: NDArray[np.int64], weights: NDArray[np.float64] | None) -> None:
        """Add many rows: `keys` [N, 4] are number of the sequence, token, layer and line; `ids` [N, K]."""
        self._top_k = ids.shape[1]
        self._keys.frombytes(np.ascontiguousarray(keys, np.int64).tobytes())
        self._ids.frombytes(np.ascontiguousarray(ids, np.int64).tobytes())
        if weights is not None:
            self._weights.frombytes(np.ascontiguousarray(weights, np.float64).tobytes())

    def sequences(self) -> list[Hashable]:
        """Return the names of the sequences, in order."""
        return list(self._sequences)

    def assemble(self) -> Assembled:
        """Sort the rows by sequence, token and layer.

        Raises TraceError if there is none, one stands twice, a token lacks a layer, or a token is left out.
        """
        if not self._keys:
            raise TraceError(self._path, "holds no routing; is it of this format?")
        keys: NDArray[Any] = np.frombuffer(self._keys, np.int64).reshape(-1, 4)
        sequence, token, layer_number, line = keys.T
        layers, layer = np.unique(layer_number, return_inverse=True)
        order = np.lexsort((layer, token, sequence))
        sequence, token, layer, line = sequence[order], token[order], layer[order], line[order]
        self._check_twice(sequence, token, layer_number[order], line)
        starts = np.concatenate([[True], (sequence[1:] != sequence[:-1]) | (token[1:] != token[:-1])])
        token_at = np.nonzero(starts)[0]
        counts = np.diff(np.concatenate([token_at, [len(order)]]))
        if (counts != len(layers)).any():
            short = int(token_at[np.argmax(counts != len(layers))])
            there = set(layer[short : short + int(counts[np.argmax(counts != len(layers))])].tolist())
            missing = next(number for at, number in enumerate(layers.tolist()) if at not in there)
            name = list(self._sequences)[int(sequence[short])]
            raise TraceError(
                self._path, f"sequence {name!r}, token {token[short]} has no row of layer {missing}, but others have"
            )
        token_sequence, token_number = sequence[token_at], token[token_at]
        same = token_sequence[1:] == token_sequence[:-1]
        gaps = same & (np.diff(token_number) != 1)
        if gaps.any():
            at = int(np.argmax(gaps))
            name = list(self._sequences)[int(token_sequence[at])]
            raise TraceError(
                self._path,
                f"sequence {name!r}: token {token_number[at]} is followed by {token_number[at + 1]}; "
                "tokens of a sequence are numbered without gaps",
            )
        sequence_at = np.nonzero(np.concatenate([[True], ~same]))[0]
        shape = (len(token_at), len(layers), self._top_k)
        ids = np.frombuffer(self._ids, np.int64).reshape(-1, self._top_k)[order].reshape(shape)
        weights = None
        if self._weights:
            weights = np.frombuffer(self._weights, np.float64).reshape(-1, self._top_k)[order].reshape(shape)
        return Assembled(
            expert_ids=ids,
            gate_weights=weights,
            lengths=np.diff(np.concatenate([sequence_at, [len(token_at)]])),
            layers=tuple(layers.tolist()),
            first_token=token_number[sequence_at],
            token_row=order[token_at],
            sequence_row=order[token_at[sequence_at]],
        )

    def _check_twice(
        self, sequence: NDArray[Any], token: NDArray[Any], layer: NDArray[Any], line: NDArray[Any]
    ) -> None:
        twice = (sequence[1:] == sequence[:-1]) & (token[1:] == token[:-1]) & (layer[1:] == layer[:-1])
        if twice.any():
            at = int(np.argmax(twice))
            name = list(self._sequences)[int(sequence[at])]
            raise TraceError(
                self._path,
                f"lines {line[at]} and {line[at + 1]} both hold sequence {name!r}, token {token[at]}, "
                f"layer {layer[at]}",
            )
