"""What a measurement says: every configuration, the curves fitted to those of each kind, and how they do on mixed losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp

import numpy as np
from numpy.typing import NDArray

from simulator.model.quantisation import parse_quantisation
from simulator.quality import FORM, Curves, curves_from, estimate
from validation.compare.facts import commit_facts, machine_facts, version_facts
from validation.quality.fit import LEAST_CONFIGURATIONS, Fit, fit_curves
from validation.quality.measure import Measured
from validation.quality.texts import Texts

NAME = "quality"
_DIGITS = 6
_KINDS: Mapping[str, Sequence[Sequence[str]]] = {
    "dropped": (("dropped",), ("dropped_weaker", "dropped_strongest")),
    "substituted": (
        ("substituted",),
        ("unlike",),
        ("substituted_weaker", "substituted_strongest"),
        ("unlike_weaker", "unlike_strongest"),
    ),
    "low_precision": (("low_precision",),),
    "deferred": (("deferred",),),
}
"""By kind, the masses over which curves may be drawn; those that foretell best are taken."""

Rows = Sequence[Mapping[str, object]]


def result(
    measured: Measured, texts: Texts, *, model_name: str, dtype: str, sources: Mapping[str, int]
) -> dict[str, object]:
    """Return the result as plain values for JSON. Raises ValueError if a kind has fewer than three configurations."""
    rows = measured.rows
    reference = np.array(measured.reference_losses)
    fits = fit_kinds(rows)
    plain_curves = curve_values(fits, _measured_on(model_name, measured))
    curves = curves_from(plain_curves)
    return {
        "kind": NAME,
        "form": FORM,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine_facts(),
        "versions": version_facts(),
        "commit": commit_facts(),
        "model": {
            "name": model_name,
            "parameters": measured.num_parameters,
            "weights_sha256": measured.model_digest,
            "dtype": dtype,
            **measured.shape,
        },
        "texts": {
            "segments": len(texts.evaluated),
            "segment_tokens": len(texts.evaluated[0]) - 1,
            "tokens": texts.num_tokens,
            "learned_tokens": sum(map(len, texts.learned)),
            "sha256": texts.digest,
            "sources": dict(sources),
        },
        "reference_perplexity": round(exp(reference.mean()), _DIGITS),
        "configurations": [_configuration(row, curves) for row in rows],
        "fits": {name: _fit_values(fitted) for name, fitted in fits.items()},
        "curves": plain_curves,
        "rows": list(rows),
    }


def kind_of(row: Mapping[str, object]) -> str:
    """Return the kind of loss of a configuration: none, one of the kinds, `low_precision FORMAT`, mixed, or uncounted."""
    if not row["is_counted"]:
        return "uncounted"
    found = [kind for kind in ("dropped", "substituted", "low_precision", "deferred") if mass_of(row, kind).any()]
    if not found:
        return "none"
    if len(found) > 1:
        return "mixed"
    return found[0] if found[0] != "low_precision" else f"low_precision {low_format_of(row)}"


def low_format_of(row: Mapping[str, object]) -> str | None:
    """Return the format of a configuration's low-precision copies."""
    low = _mapping(row["settings"]).get("low_precision")
    return None if low is None else str(_mapping(low)["format"])


def mass_of(row: Mapping[str, object], name: str, *, of: str = "simulated_masses") -> NDArray[np.float64]:
    """Return a configuration's masses of a name, as `simulator.quality.masses_of` gives them, one for each segment."""
    counted = {kind: np.array(values, float) for kind, values in _mapping(row[of]).items()}
    kind, _, which = name.partition("_")
    if which == "weaker":
        weaker: NDArray[np.float64] = counted[kind] - counted[f"{kind}_strongest"]
        return weaker
    return counted[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedKind:
    """Curves over masses of these names, fitted to these configurations; `scores` of all choices of masses."""

    fit: Fit
    masses: Sequence[str]
    rows: Rows
    scores: Mapping[str, float]


def fit_kinds(rows: Rows) -> dict[str, FittedKind]:
    """Fit curves to the configurations of each kind. Raises ValueError for a kind with fewer than three."""
    by_kind: dict[str, list[Mapping[str, object]]] = {}
    for row in rows:
        kind = kind_of(row)
        if kind not in ("none", "mixed", "uncounted"):
            by_kind.setdefault(kind, []).append(row)
    fits = {}
    for kind, used in by_kind.items():
        if len(used) < LEAST_CONFIGURATIONS:
            raise ValueError(f"{kind}: {len(used)} configurations; a curve needs {LEAST_CONFIGURATIONS} or more")
        costs = np.array([row["ln_ratio"] for row in used], float)
        found: dict[Sequence[str], Fit] = {}
        for masses in _KINDS[kind.partition(" ")[0]]:
            masses_PCS = np.stack([[mass_of(row, mass) for row in used] for mass in masses])
            if masses_PCS.any(axis=(1, 2)).all():
                found[masses] = fit_curves(masses_PCS, costs)
        best = min(found, key=lambda masses: found[masses].score)
        scores = {" + ".join(masses): fit.score for masses, fit in found.items()}
        fits[kind] = FittedKind(fit=found[best], masses=best, rows=used, scores=scores)
    return fits


def curve_values(fits: Mapping[str, FittedKind], measured_on: str) -> dict[str, object]:
    """Return the curves as `simulator.quality` reads them."""
    of_mass, of_format = {}, {}
    for kind, fitted in fits.items():
        fit = fitted.fit
        for place, mass in enumerate(fitted.masses):
            values: dict[str, object] = {
                **{name: [_significant(one) for one in getattr(fit, name)[place]] for name in ("low", "mid", "high")},
                "measured_to": _significant(fit.measured_to[place]),
            }
            _, _, format_name = kind.partition(" ")
            if format_name:
                quantisation = parse_quantisation(format_name)
                of_format[quantisation.name] = values | {"bits_per_weight": float(quantisation.bits_per_weight)}
            else:
                of_mass[mass] = values
    return {"form": FORM, "measured_on": measured_on, "of_mass": of_mass, "of_format": of_format}


def _measured_on(model_name: str, measured: Measured) -> str:
    return f"{model_name} ({measured.num_parameters / 1e6:.3g} M parameters)"


def _configuration(row: Mapping[str, object], curves: Curves) -> dict[str, object]:
    """Return a configuration's line: what was measured, counted, simulated, and what the curves say."""
    costs = np.array(row["ln_ratio"], float)
    simulated = {kind: float(mass_of(row, kind).mean()) for kind in _mapping(row["simulated_masses"])}
    found = estimate(
        {f"{kind}_mass_frac": mass for kind, mass in simulated.items()}, low_format=low_format_of(row), curves=curves
    )
    cost = float(costs.mean())
    return {
        "name": row["name"],
        "kind": kind_of(row),
        "perplexity_ratio": round(exp(cost), _DIGITS),
        "ln_ratio": round(cost, _DIGITS),
        "ln_ratio_error": round(float(costs.std(ddof=1) / np.sqrt(len(costs))), _DIGITS),
        "counted": {kind: round(float(mass_of(row, kind, of="masses").mean()), _DIGITS) for kind in simulated},
        "simulated": {kind: round(mass, _DIGITS) for kind, mass in simulated.items()},
        "routed_otherwise_frac": row["routed_otherwise_frac"],
        "hit_frac": row["hit_frac"],
        "estimate": {name: round(getattr(found, name), _DIGITS) for name in ("low", "mid", "high")},
        "in_band": bool(found.low <= cost <= found.high),
    }


def _fit_values(fitted: FittedKind) -> dict[str, object]:
    fit = fitted.fit
    costs = [float(np.mean(np.array(row["ln_ratio"], float))) for row in fitted.rows]
    return {
        "masses": list(fitted.masses),
        "form": list(fit.form),
        "scores_by_masses": {name: round(score, 4) for name, score in fitted.scores.items()},
        "score": round(fit.score, 4),
        "scores": {name: round(score, 4) for name, score in fit.scores.items()},
        "scatter_frac": round(fit.scatter_frac, 4),
        "left_out": [
            {"name": row["name"], "ln_ratio": round(cost, _DIGITS), "foretold": round(foretold, _DIGITS)}
            for row, cost, foretold in zip(fitted.rows, costs, fit.left_out, strict=True)
        ],
    }


def _significant(value: float) -> float:
    return float(f"{value:.5g}")


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value
