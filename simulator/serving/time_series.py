"""Quantities over time in bounded memory: bins of equal width, which are joined in pairs where they would be too many."""

from collections.abc import Sequence

MOST_BINS = 256
_FIRST_WIDTH_NS = 1 << 20  # about a millisecond


class TimeSeries:
    """Amounts that accrue over stretches of time, such as busy time, tokens, or bytes held times how long.

    An amount is spread evenly over its stretch; none of it is lost by rounding.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.width_ns = _FIRST_WIDTH_NS
        self.bins: list[list[int]] = []

    def add(self, start_ns: int, end_ns: int, amounts: Sequence[int]) -> None:
        """Add what has accrued between two times, in the order of the names."""
        if end_ns <= start_ns:
            return
        while (end_ns - 1) // self.width_ns >= MOST_BINS:
            self._join()
        first, last = start_ns // self.width_ns, (end_ns - 1) // self.width_ns
        while len(self.bins) <= last:
            self.bins.append([0] * len(self.names))
        if first == last:
            into = self.bins[first]
            for at, amount in enumerate(amounts):
                into[at] += amount
            return
        length, done_ns = end_ns - start_ns, 0
        for index in range(first, last + 1):
            until_ns = min(end_ns, (index + 1) * self.width_ns) - start_ns
            into = self.bins[index]
            for at, amount in enumerate(amounts):
                into[at] += amount * until_ns // length - amount * done_ns // length
            done_ns = until_ns

    @classmethod
    def merged(cls, parts: "Sequence[TimeSeries]") -> "TimeSeries":
        """Return the sum of several series of the same quantities, in bins as wide as the widest of them."""
        whole = cls(parts[0].names)
        whole.width_ns = max(part.width_ns for part in parts)
        for part in parts:
            alike = cls(part.names)
            alike.width_ns, alike.bins = part.width_ns, [list(row) for row in part.bins]
            while alike.width_ns < whole.width_ns:
                alike._join()
            for at, row in enumerate(alike.bins):
                if at == len(whole.bins):
                    whole.bins.append([0] * len(whole.names))
                whole.bins[at] = [a + b for a, b in zip(whole.bins[at], row, strict=True)]
        return whole

    def _join(self) -> None:
        bins = self.bins
        if len(bins) % 2:
            bins.append([0] * len(self.names))
        self.bins = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(bins[::2], bins[1::2], strict=True)]
        self.width_ns *= 2
