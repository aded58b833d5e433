"""What a lossy policy costs, in perplexity: an estimate from measured curves.

The curves were measured on a model by `moesim quality`: ln(perplexity / that of the unoffloaded model) as a polynomial
a m + b m^2 of a share m of the gate's mass that a simulation counts, for each kind of loss, with a band that holds nine
of ten configurations. What is dropped (or substituted) of tokens' strongest picks and of their weaker ones may have a
curve each. Losses add.

Limits: what holds for one model is a guess for another; see docs/quality.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import exp
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.model.quantisation import parse_quantisation

FORM = 1
SHIPPED = "moesim-nano.json"
_SHARE = "_mass_frac"
_NAMES = (
    "dropped",
    "dropped_strongest",
    "substituted",
    "substituted_strongest",
    "unlike",
    "unlike_strongest",
    "low_precision",
    "deferred",
)
Coefficients = tuple[float, float]
"""a and b of a m + b m^2, none below 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """ln of the ratio of perplexities over a share of mass; `measured_to` is the largest that was measured."""

    low: Coefficients
    mid: Coefficients
    high: Coefficients
    measured_to: float
    bits_per_weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """All curves of one model: by mass (see `masses_of`), and for low precision by format. `measured_on` names the model."""

    measured_on: str
    of_mass: Mapping[str, Curve]
    of_format: Mapping[str, Curve]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """ln of the ratio of perplexities: 0 if nothing is lost. `source` says on what model it was measured.

    `is_extrapolated` tells that a mass is beyond the measured ones, a format is none of the measured, or a policy loses
    more than its masses say.
    """

    low: float
    mid: float
    high: float
    source: str
    is_extrapolated: bool


def estimate(
    loss: Mapping[str, object], *, low_format: str | None = None, curves: Curves | None = None, is_counted: bool = True
) -> Estimate:
    """Estimate what a loss costs, given as the `loss` of a run's summary.

    `low_format` names the format of low-precision copies; where its mass is not 0 it is needed. Of a format that was not
    measured the next lower one's curve is taken. `is_counted` is false where the masses do not tell all that is lost.
    Raises ValueError for an unknown format.
    """
    known = curves if curves is not None else shipped_curves()
    masses = masses_of(loss)
    parts = [(curve, masses[name]) for name, curve in known.of_mass.items()]
    is_extrapolated = False
    low_mass = masses["low_precision"]
    if low_mass:
        if low_format is None:
            raise ValueError("low_format is None; a loss in low precision needs the format's name")
        curve, is_measured = _curve_of_format(known, low_format)
        parts.append((curve, low_mass))
        is_extrapolated = not is_measured
    parts = [(curve, mass) for curve, mass in parts if mass]
    low, mid, high = (sum(_at(getattr(curve, name), mass) for curve, mass in parts) for name in ("low", "mid", "high"))
    is_extrapolated |= any(mass > curve.measured_to for curve, mass in parts)
    return Estimate(
        low=min(low, mid),
        mid=mid,
        high=max(high, mid),
        source=known.measured_on,
        is_extrapolated=bool(parts) and (is_extrapolated or not is_counted),
    )


def quality_of(
    loss: Mapping[str, object], *, low_format: str | None, is_counted: bool = True, curves: Curves | None = None
) -> dict[str, object] | None:
    """Return the `quality` of a run's summary; None where nothing is lost."""
    if not any(isinstance(value, int | float) and value for value in loss.values()):
        return None
    found = estimate(loss, low_format=low_format, is_counted=is_counted, curves=curves)
    return {
        "perplexity_ratio": {name: exp(getattr(found, name)) for name in ("low", "mid", "high")},
        "measured_on": found.source,
        "is_extrapolated": found.is_extrapolated,
    }


def masses_of(loss: Mapping[str, object]) -> dict[str, float]:
    """Return the shares of mass of a run's loss by name; `..._weaker` is what is not of tokens' strongest picks."""
    masses = {
        name.removesuffix(_SHARE): float(value)
        for name, value in loss.items()
        if name.endswith(_SHARE) and isinstance(value, int | float)
    }
    for name in _NAMES:
        masses.setdefault(name, 0.0)
    for name in ("dropped", "substituted", "unlike"):
        masses[f"{name}_weaker"] = max(0.0, masses[name] - masses[f"{name}_strongest"])
    return masses


@cache
def shipped_curves() -> Curves:
    """Return the curves that ship."""
    text = (resources.files("simulator.quality") / SHIPPED).read_text(encoding="utf-8")
    return curves_from(json.loads(text))


def read_curves(path: Path) -> Curves:
    """Read curves that `python -m validation.quality.curves` has written. Raises InputError."""
    try:
        return curves_from(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            path, f"holds no curves ({type(error).__name__}); write them with python -m validation.quality.curves"
        ) from None


def curves_from(values: Mapping[str, object]) -> Curves:
    """Build curves from plain values. Raises ValueError, KeyError or TypeError for others."""
    if values["form"] != FORM:
        raise ValueError(f"form {values['form']} is not known; {FORM} is")
    return Curves(
        measured_on=str(values["measured_on"]),
        of_mass={name: _curve(one) for name, one in _mapping(values["of_mass"]).items()},
        of_format={name: _curve(one) for name, one in _mapping(values["of_format"]).items()},
    )


def _curve(value: object) -> Curve:
    one = _mapping(value)
    bits = one.get("bits_per_weight")
    return Curve(
        low=_pair(one["low"]),
        mid=_pair(one["mid"]),
        high=_pair(one["high"]),
        measured_to=float(str(one["measured_to"])),
        bits_per_weight=None if bits is None else float(str(bits)),
    )


def _curve_of_format(curves: Curves, name: str) -> tuple[Curve, bool]:
    """Return the curve of a format, and whether it is that format's own."""
    format_ = parse_quantisation(name)
    if format_.name in curves.of_format:
        return curves.of_format[format_.name], True
    by_bits = sorted(curves.of_format.values(), key=lambda one: one.bits_per_weight or 0)
    below = [one for one in by_bits if (one.bits_per_weight or 0) <= format_.bits_per_weight]
    return (below[-1] if below else by_bits[0]), False


def _at(coefficients: Coefficients, mass: float) -> float:
    linear, square = coefficients
    return linear * mass + square * mass * mass


def _pair(value: object) -> Coefficients:
    if not isinstance(value, Sequence) or len(value) != 2 or any(one < 0 for one in value):
        raise ValueError(f"{value!r} is no pair of coefficients of 0 or more")
    return float(value[0]), float(value[1])


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r} is no mapping")
    return value
