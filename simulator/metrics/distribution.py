"""A distribution of durations in bounded memory."""

from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np

NS_PER_S = 10**9
_MAX_EXACT = 1 << 20
_KEPT_BITS = 11


class Distribution:
    """Mean and percentiles of durations in ns: exact up to a million values, then percentiles within 0.1 %.

    Percentiles interpolate linearly between values, as numpy and pandas do by default. Beyond a million, values are
    counted in buckets that share their eleven leading bits, so memory stays bounded; a percentile is then the middle of
    the bucket of the next value, within 0.1 % of it.
    """

    def __init__(self) -> None:
        self._values = array("q")
        self._buckets: Counter[int] = Counter()
        self._total_ns = 0
        self.count = 0

    def add(self, value_ns: int, count: int = 1) -> None:
        """Count a value, 0 or more, so many times."""
        self.count += count
        self._total_ns += value_ns * count
        if count == 1:
            self._values.append(value_ns)
        else:
            self._values.extend([value_ns] * count)
        if len(self._values) >= _MAX_EXACT:
            self._fold()

    @classmethod
    def merged(cls, parts: "Sequence[Distribution]") -> "Distribution":
        """Return the distribution of all values of some others."""
        whole = cls()
        for part in parts:
            whole.count += part.count
            whole._total_ns += part._total_ns
            whole._values.extend(part._values)
            whole._buckets += part._buckets
        if len(whole._values) >= _MAX_EXACT or whole._buckets:
            whole._fold()
        return whole

    @property
    def is_exact(self) -> bool:
        """Whether percentiles are those of the values themselves."""
        return not self._buckets

    def summary_s(self) -> dict[str, float | None]:
        """Return mean, p50, p90 and p99 in seconds; None where nothing was counted."""
        if not self.count:
            return {"mean": None, "p50": None, "p90": None, "p99": None}
        named = dict(zip(("p50", "p90", "p99"), self.quantiles_s((0.5, 0.9, 0.99)), strict=True))
        return {"mean": self._total_ns / self.count / NS_PER_S, **named}

    def quantiles_s(self, shares: Sequence[float]) -> list[float]:
        """Return, for each share from 0 to 1, the seconds that it of the values does not exceed; none of no values."""
        if not self.count:
            return []
        if self.is_exact:
            values_ns = np.quantile(np.frombuffer(self._values, dtype=np.int64), shares).tolist()
        else:
            buckets = sorted(self._all_buckets().items())
            values, counts = np.array([value for value, _ in buckets]), np.array([count for _, count in buckets])
            ranks = np.array(shares) * (self.count - 1)
            values_ns = values[np.searchsorted(np.cumsum(counts), ranks, side="right")].tolist()
        return [value / NS_PER_S for value in values_ns]

    def _fold(self) -> None:
        self._buckets = self._all_buckets()
        self._values = array("q")

    def _all_buckets(self) -> Counter[int]:
        values, counts = np.unique(np.frombuffer(self._values, dtype=np.int64), return_counts=True)
        buckets = self._buckets.copy()
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            buckets[_middle(value)] += count
        return buckets


def _middle(value: int) -> int:
    """Return the middle of the bucket of values that share the leading bits of `value`."""
    shift = max(0, value.bit_length() - _KEPT_BITS)
    return (value >> shift << shift) + (1 << shift >> 1)
