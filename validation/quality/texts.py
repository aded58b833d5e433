"""Texts as segments of token ids: those that are evaluated, and those that policies learn from.

Every segment is as long as the others, n + 1 tokens: n are fed, one by one, and each predicts the next. The texts are taken
in their order, each cut into as many segments as are asked for of it; the last part of a text that fills none is left out.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.errors import InputError
from traces.capture.loading import load_tokenizer
from traces.capture.prompts import read_prompts
from traces.capture.tokens import encode_prompt
from traces.errors import TraceError

_ONE_IN = 3  # texts that are set apart for learning where none are given for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Token ids: `evaluated` [S][n + 1] and, of other texts, `learned` [R][n]; `digest` is a hash of them all."""

    evaluated: Sequence[Sequence[int]]
    learned: Sequence[Sequence[int]]

    @property
    def num_tokens(self) -> int:
        """Count the tokens that are predicted."""
        return sum(len(segment) - 1 for segment in self.evaluated)

    @property
    def digest(self) -> str:
        """Return a SHA-256 of all ids."""
        return hashlib.sha256(repr((self.evaluated, self.learned)).encode()).hexdigest()


def read_texts(
    model: str, texts: Path, learn_from: Path | None, *, segment_tokens: int, segments: int, learn_segments: int
) -> Texts:
    """Read and cut texts. Raises InputError for files that cannot be read, or that have too little text.

    Without `learn_from`, the first third of the texts is learned from, and the others are evaluated.
    """
    for name, value in (("--segment-tokens", segment_tokens), ("--segments", segments)):
        if value < 2:
            raise InputError(name, f"is {value}; it should be 2 or more")
    try:
        tokenizer = load_tokenizer(model, trust_remote_code=False)
        first = tokenizer.bos_token_id

        def encoded(path: Path) -> list[list[int]]:
            rows = [encode_prompt(tokenizer, prompt) for prompt in read_prompts(path)]
            return [row if first is None or row[0] == first else [first, *row] for row in rows]

        given = encoded(texts)
        others = None if learn_from is None else encoded(learn_from)
    except TraceError as error:
        raise InputError(error.source, error.fault) from None
    if others is None:
        apart = len(given) // _ONE_IN
        if not apart:
            raise InputError(
                texts, f"has {len(given)} texts; policies learn from a third of {_ONE_IN} or more, or name --learn-from"
            )
        others, given = given[:apart], given[apart:]
    if any(text in others for text in given):
        raise InputError(learn_from or texts, "has a text that is to be evaluated as well; learn from others")
    return Texts(
        evaluated=_cut(given, segment_tokens + 1, segments, texts),
        learned=_cut(others, segment_tokens, learn_segments, learn_from or texts),
    )


def _cut(rows: Sequence[Sequence[int]], length: int, wanted: int, path: Path) -> list[list[int]]:
    """Return the first `wanted` segments of a length, dealt round by round from all texts."""
    most = max(len(row) // length for row in rows)
    cut = [
        list(row[start : start + length])
        for start in range(0, most * length, length)
        for row in rows
        if start + length <= len(row)
    ]
    if len(cut) < wanted:
        raise InputError(
            path,
            f"has text for {len(cut)} segments of {length} tokens, and {wanted} are needed; give more text, or name fewer",
        )
    return cut[:wanted]
