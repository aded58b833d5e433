"""Little's law: the mean number in a system is the rate of arrivals times the mean stay.

Over a run from 0 to its end it holds exactly, in whole numbers, if those that are still there count up to the end: the
integral of the number over time is the sum of the stays. A run in which it fails has lost a request, counted one twice, or
moved a time.

Source: Little, "A proof for the queuing formula L = lambda W", Operations Research 9 (1961); over a finite time, Little,
"Little's law as viewed on its 50th anniversary", Operations Research 59 (2011).
"""

from collections.abc import Iterable
from dataclasses import dataclass

NS_PER_S = 10**9


class NumberInSystem:
    """How many are in a system, and the integral of it over time; told of each entry and each exit as it happens."""

    __slots__ = ("_integral_ns", "_last_ns", "most", "number")

    def __init__(self) -> None:
        self.number = 0
        self.most = 0
        self._integral_ns = 0
        self._last_ns = 0

    def enter(self, now_ns: int) -> None:
        """Count one more. Raises ValueError if time runs backwards."""
        self._advance(now_ns)
        self.number += 1
        self.most = max(self.most, self.number)

    def leave(self, now_ns: int) -> None:
        """Count one less. Raises ValueError if time runs backwards, or nobody is there."""
        self._advance(now_ns)
        if not self.number:
            raise ValueError(f"one leaves at {now_ns} ns, but nobody is there")
        self.number -= 1

    def integral_ns(self, now_ns: int) -> int:
        """Return the integral of the number from 0 until now, in ns times requests."""
        self._advance(now_ns)
        return self._integral_ns

    def _advance(self, now_ns: int) -> None:
        if now_ns < self._last_ns:
            raise ValueError(f"it is {now_ns} ns, but was {self._last_ns} ns before; time does not run backwards")
        self._integral_ns += self.number * (now_ns - self._last_ns)
        self._last_ns = now_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class LittlesLaw:
    """Both sides of the law over a run. `residual_ns` is their difference in ns times requests, 0 where it holds."""

    mean_number: float
    arrivals_per_s: float
    mean_stay_s: float
    num_arrivals: int
    residual_ns: int

    @property
    def holds(self) -> bool:
        """Whether both sides are equal."""
        return self.residual_ns == 0


def littles_law(stays: Iterable[tuple[int, int | None]], integral_ns: int, end_ns: int) -> LittlesLaw:
    """Hold what was counted as time went by against requests' own times.

    `stays` are (entry, exit) of each request in ns, exit None for one that was still there at `end_ns`; `integral_ns` is
    that of `NumberInSystem`. Raises ValueError for an exit before its entry or after the end.
    """
    count, total_ns = 0, 0
    for enter_ns, leave_ns in stays:
        until_ns = end_ns if leave_ns is None else leave_ns
        if not 0 <= enter_ns <= until_ns <= end_ns:
            raise ValueError(f"a request is there from {enter_ns} to {leave_ns} ns of a run of {end_ns} ns")
        count += 1
        total_ns += until_ns - enter_ns
    return LittlesLaw(
        mean_number=integral_ns / end_ns if end_ns else 0.0,
        arrivals_per_s=count * NS_PER_S / end_ns if end_ns else 0.0,
        mean_stay_s=total_ns / count / NS_PER_S if count else 0.0,
        num_arrivals=count,
        residual_ns=integral_ns - total_ns,
    )
