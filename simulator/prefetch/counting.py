"""What policies that learn from recorded routing count, and how they choose by it.

Scores are whole numbers, shares in units of 2**-20, so that sums are exact in any order and on any machine.
"""

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from simulator.training import Training

Integers = NDArray[np.int64]

UNIT = 1 << 20


def whole(shares: NDArray[np.float64]) -> Integers:
    """Return shares in units of 2**-20, rounded."""
    return np.rint(shares * UNIT).astype(np.int64)


def experts_by_layer(training: Training) -> Integers:
    """Return the experts that were picked, numbered within their banks, [layers, tokens, top_k]."""
    return np.ascontiguousarray((training.keys_TLK % training.num_experts).transpose(1, 0, 2)).astype(np.int64)


def starts_sequence(training: Training) -> NDArray[np.bool_]:
    """Tell which tokens are the first of their sequence, [tokens]."""
    first = np.zeros(len(training.keys_TLK), np.bool_)
    starts = training.sequence_start[:-1]
    first[starts[starts < len(first)]] = True
    return first


def before(experts: Integers, first: NDArray[np.bool_], *, absent: int) -> Integers:
    """Return what the token before picked, [tokens, top_k]; `absent` for the first of a sequence."""
    shifted = np.roll(experts, 1, axis=0)
    shifted[first] = absent
    return shifted


def co_occurrences(rows: Integers, columns: Integers, *, num_rows: int, num_columns: int) -> Integers:
    """Count the tokens that have r among their `rows` [tokens, R] and c among their `columns` [tokens, C], by r and c."""
    counts = np.zeros(num_rows * num_columns, np.int64)
    for row in rows.T:
        counts += np.bincount((row[:, None] * num_columns + columns).ravel(), minlength=len(counts))
    return counts.reshape(num_rows, num_columns)


def experts_of(tokens: Iterable[Sequence[int]], num_experts: int) -> list[int]:
    """Return the experts of all tokens' picks, numbered within their bank, as often as they were picked."""
    return [key % num_experts for key in chain.from_iterable(tokens)]


def sum_of_rows(table: Integers, rows: Sequence[int]) -> Integers:
    """Add up rows of a table, each as often as it is named."""
    if len(rows) < len(table):
        result: Integers = table[rows].sum(axis=0)
        return result
    return np.bincount(rows, minlength=len(table)) @ table


def best(scores: Integers, count: int, first_key: int) -> list[int]:
    """Return the keys of the `count` highest scores, highest first, ties to the lowest key."""
    return [first_key + expert for expert in np.argsort(-scores, kind="stable")[:count].tolist()]
