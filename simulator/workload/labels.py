"""What kind of request it is: its class of service, and the category of text that it is about."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from math import isfinite
from random import Random

from simulator.workload.arrivals import Arrival, OpenWorkload
from simulator.workload.randomness import stream


class Labels:
    """Draw classes and categories by weight, each independent of all else. Weights need not add up to 1."""

    def __init__(self, *, classes: Mapping[str, float] | None = None, categories: Mapping[str, float] | None = None):
        self._classes = _Weighted("classes", classes or {})
        self._categories = _Weighted("categories", categories or {})

    def draw(self, random: Random) -> tuple[str | None, str | None]:
        """Return (class, category); None where there are none to draw from."""
        return self._classes.draw(random), self._categories.draw(random)


class Labelled:
    """Requests of a workload, with classes and categories drawn for them in place of their own.

    Where `labels` have no classes, or no categories, requests keep what they have.
    """

    def __init__(self, workload: OpenWorkload, labels: Labels) -> None:
        self._workload, self._labels = workload, labels

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the requests."""
        random = stream(seed, "labels")
        for arrival in self._workload.arrivals(seed):
            class_name, category = self._labels.draw(random)
            yield replace(
                arrival,
                class_name=arrival.class_name if class_name is None else class_name,
                category=arrival.category if category is None else category,
            )


class _Weighted:
    """Names by weight, in the order in which they were given."""

    def __init__(self, what: str, weights: Mapping[str, float]) -> None:
        for name, weight in weights.items():
            if not isfinite(weight) or weight < 0:
                raise ValueError(f"{what}: the weight of {name} is {weight:g}; it should be 0 or more")
        self._names = [name for name, weight in weights.items() if weight > 0]
        if weights and not self._names:
            raise ValueError(f"{what}: all weights are 0; one should be above it")
        self._cumulative = list(accumulate(weight for weight in weights.values() if weight > 0))

    def draw(self, random: Random) -> str | None:
        """Return a name. Takes one random number if there are two or more to choose from, and none otherwise."""
        if len(self._names) < 2:
            return self._names[0] if self._names else None
        return random.choices(self._names, cum_weights=self._cumulative)[0]
