"""When requests arrive, and nothing else of them."""

from collections.abc import Iterator
from random import Random
from typing import Protocol

NS_PER_S = 10**9


class ArrivalTimes(Protocol):
    """An arrival process: a plain value that can be asked for any number of runs."""

    def times(self, random: Random) -> Iterator[int]:
        """Yield the times of arrival in ns from the run's begin, ascending, perhaps without end."""
        ...


def require_rate(name: str, rate_per_s: float, *, least: float = 0.0) -> None:
    """Raise ValueError for what is no rate above `least`, or not a number that times can be drawn from."""
    if not least < rate_per_s <= 1e9:
        raise ValueError(f"{name} is {rate_per_s:g}; it should be above {least:g}, and at most 1e9 requests/s")
