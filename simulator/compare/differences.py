"""What replications say of a comparison: figures with their intervals, and whether they differ from a baseline's.

Differences are taken in pairs: the n-th replication of each system saw the same requests.
"""

from collections.abc import Mapping, Sequence

from simulator.compare.choose import ON_DEMAND
from simulator.compare.run import Comparison
from simulator.metrics.replications import PairedDifference, against_baseline
from simulator.replicate.facts import CONFIDENCE, columns, told
from simulator.replicate.measures import measures

HOW = (
    "differences are paired, replication by replication, on the same requests; all intervals of a figure hold together with "
    "95 % (Bonferroni over {count} systems)"
)
SAME_REQUESTS = "nothing of these replications varies with the seed, so that the intervals say nothing"


def difference_facts(comparison: Comparison) -> dict[str, object] | None:
    """Return what `compare.json` says of replications; None where there was one run of each.

    The baseline is on_demand, or the first system that ran in every replication.
    """
    of_system = _columns(comparison)
    if not comparison.replications or not of_system:
        return None
    baseline = ON_DEMAND if ON_DEMAND in of_system else next(iter(of_system))
    systems: dict[str, dict[str, object]] = {
        name: {figure: told(values) | {"values": list(values)} for figure, values in of_figure.items()}
        for name, of_figure in of_system.items()
    }
    for figure in of_system[baseline]:
        columns_of = {name: found[figure] for name, found in of_system.items() if figure in found}
        for name, paired in against_baseline(columns_of, baseline, confidence=CONFIDENCE).items():
            one = systems[name][figure]
            assert isinstance(one, dict)
            one["difference"] = _told(paired)
    varies = any(len(set(values)) > 1 for found in of_system.values() for values in found.values())
    return {
        "count": len(comparison.replications),
        "seeds": list(comparison.seeds),
        "confidence": CONFIDENCE,
        "against": baseline,
        "how": HOW.format(count=max(1, len(of_system) - 1)) if varies else SAME_REQUESTS,
        "systems": systems,
    }


def verdict_of(difference: Mapping[str, object]) -> str:
    """Say plainly whether a figure differs from the baseline's."""
    if difference["verdict"] == "undecided":
        return "no difference shown at 95 %"
    return f"differs at 95 %: {difference['verdict']}"


def _columns(comparison: Comparison) -> dict[str, Mapping[str, Sequence[float]]]:
    """Return each system's figures, a value for each replication; systems that failed in one are left out."""
    found: dict[str, Mapping[str, Sequence[float]]] = {}
    for of_system in zip(*comparison.replications, strict=True):
        summaries = [outcome.summary for outcome in of_system if outcome.summary is not None]
        if len(summaries) == len(of_system):
            found[of_system[0].system] = columns([measures(summary) for summary in summaries])
    return found


def _told(paired: PairedDifference) -> dict[str, object]:
    interval = paired.difference
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "half_width": interval.half_width,
        "confidence": interval.confidence,
        "relative": paired.relative,
        "verdict": paired.verdict,
        "correlation": paired.correlation,
    }
