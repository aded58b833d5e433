"""How far synthetic routing is from what it imitates, in the quantities that decide what offloading costs.

Limits: means over layers; layers can be off in opposite directions. The order of sequences and the batch unions are
reported but not fitted.
"""

from dataclasses import dataclass

import numpy as np

from traces.format import Sequences
from traces.statistics import coactivation
from traces.statistics.affinity import mutual_information_bits, transition_counts
from traces.statistics.locality import overlap_by_lag
from traces.statistics.miss_ratio import lru_hit_rates
from traces.statistics.windows import batch_unions, window_unions

LAGS = (1, 2, 4, 8, 16, 32, 64, 128)
WINDOWS = (2, 4, 8, 16, 32, 64)
BATCHES = (4, 16)
HIT_RATE_POINTS = 3.0
RELATIVE_PERCENT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Means over layers of a trace's statistics; None where the trace has no sample.

    `hit_rate_E` of LRU per layer, entry c for c + 1 experts; experts shared by tokens `LAGS` apart; experts in the
    union of `WINDOWS` successive tokens and of `BATCHES` sequences; `affinity_bits` between adjacent layers,
    `coactivation_bits` between members of one set.
    """

    num_experts: int
    top_k: int
    hit_rate_E: tuple[float, ...]
    overlap: tuple[float | None, ...]
    window_union: tuple[float | None, ...]
    batch_union: tuple[float | None, ...]
    affinity_bits: float
    coactivation_bits: float


def profile(sequences: Sequences, num_experts: int) -> Profile:
    """Measure a trace."""
    ids, start = sequences.expert_ids, sequences.sequence_start
    affinity = mutual_information_bits(transition_counts(ids, num_experts))
    together = coactivation.coactivation_counts(ids, num_experts)
    return Profile(
        num_experts=num_experts,
        top_k=ids.shape[2],
        hit_rate_E=tuple(lru_hit_rates(ids, num_experts).mean(axis=0).tolist()),
        overlap=_means(overlap_by_lag(ids, start, LAGS)),
        window_union=_means(window_unions(ids, start, num_experts, WINDOWS)),
        batch_union=_means(batch_unions(ids, start, num_experts, BATCHES)),
        affinity_bits=float(affinity.mean()) if len(affinity) else 0.0,
        coactivation_bits=float(coactivation.mutual_information_bits(together).mean()),
    )


def judged_capacities(num_experts: int) -> range:
    """Return the capacities from 5 to 95 % of the experts, that is from ceil(E / 20) to floor(19 E / 20)."""
    return range(max(1, -(-num_experts // 20)), max(1, 19 * num_experts // 20) + 1)


def distances(found: Profile, wanted: Profile) -> dict[str, float | int | None]:
    """Return the distances by name, found minus wanted; relative ones in per cent, hit rates in points.

    The hit rate's is the largest over `judged_capacities`, with its sign and the capacity where it stands.
    """
    capacities = judged_capacities(wanted.num_experts)
    points = [100 * (found.hit_rate_E[c - 1] - wanted.hit_rate_E[c - 1]) for c in capacities]
    worst = max(range(len(points)), key=lambda at: abs(points[at]))
    named: dict[str, float | int | None] = {
        "hit_rate_points_worst": points[worst],
        "hit_rate_worst_capacity_experts": capacities[worst],
        "hit_rate_points_mean_abs": sum(map(abs, points)) / len(points),
    }
    for lag, one, other in zip(LAGS, found.overlap, wanted.overlap, strict=True):
        named[f"overlap_lag_{lag}_percent"] = _percent(one, other)
    for window, one, other in zip(WINDOWS, found.window_union, wanted.window_union, strict=True):
        named[f"union_of_{window}_tokens_percent"] = _percent(one, other)
    for batch, one, other in zip(BATCHES, found.batch_union, wanted.batch_union, strict=True):
        named[f"union_of_{batch}_sequences_percent"] = _percent(one, other)
    named["affinity_bits"] = found.affinity_bits - wanted.affinity_bits
    named["coactivation_bits"] = found.coactivation_bits - wanted.coactivation_bits
    return named


def missed(found: Profile, wanted: Profile) -> list[str]:
    """Return a line for each bar that is missed: hit rates within 3 points, adjacent overlap and unions within 5 %."""
    lines = []
    for capacity in judged_capacities(wanted.num_experts):
        points = 100 * (found.hit_rate_E[capacity - 1] - wanted.hit_rate_E[capacity - 1])
        if abs(points) > HIT_RATE_POINTS:
            lines.append(f"LRU hit rate with {capacity} of {wanted.num_experts} experts: {points:+.2f} points")
    named = distances(found, wanted)
    for name, label in (
        ("overlap_lag_1_percent", "overlap of adjacent tokens"),
        *((f"union_of_{window}_tokens_percent", f"union of {window} tokens") for window in WINDOWS),
    ):
        percent = named[name]
        if percent is not None and abs(percent) > RELATIVE_PERCENT:
            lines.append(f"{label}: {percent:+.2f} %")
    return lines


def _means(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(row).any() else float(row.mean()) for row in rows)


def _percent(found: float | None, wanted: float | None) -> float | None:
    return None if found is None or not wanted else 100 * (found / wanted - 1)
