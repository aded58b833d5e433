"""What a comparison says of each system, as plain values with their units in the keys.

The systems of a service are in the order of goodput where something is promised (`slo`), else of mean E2E latency; those of
a closed batch in that of `place`.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from simulator.compare.choose import ALL_RESIDENT, ON_DEMAND, ORACLES, REFERENCES, described
from simulator.compare.differences import difference_facts
from simulator.compare.run import Comparison, Outcome
from simulator.metrics.counters import ATTRIBUTION

PLACE = (
    "place = (on_demand - this) / (on_demand - the better of oracle_eviction and oracle_prefetch), of mean {latency}: 0 is "
    "as slow as on_demand, 1 as fast as the oracle; below 0 is slower than on_demand, above 1 beats the oracle, as a system "
    "can that computes on the CPU or does without experts"
)
NO_PLACE = (
    "no place among oracles: they need the routing to come, which in a service depends on its own speed; bounds are those "
    "rows that ran"
)
STALLS = (
    "exposed_demand_fetch",
    "exposed_late_prefetch",
    "queued_behind_prefetch",
    "exposed_cpu_expert",
    "exposed_nvme",
)
LOSSES = ("dropped_mass_frac", "unlike_mass_frac", "low_precision_mass_frac", "deferred_mass_frac")
BYTES = (
    "h2d_demand_bytes",
    "h2d_prefetch_bytes",
    "h2d_low_precision_bytes",
    "h2d_in_place_bytes",
    "d2h_write_back_bytes",
)
_COUNTS = ("accesses", "hits", "late_hits", "misses", "cpu_experts", "deferred_experts", "low_precision_experts")
_SHARES = ("hit_frac", "late_hit_frac")
_OF_A_SERVICE_ALONE = ("kv_swap", "idle")

Row = Mapping[str, object]


def comparison_facts(comparison: Comparison, source: str) -> dict[str, object]:
    """Return what `compare.json` holds: what was run, how `place` is meant, and a row for each system.

    References come first, then the systems by falling place, then those that failed.
    """
    outcomes = comparison.outcomes
    is_service = comparison.values.get("workload") is not None
    latency = "e2e" if is_service else _latency(outcomes)
    rows = [_row(outcome) for outcome in outcomes]
    _note_places(rows, latency)
    is_promised = bool(comparison.values.get("slo"))
    rows.sort(key=lambda row: _rank(row, is_service=is_service, is_promised=is_promised))
    return {
        "moesim_version": version("moesim"),
        "source": source,
        "scenario": comparison.values,
        "notes": list(comparison.notes),
        "is_service": is_service,
        "place": NO_PLACE if is_service else PLACE.format(latency=latency.upper()),
        "latency": latency,
        "common": _common(outcomes),
        "replications": difference_facts(comparison),
        "rows": rows,
    }


def flat(row: Row) -> dict[str, object]:
    """Return a row for a CSV: numbers and short texts alone."""
    return {key: "" if value is None else value for key, value in row.items() if not isinstance(value, list | Mapping)}


def lost_mass_frac(row: Row) -> float | None:
    """Return the share of the gates' mass that was dropped, unlike what was wanted, in low precision or late."""
    shares = [row[name] for name in LOSSES]
    return sum(share for share in shares if isinstance(share, int | float)) if row["status"] == "ok" else None


def mapping(value: object) -> Mapping[str, object]:
    """Return a mapping as one."""
    assert isinstance(value, Mapping)
    return value


def rows_of(facts: Mapping[str, object]) -> Sequence[Row]:
    """Return the rows of a comparison."""
    rows = facts["rows"]
    assert isinstance(rows, Sequence)
    return rows


def money_columns(rows: Sequence[Row]) -> Mapping[str, str]:
    """Return the headings, by key, of what systems draw and cost, where any row tells."""
    headings = {"j_per_output_token": "J/token", "usd_per_million_output_tokens": "USD/M out"}
    return {key: heading for key, heading in headings.items() if any(row.get(key) is not None for row in rows)}


def texts(value: object) -> Sequence[str]:
    """Return a list of texts as one."""
    assert isinstance(value, Sequence)
    return [str(item) for item in value]


def _row(outcome: Outcome) -> dict[str, object]:
    system, summary = described(outcome.system), outcome.summary
    row: dict[str, object] = {
        "system": outcome.system,
        "is_reference": outcome.system in REFERENCES,
        "status": "failed" if summary is None else "ok",
        "reason": outcome.reason,
    }
    found: Mapping[str, object] = {} if summary is None else summary
    for latency in ("tpot", "ttft", "itl", "e2e", "queueing"):
        values = mapping(found.get(f"{latency}_s", {}))
        row |= {f"{latency}_{name}_s": values.get(name) for name in ("mean", "p50", "p99")}
    row |= _of_service(mapping(found.get("service", {})))
    row["place"] = None
    row |= {key: found.get(key) for key in ("throughput_tokens_per_s", "makespan_ns", "tokens", *_SHARES, *_COUNTS)}
    row |= {key: found.get(key) for key in BYTES}
    stalls = mapping(found.get("attribution_ns", {}))
    row |= {f"{cause}_ns": stalls.get(cause) for cause in (*ATTRIBUTION, *_OF_A_SERVICE_ALONE)}
    largest = max(STALLS, key=lambda cause: int(str(stalls.get(cause, 0))))  # the first of several
    row["largest_stall"] = largest if stalls.get(largest) else None
    energy, price = mapping(found.get("energy") or {}), mapping(found.get("price") or {})
    row |= {
        "energy_j": energy.get("total_j"),
        **{name: energy.get(name) for name in ("j_per_output_token", "mean_power_w")},
        **{name: price.get(name) for name in ("usd_per_million_output_tokens", "usd_per_million_tokens")},
    }
    loss = mapping(found.get("loss", {}))
    row |= {name: loss.get(name) for name in ("substituted_mass_frac", *LOSSES, "dropped_picks", "substituted_picks")}
    cache = mapping(found.get("cache", {}))
    row["cache_experts"] = cache.get("experts")
    return row | {
        "quality": system.quality,
        "warnings": [*texts(found.get("warnings", [])), *_cut_short(mapping(found.get("service", {})))],
        "assumptions": list(texts(found.get("assumptions", []))),
        "policies": dict(mapping(found.get("policies", {}))),
    }


def _of_service(service: Mapping[str, object]) -> dict[str, object]:
    """Return what a service has beside a closed batch; all None where the run is none."""
    names = ("goodput_requests_per_s", "throughput_requests_per_s", "arrived", "finished", "preemptions")
    found = {name: service.get(name) for name in names}
    if not service:
        return found | {"refused": None, "in_slo_frac": None}
    refused = sum(int(str(count)) for count in mapping(service["refused"]).values())
    done = int(str(service["finished"])) + refused
    in_slo = sum(int(str(mapping(one)["in_slo"])) for one in mapping(service["classes"]).values())
    return found | {"refused": refused, "in_slo_frac": in_slo / done if done else None}


def _cut_short(service: Mapping[str, object]) -> Sequence[str]:
    """Warn of a service that ended before it was to."""
    return [f"ended early, by {service['stopped_by']}"] if service.get("partial") else []


def _latency(outcomes: Sequence[Outcome]) -> str:
    """Return the latency that places are of: TPOT, or TTFT where nothing is decoded."""
    summaries = [outcome.summary for outcome in outcomes if outcome.summary is not None]
    return "tpot" if any(mapping(summary["tpot_s"])["mean"] is not None for summary in summaries) else "ttft"


def _note_places(rows: Sequence[dict[str, object]], latency: str) -> None:
    key = f"{latency}_mean_s"
    of_system = {row["system"]: row[key] for row in rows}
    base = of_system.get(ON_DEMAND)
    oracles = [of_system[name] for name in ORACLES if isinstance(of_system.get(name), float)]
    best = min((value for value in oracles if isinstance(value, float)), default=None)
    if not isinstance(base, float) or best is None or base == best:
        return
    for row in rows:
        value = row[key]
        if isinstance(value, float):
            row["place"] = (base - value) / (base - best)


def _rank(row: Row, *, is_service: bool, is_promised: bool) -> tuple[int, float, str]:
    name, place = str(row["system"]), row["place"]
    if is_service:
        of_service = row["goodput_requests_per_s"] if is_promised else row["e2e_mean_s"]
        worst = float("-inf") if is_promised else float("inf")
        by = of_service if isinstance(of_service, float) else worst
        place = by if is_promised else -by
    if name in REFERENCES:
        return 0, REFERENCES.index(name), name
    if row["status"] != "ok":
        return 2, 0, name
    return 1, -place if isinstance(place, float) else 0, name


def _common(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Return what is the same for all: model, machine, and the capacity of all but the bound."""
    for outcome in outcomes:
        if outcome.summary is not None and outcome.system != ALL_RESIDENT:
            summary = outcome.summary
            cache = mapping(summary["cache"])
            return {
                "model": summary["model"],
                "hardware": summary["hardware"],
                "expert_bytes": summary["expert_bytes"],
                "cache_experts": cache["experts"],
                "cache_bytes": cache["bytes"],
                "cache_frac": cache["frac"],
            }
    return {}
