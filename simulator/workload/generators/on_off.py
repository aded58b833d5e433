"""Arrivals in spells: a busy rate and a quiet one in turn."""

from collections.abc import Iterator
from random import Random
from typing import Literal, get_args

from simulator.workload.generators.protocol import NS_PER_S, require_rate

Phases = Literal["exponential", "fixed"]


class OnOff:
    """Poisson arrivals at `on_rate_per_s` while on and at `off_rate_per_s` while off.

    Phases last `mean_on_s` and `mean_off_s`, exactly (`fixed`) or as a mean (`exponential`: a Markov-modulated Poisson
    process of two states). The run begins at a random instant of the cycle. The mean rate is that of the two phases weighted
    by their lengths. Phases and arrivals have streams of their own: another rate leaves the phases where they are.

    Source: Fischer and Meier-Hellstern, "The Markov-modulated Poisson process (MMPP) cookbook", Performance Evaluation 18
    (1993).
    Limits: two levels, and steps between them.
    """

    def __init__(
        self,
        *,
        on_rate_per_s: float,
        mean_on_s: float,
        mean_off_s: float,
        off_rate_per_s: float = 0.0,
        phases: Phases = "exponential",
    ) -> None:
        require_rate("on_rate_per_s", on_rate_per_s)
        if not 0 <= off_rate_per_s <= on_rate_per_s:
            raise ValueError(
                f"off_rate_per_s is {off_rate_per_s:g}; it should be 0 up to on_rate_per_s, which is {on_rate_per_s:g}"
            )
        for name, value in (("mean_on_s", mean_on_s), ("mean_off_s", mean_off_s)):
            if not 0 < value < 1e9:
                raise ValueError(f"{name} is {value:g}; it should be above 0, and below 1e9")
        if phases not in get_args(Phases):
            raise ValueError(f"phases is {phases!r}; it should be one of {', '.join(get_args(Phases))}")
        self._rates = (off_rate_per_s, on_rate_per_s)
        self._mean_ns = (mean_off_s * NS_PER_S, mean_on_s * NS_PER_S)
        self._fixed = phases == "fixed"

    def times(self, random: Random) -> Iterator[int]:
        """Yield the times of arrival in ns."""
        spells = Random(random.getrandbits(64))
        gaps = Random(random.getrandbits(64))
        is_on = spells.random() * sum(self._mean_ns) < self._mean_ns[1]
        left = spells.random() if self._fixed else spells.expovariate(1.0)
        start_ns = 0
        while True:
            end_ns = start_ns + round(left * self._mean_ns[is_on])
            rate_per_s = self._rates[is_on]
            if rate_per_s:
                # Gaps have no memory: what is left of one when the phase ends may be thrown away.
                now_ns = start_ns + round(gaps.expovariate(1.0) * NS_PER_S / rate_per_s)
                while now_ns < end_ns:
                    yield now_ns
                    now_ns += round(gaps.expovariate(1.0) * NS_PER_S / rate_per_s)
            start_ns, is_on = end_ns, not is_on
            left = 1.0 if self._fixed else spells.expovariate(1.0)
