"""What a workload is like: its rate, how bursty it is, and how long its requests are. One pass, in bounded memory."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import sqrt

from simulator.workload.arrivals import Arrival

NS_PER_S = 10**9
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
WINDOWS_S = (1, 10, 60)
_MAX_BINS = 360
_FIRST_BIN_NS = NS_PER_S // 8


class Survey:
    """Counts over requests in order of time; memory grows with the number of different lengths, and no further.

    The index of dispersion of a window is the variance of its count of arrivals over the mean: 1 for Poisson, more for
    bursts. Windows are counted from the first arrival on, whole ones only.

    Source: the index of dispersion for counts, Gusella, "Characterizing the variability of arrival processes with indexes
    of dispersion", IEEE JSAC 9 (1991).
    """

    def __init__(self) -> None:
        self.num_requests = 0
        self.first_ns = 0
        self.last_ns = 0
        self.prompt_tokens: Counter[int] = Counter()
        self.output_tokens: Counter[int] = Counter()
        self.classes: Counter[str] = Counter()
        self.categories: Counter[str] = Counter()
        self.course = _Course()
        self._products = 0
        self._square_gaps_ns = 0
        self._windows = {seconds: _Windows(seconds * NS_PER_S) for seconds in WINDOWS_S}

    def add(self, arrival: Arrival) -> None:
        """Count the next request. Raises ValueError if it comes before the last."""
        if not self.num_requests:
            self.first_ns = self.last_ns = arrival.arrival_ns
        gap_ns = arrival.arrival_ns - self.last_ns
        if gap_ns < 0:
            raise ValueError(f"a request arrives at {arrival.arrival_ns} ns, after one at {self.last_ns} ns")
        self._square_gaps_ns += gap_ns * gap_ns
        self.last_ns = arrival.arrival_ns
        self.num_requests += 1
        self.prompt_tokens[arrival.prompt_tokens] += 1
        self.output_tokens[arrival.output_tokens] += 1
        self._products += arrival.prompt_tokens * arrival.output_tokens
        self.classes[arrival.class_name] += 1
        if arrival.category is not None:
            self.categories[arrival.category] += 1
        since_ns = arrival.arrival_ns - self.first_ns
        self.course.add(since_ns, arrival.prompt_tokens, arrival.output_tokens)
        for windows in self._windows.values():
            windows.add(since_ns)

    def summary(self) -> dict[str, object]:
        """Return all of it as plain values, units in the keys; None for what so few requests do not have."""
        span_ns, num_gaps = self.last_ns - self.first_ns, self.num_requests - 1
        rate = num_gaps * NS_PER_S / span_ns if span_ns else None
        prompt, output = _total(self.prompt_tokens), _total(self.output_tokens)
        return {
            "requests": self.num_requests,
            "span_s": span_ns / NS_PER_S,
            "rate_requests_per_s": rate,
            "gap_mean_s": span_ns / num_gaps / NS_PER_S if num_gaps > 0 else None,
            "gap_cv": self._gap_cv(span_ns, num_gaps),
            "dispersion": {f"{seconds}_s": one.dispersion(span_ns) for seconds, one in self._windows.items()},
            "peak_requests": {f"{seconds}_s": one.most for seconds, one in self._windows.items()},
            "prompt_tokens": _described(self.prompt_tokens, self.num_requests),
            "output_tokens": _described(self.output_tokens, self.num_requests),
            "length_correlation": self._correlation(),
            "prompt_tokens_per_s": prompt * NS_PER_S / span_ns if span_ns else None,
            "output_tokens_per_s": output * NS_PER_S / span_ns if span_ns else None,
            "classes": dict(sorted(self.classes.items())),
            "categories": dict(sorted(self.categories.items())),
        }

    def _gap_cv(self, span_ns: int, num_gaps: int) -> float | None:
        if num_gaps < 2 or not span_ns:
            return None
        # In whole numbers: variance over squared mean is (n * sum of squares) / (sum squared) - 1.
        return sqrt(max(0, num_gaps * self._square_gaps_ns - span_ns * span_ns)) / span_ns

    def _correlation(self) -> float | None:
        count = self.num_requests
        prompt, output = _total(self.prompt_tokens), _total(self.output_tokens)
        of_prompt = count * _total_squares(self.prompt_tokens) - prompt * prompt
        of_output = count * _total_squares(self.output_tokens) - output * output
        if not of_prompt or not of_output:
            return None
        return (count * self._products - prompt * output) / (sqrt(of_prompt) * sqrt(of_output))


class _Windows:
    """Arrivals in successive windows of one length."""

    def __init__(self, length_ns: int) -> None:
        self.most = 0
        self._length_ns = length_ns
        self._index, self._count = 0, 0
        self._total, self._squares = 0, 0

    def add(self, since_ns: int) -> None:
        index = since_ns // self._length_ns
        if index != self._index:
            self._total += self._count
            self._squares += self._count * self._count
            self._index, self._count = index, 0
        self._count += 1
        self.most = max(self.most, self._count)

    def dispersion(self, span_ns: int) -> float | None:
        """Return variance over mean of the whole windows before the last arrival; None for fewer than two."""
        windows = span_ns // self._length_ns
        if windows < 2 or not self._total:
            return None
        variance = (windows * self._squares - self._total * self._total) / (windows * (windows - 1))
        return variance * windows / self._total


class _Course:
    """Requests and tokens over time, in bins that double in length as time goes on: between 180 and 360 of them."""

    def __init__(self) -> None:
        self.bin_ns = _FIRST_BIN_NS
        self.requests: list[int] = []
        self.prompt_tokens: list[int] = []
        self.output_tokens: list[int] = []

    def add(self, since_ns: int, prompt_tokens: int, output_tokens: int) -> None:
        while since_ns // self.bin_ns >= _MAX_BINS:
            self.bin_ns *= 2
            for counts in (self.requests, self.prompt_tokens, self.output_tokens):
                counts[:] = [sum(counts[index : index + 2]) for index in range(0, len(counts), 2)]
        place = since_ns // self.bin_ns
        for counts, more in (
            (self.requests, 1),
            (self.prompt_tokens, prompt_tokens),
            (self.output_tokens, output_tokens),
        ):
            counts.extend([0] * (place + 1 - len(counts)))
            counts[place] += more


def quantile(counts: Mapping[int, int], share: float) -> float:
    """Return a quantile of counted values, interpolated between order statistics as numpy does by default."""
    values = sorted(counts)
    upto = list(accumulate(counts[value] for value in values))
    rank = share * (upto[-1] - 1)
    low, high = (_at_rank(values, upto, place) for place in (int(rank), min(int(rank) + 1, upto[-1] - 1)))
    return low + (high - low) * (rank - int(rank))


def _at_rank(values: Sequence[int], upto: Sequence[int], rank: int) -> int:
    return next(value for value, count in zip(values, upto, strict=True) if rank < count)


def _described(counts: Counter[int], num_requests: int) -> dict[str, float | None]:
    if not counts:
        return dict.fromkeys(("total", "mean", "cv", "min", *QUANTILES, "max"))
    total = _total(counts)
    variance = _total_squares(counts) / num_requests - (total / num_requests) ** 2
    return {
        "total": total,
        "mean": total / num_requests,
        "cv": sqrt(max(0.0, variance)) / (total / num_requests),
        "min": min(counts),
        **{name: quantile(counts, share) for name, share in QUANTILES.items()},
        "max": max(counts),
    }


def _total(counts: Counter[int]) -> int:
    return sum(value * count for value, count in counts.items())


def _total_squares(counts: Counter[int]) -> int:
    return sum(value * value * count for value, count in counts.items())
