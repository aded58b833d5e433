"""What holds for the summary of any run, whatever the policies."""

from collections.abc import Mapping


def assert_laws(summary: Mapping[str, object]) -> None:
    """Time, accesses, bytes and prefetches are conserved; nothing is busy for longer than the run."""
    attribution, prefetches, busy, loss = (
        _mapping(summary[key]) for key in ("attribution_ns", "prefetches", "busy_frac", "loss")
    )
    makespan_ns, expert_bytes = _whole(summary["makespan_ns"]), _whole(summary["expert_bytes"])
    assert sum(map(_whole, attribution.values())) == makespan_ns
    assert min(map(_whole, attribution.values())) >= 0
    accesses, hits, late, misses = (_whole(summary[key]) for key in ("accesses", "hits", "late_hits", "misses"))
    assert accesses == hits + late + misses
    demanded, prefetched, in_place = (
        _whole(summary[f"h2d_{kind}_bytes"]) // expert_bytes for kind in ("demand", "prefetch", "in_place")
    )
    elsewhere = sum(_whole(summary[key]) for key in ("cpu_experts", "low_precision_experts"))
    assert in_place == summary["experts_read_in_place"]
    assert misses - elsewhere <= demanded + in_place <= misses, "each miss is fetched once, or handled otherwise"
    named = {key: _whole(value) for key, value in prefetches.items()}
    ended = sum(named[key] for key in ("useful", "late", "wasted", "cancelled", "unused_at_end"))
    assert named["issued"] == ended
    assert prefetched <= named["issued"]
    link_ns = (demanded + prefetched + in_place) * _whole(summary["transfer_ns"])
    assert link_ns / makespan_ns <= _number(busy["h2d"]) + 1e-9
    assert all(0 <= _number(share) <= 1 + 1e-9 for share in busy.values())
    shares = [_number(share) for key, share in loss.items() if key.endswith("_frac")]
    assert all(0 <= share <= 1 for share in shares)
    assert _number(loss["unlike_mass_frac"]) <= _number(loss["substituted_mass_frac"]) + 1e-9


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _whole(value: object) -> int:
    assert isinstance(value, int)
    return value


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
