"""Which choices of a space to run, where it has too many to run all: Optuna proposes, from what is known of those before.

First come choices that are spread over the space (a Latin hypercube); then the tree-structured Parzen estimator proposes
those that promise to cost less, to be better in the first bound's figure, and to keep all bounds. The same seed and the same
outcomes give the same proposals. Source: Ozaki et al., Journal of Artificial Intelligence Research 73 (2022), 1209.

Limits: choices that are never proposed are not known; other versions of Optuna may propose others.
"""

import random
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import TYPE_CHECKING

from hardware_profiles.errors import InputError
from simulator.sweep.axis import Axis
from simulator.sweep.draw import Labels, SampleChoice, labels_of, shares

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Place = tuple[float | int, ...]
"""Where a choice lies on each axis: of a span the share of the way, of levels the number of the level."""

_FIRST_SHARE = 4
_FEWEST_FIRST = 16
_MOST_DRAWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a choice: two figures of which less is better, and by how much each bound is broken, 0 if it is not."""

    figures: tuple[float, float]
    beyond: Mapping[str, float]


def size(axes: Sequence[Axis]) -> float:
    """Return how many choices there are, constraints aside; infinitely many along a span."""
    return prod(float("inf") if axis.span is not None else len(axis.levels) for axis in axes)


class Optimizer:
    """Proposes choices, to be told what came of them. Raises InputError where Optuna is not installed."""

    def __init__(self, axes: Sequence[Axis], *, num_choices: int, seed: int, allows: Callable[[Labels], bool]) -> None:
        """Take the axes; `num_choices` is how many will be asked for, `allows` tells which of them there are at all."""
        try:
            import optuna
        except ImportError:
            raise InputError(
                "search", "needs Optuna; install it with: pip install 'moesim[search]', or give a sample in its place"
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._axes = axes
        self._allows = allows
        self._numbers = random.Random(f"{seed}/places")
        self._distributions = {"+".join(axis.paths): _distribution(axis) for axis in axes}
        num_first = min(num_choices, max(_FEWEST_FIRST, num_choices // _FIRST_SHARE))
        spread = SampleChoice(points=num_first, method="latin_hypercube", seed=seed)
        self._first = deque(self._place_of(drawn) for drawn in shares(len(axes), spread))
        self._seen: set[str] = set()
        self._trials: dict[Place, Trial] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(n_startup_trials=0, multivariate=True, constant_liar=True, seed=seed)
        self._study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)

    def ask(self, count: int) -> dict[Place, Labels]:
        """Propose up to `count` choices that were not proposed before: fewer only where no others were found."""
        return {place: self._labels(place) for place in islice(iter(self._propose, None), count)}

    def tell(self, place: Place, outcome: Outcome | None) -> None:
        """Learn what came of a proposed choice; None where it could not be run, or has not all figures."""
        from optuna.trial import TrialState

        trial = self._trials.pop(place)
        if outcome is None:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        for name, value in outcome.beyond.items():
            trial.set_constraint(name, value)
        self._study.tell(trial, outcome.figures)

    def _propose(self) -> Place | None:
        """Return a place of those that are spread, of those that Optuna proposes, or, where that is known, any other."""
        from optuna.trial import TrialState

        while self._first:
            place = self._first.popleft()
            if self._is_new(place):
                return self._asked(place)
        if self._seen:
            trial = self._study.ask(self._distributions)
            place = tuple(trial.params[name] for name in self._distributions)
            if self._is_new(place):
                return self._taken(place, trial)
            self._study.tell(trial, state=TrialState.FAIL)
        for _ in range(_MOST_DRAWS):
            place = self._place_of([self._numbers.random() for _ in self._axes])
            if self._is_new(place):
                return self._asked(place)
        return None

    def _is_new(self, place: Place) -> bool:
        labels = self._labels(place)
        return repr(labels) not in self._seen and self._allows(labels)

    def _asked(self, place: Place) -> Place:
        """Have Optuna ask for a place that it did not choose, so that it learns from it."""
        self._study.enqueue_trial(dict(zip(self._distributions, place, strict=True)))
        return self._taken(place, self._study.ask(self._distributions))

    def _taken(self, place: Place, trial: "Trial") -> Place:
        self._seen.add(repr(self._labels(place)))
        self._trials[place] = trial
        return place

    def _place_of(self, drawn: Sequence[float]) -> Place:
        return tuple(
            share if axis.span is not None else min(int(share * len(axis.levels)), len(axis.levels) - 1)
            for axis, share in zip(self._axes, drawn, strict=True)
        )

    def _labels(self, place: Place) -> Labels:
        levels = [
            axis.at(at) if axis.span is not None else axis.levels[int(at)]
            for axis, at in zip(self._axes, place, strict=True)
        ]
        return labels_of(self._axes, levels)


def _distribution(axis: Axis) -> "BaseDistribution":
    """Return where on an axis a choice may lie: what has an order keeps it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.span is not None:
        return FloatDistribution(0.0, 1.0)
    if axis.is_ordered:
        return IntDistribution(0, len(axis.levels) - 1)
    return CategoricalDistribution(range(len(axis.levels)))
