"""Find the largest rate that a scenario's service sustains, one probe after another.

All probes see the same requests, only closer together or further apart (common random numbers), so that from one to the
next nothing differs but the rate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.errors import InputError
from simulator.capacity.keeps import kept_share
from simulator.capacity.rate import at_rate, require_scalable
from simulator.capacity.search import Bracket, search
from simulator.metrics.replications import replication_seeds
from simulator.points.point import Point
from simulator.points.run import PointPool
from simulator.replicate.run import summaries_of
from simulator.scenario import Values, build_scenario

Summary = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A rate that was tried: how many times the scenario's own, what came out, and whether it is sustained."""

    factor: float
    values: Values
    summaries: Sequence[Summary]
    kept_share: float
    is_kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The bracket that was found, None where the search was interrupted, and all probes in the order of the search."""

    bracket: Bracket | None
    probes: Sequence[Probe]
    promised: Sequence[str]
    seeds: Sequence[int]


def find_capacity(
    values: Values,
    source: str,
    *,
    share: float,
    tolerance: float,
    replications: int = 1,
    jobs: int = 1,
    store: Path | None = None,
    done: Callable[[Probe], None] | None = None,
) -> Capacity:
    """Search. `done` hears of each probe as it ends. An interrupt ends the search, and what is there is returned.

    `store` is that of `simulator.points.run.run_points`: a search that is repeated with it goes on where it was.

    Raises InputError for a workload without a rate to change, a run that fails, and bounds that make no sense.
    """
    if not 0 < share <= 1:
        raise InputError("--share", f"{share:g} is not a share of requests; name one above 0 and up to 1, such as 0.99")
    if not 1e-4 <= tolerance < 1:
        raise InputError("--tolerance", f"{tolerance:g} is not a tolerance; name one from 0.0001 to 1, such as 0.02")
    if replications < 1:
        raise InputError("--replications", f"{replications} is not a number of runs; name 1 or more")
    scenario = build_scenario(values, source)
    require_scalable(scenario, source)
    promised = [name for name, one in sorted(scenario.slo.items()) if any((one.ttft, one.tpot, one.itl, one.e2e))]
    seeds = replication_seeds(scenario.seed, replications)
    probes: list[Probe] = []

    def keeps(factor: float) -> bool:
        scaled = at_rate(values, factor)
        points = [Point(values={**scaled, "seed": seed}, labels={"seed": seed}) for seed in seeds]
        summaries = summaries_of(pool.run(points), source)
        found = kept_share(summaries, promised, source)
        probe = Probe(factor=factor, values=scaled, summaries=summaries, kept_share=found, is_kept=found >= share)
        probes.append(probe)
        if done is not None:
            done(probe)
        return probe.is_kept

    bracket: Bracket | None = None
    try:
        with PointPool(store=store, jobs=jobs) as pool:
            bracket = search(keeps, tolerance=tolerance)
    except KeyboardInterrupt:
        if not probes:
            raise
    return Capacity(bracket=bracket, probes=probes, promised=promised, seeds=seeds)
