"""What the samples of a calibration say, and how a figure made of them tells where it is from.

Series are asked for by measurement and by scale: 1 for the model itself, others for its siblings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hardware_profiles import figures
from hardware_profiles.profile import DurationTable, Figure
from hardware_profiles.quantity import Dimension
from validation.calibrate.facts import Facts
from validation.calibrate.fits import Fit, TableFit
from validation.calibrate.measurement import counted_frac, num_without, spreads
from validation.calibrate.reference import Reference, speed_in_words
from validation.calibrate.robust import Series
from validation.calibrate.samples import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fit and the points of a measurement it was made of; `path` is where in the profile it went."""

    measurement: str
    quantity: str
    path: str
    series: Sequence[Series]
    fit: Fit


class Evidence:
    """All samples of a calibration. `fits` takes every fit that is made of them."""

    def __init__(self, samples: Samples, facts: Facts) -> None:
        self._taken = samples.taken
        self._facts = facts
        self.reference: Reference | None = samples.reference
        self.fits: list[Fitted] = []

    def series(self, name: str, scale: float = 1.0) -> Sequence[Series]:
        """Return the points of a measurement, none if it was not taken."""
        taken = self._taken.get(name)
        return [one for one in taken.series if one.at.get("scale", 1.0) == scale] if taken is not None else []

    def date(self) -> str:
        """Return the day of the last measurement."""
        return max(taken.began for taken in self._taken.values())[:10]

    def counted_frac(self) -> float:
        """Return the share of all samples that were taken at the reference speed."""
        return counted_frac([one for taken in self._taken.values() for one in taken.series])

    def source(self, names: Sequence[str], what: str, scale: float = 1.0) -> str:
        """Say what was measured, how often, with what spread, where and with what."""
        facts = self._facts
        series = [one for name in names for one in self.series(name, scale)]
        all_spreads = [spread for one in series for spread in spreads([one], _main(one))]
        counts = sorted(spread.count for spread in all_spreads)
        wide = max((s.upper_quartile_s - s.lower_quartile_s) / s.median_s for s in all_spreads if s.median_s > 0)
        repeats = f"{counts[0]} to {counts[-1]}" if counts[0] != counts[-1] else str(counts[0])
        began = max(self._taken[name].began for name in names)[:10]
        model = facts.model if scale == 1 else f"{facts.model} at {scale:g} times its width,"
        return (
            f"moesim calibrate, {began}: {what}. Medians of {repeats} samples at {len(counts)} points, quartiles within "
            f"{wide:.0%} of the median{self._at_speed(series)}; {model} in {facts.dtype} on {facts.device_name}, "
            f"torch {facts.versions['torch']}"
        )

    def _at_speed(self, series: Sequence[Series]) -> str:
        """Say at which speed of the machine samples counted, and what was done where there were none."""
        if self.reference is None:
            return ""
        said = f", at a {speed_in_words(self.reference.speed_ns, counted_frac(series))}"
        without = num_without(series)
        return f"{said}; none at {without} of {len(series)} points, where all are used instead" if without else said


def measured(value: float, dimension: Dimension, source: str) -> Figure:
    """Make a measured figure of four digits; bytes and counts are kept as they are."""
    is_exact = dimension in (Dimension.BYTES, Dimension.COUNT)
    return figures.measured(value if is_exact else _rounded(value), dimension, source)


def measured_table(
    table: TableFit, source: str, weights_bytes: int | None, others: Sequence[DurationTable] = ()
) -> DurationTable:
    """Make a measured table of four digits, with those for other weights, in any order."""
    return DurationTable(
        amounts=table.amounts,
        seconds=tuple(map(_rounded, table.seconds)),
        kind="measured",
        source=source,
        weights_bytes=float(weights_bytes) if weights_bytes else None,
        other_weights=tuple(sorted(others, key=lambda one: one.weights_bytes or 0)),
    )


def miss(fit: Fit) -> str:
    """Say how far a fit is from the point that it misses most."""
    return f"misses no point by more than {fit.largest_relative_residual:.1%}"


def _rounded(value: float) -> float:
    """Round to the four digits that a measurement may claim."""
    return float(f"{value:.4g}")


def _main(one: Series) -> str:
    return next(iter(one.samples))
