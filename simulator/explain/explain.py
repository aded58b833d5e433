"""Explain a run: run it as it is, then with one thing changed at a time, and say what that tells.

Every run is paired with the first: the same trace, the same requests, the same seed, so that a difference is the change's.

Limits: each knob changes alone, so that what two do together is not seen; one seed, so that a policy or a workload that
draws at random may differ by as much with another; a change of the machine changes the one figure that it names.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.explain.advice import advice_of
from simulator.explain.attribution import request_time_by_cause, time_by_cause, work_frac
from simulator.explain.baseline import Baseline, baseline_of
from simulator.explain.bounds import bounds_of
from simulator.explain.knees import cache_knee, link_knee
from simulator.explain.knobs import changes_of
from simulator.explain.knobs.link import BANDWIDTH
from simulator.explain.metrics import METRIC, METRICS, Metric, figures_of, lost_mass_frac, objective_of
from simulator.explain.runner import Done, Runner
from simulator.explain.sensitivities import bound_rows, sensitivity_rows

DEFAULT_SHARE = 0.01
_ASSUMPTIONS = (
    "each change is made alone: what two of them do together is not seen, and gains do not add up",
    "all runs have the same trace, requests and seed; differences of a run that draws at random may be partly chance",
    "a change of the machine changes the figures that are set and no others; a price of it is not known",
    "knees: more is taken to be no worse; where a metric wavers with size, the knee is one of several",
)
_STATED = (
    "what the machine states as a duration is halved whole where it is made twice as fast, with launches and latency"
)


def explain(
    values: Mapping[str, object],
    *,
    scenario: str,
    given: Sequence[str] = (),
    objective: str | None = None,
    share: float = DEFAULT_SHARE,
    store: Path | None = None,
    jobs: int = 1,
    done: Done | None = None,
    fault: Callable[[str], object] | None = None,
) -> dict[str, object]:
    """Return what `explain.json` holds of a scenario's plain values.

    `scenario` is the file as the commands name it, `given` the `--set` that are in `values` already. `objective` is a name
    of `simulator.explain.metrics`, by default what fits the run; `share` what is too little to matter. `fault` is called
    with the traceback of a run that failed by no fault of the input's. Raises InputError for a scenario that cannot be run,
    RuntimeError where that is no fault of the input's.
    """
    runner = Runner(values, store=store, jobs=jobs, done=done, fault=fault)
    (as_it_is,) = runner.run("as it is", [{}])
    if as_it_is.traceback:
        raise RuntimeError(f"the run as it is failed: {as_it_is.reason}")
    if as_it_is.summary is None:
        raise InputError(scenario, as_it_is.reason)
    baseline = baseline_of(values, as_it_is.summary, scenario)
    metric = _objective(objective, baseline, scenario)
    changes, left_out = changes_of(baseline)
    bounds = bounds_of(baseline)
    results = runner.run(
        "changes and bounds", [*(change.settings for change in changes), *(bound.settings for bound in bounds)]
    )
    sensitivities = sensitivity_rows(
        changes,
        results[: len(changes)],
        before=baseline.summary,
        objective=metric,
        scenario=scenario,
        given=given,
    )
    ideal = bound_rows(
        bounds,
        results[len(changes) :],
        before=baseline.summary,
        objective=metric,
        scenario=scenario,
        given=given,
    )
    knees = [cache_knee(baseline, runner, objective=metric, share=share, scenario=scenario, given=given)]
    if not any(left.knob == BANDWIDTH for left in left_out):
        knees.append(link_knee(baseline, runner, objective=metric, share=share, scenario=scenario, given=given))
    facts: dict[str, object] = {
        "moesim_version": version("moesim"),
        "source": scenario,
        "given": list(given),
        "scenario": dict(values),
        "objective": {"name": metric.name, "words": metric.words, "is_rate": metric.is_rate},
        "share": share,
        "metrics": {one.name: one.words for one in METRICS},
        "as_it_is": _as_it_is(baseline),
        "where_the_time_went": time_by_cause(baseline.summary),
        "where_requests_spent_theirs": request_time_by_cause(baseline.summary),
        "sensitivities": _by_size(sensitivities),
        "left_out": [{"knob": left.knob, "reason": left.reason} for left in left_out],
        "knees": knees,
        "bounds": ideal,
    }
    return facts | {
        "advice": advice_of(facts),
        "assumptions": [*_ASSUMPTIONS, *([_STATED] if _has_stated(baseline) else [])],
        "assumptions_of_the_run": baseline.summary["assumptions"],
        "warnings": list(_texts(baseline.summary["warnings"])),
    }


def _objective(name: str | None, baseline: Baseline, source: str) -> Metric:
    metric = METRIC[name] if name else objective_of(baseline.summary, has_slo=bool(baseline.scenario.slo))
    if not figures_of(baseline.summary)[metric.name]:
        raise InputError(source, f"the run has no {metric.words} to judge by; name another metric with --objective")
    return metric


def _as_it_is(baseline: Baseline) -> Mapping[str, object]:
    summary = baseline.summary
    return {
        "model": summary["model"],
        "hardware": summary["hardware"],
        "metrics": figures_of(summary),
        "lost_mass_frac": lost_mass_frac(summary),
        **{name: summary[name] for name in ("tokens", "makespan_ns", "hits", "misses", "hit_frac")},
        "busy_frac": summary["busy_frac"],
        "work_frac": work_frac(summary),
        "cache": summary["cache"],
        "expert_bytes": summary["expert_bytes"],
        "policies": summary["policies"],
        "batch": baseline.scenario.batch,
        "is_service": baseline.is_service,
    }


def _by_size(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Order the knobs by the largest effect of any of their changes; changes of a knob stay together, in order."""
    largest: dict[object, float] = {}
    for row in rows:
        gain = row["gain_frac"]
        largest[row["knob"]] = max(largest.get(row["knob"], 0.0), abs(gain) if isinstance(gain, float) else 0.0)
    return sorted(rows, key=lambda row: -largest[row["knob"]])


def _has_stated(baseline: Baseline) -> bool:
    durations = baseline.profile.durations
    return any(getattr(durations, name) is not None for name in durations.__dataclass_fields__)


def _texts(value: object) -> Sequence[str]:
    assert isinstance(value, list)
    return value
