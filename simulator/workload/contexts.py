"""How far back the tokens of a step look: those that decode, and chunks of prompts.

Sums over a chunk are worked out at once, as sums of arithmetic series, where the attention allows it.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import overload

from simulator.model.footprint import attended_tokens
from simulator.model.spec import ModelSpec, attention_kind


class Contexts(Sequence[int]):
    """The context of each token of a step: of `decodes`, one each, then of `chunks`, ascending by one within each."""

    __slots__ = ("chunks", "decodes")

    def __init__(self, decodes: Sequence[int], chunks: Sequence[range]) -> None:
        self.decodes = decodes
        self.chunks = chunks

    def __len__(self) -> int:
        return len(self.decodes) + sum(map(len, self.chunks))

    def __iter__(self) -> Iterator[int]:
        return chain(self.decodes, *self.chunks)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        return list(self)[index]


def attended(model: ModelSpec, layer: int, contexts: Contexts) -> tuple[int, int]:
    """Return (tokens attended to, summed over all tokens of the step; tokens whose keys and values are read).

    The keys of a chunk are read once, for its last token.
    """
    kind = attention_kind(model, layer)
    decodes, chunks = contexts.decodes, contexts.chunks
    if kind == "full":
        total = read = sum(decodes)
    elif kind == "sliding":
        window = model.attention_window
        assert window is not None
        total = read = sum([window if context > window else context for context in decodes])
    elif kind == "linear":
        return 0, 0
    else:
        total = read = sum(attended_tokens(model, layer, context) for context in decodes)
    for chunk in chunks:
        total += attended_in_chunk(model, layer, chunk)
        read += attended_tokens(model, layer, chunk[-1])
    return total, read


def attended_in_chunk(model: ModelSpec, layer: int, chunk: range) -> int:
    """Return the sum of `attended_tokens` over contexts that ascend by one, and of which there is one or more."""
    kind = attention_kind(model, layer)
    if kind == "full":
        return _series(chunk.start, chunk.stop)
    if kind == "sliding":
        window = model.attention_window
        assert window is not None
        bend = min(max(window, chunk.start), chunk.stop)
        return _series(chunk.start, bend) + window * (chunk.stop - bend)
    return sum(attended_tokens(model, layer, context) for context in chunk)


def _series(start: int, stop: int) -> int:
    return (start + stop - 1) * (stop - start) // 2
