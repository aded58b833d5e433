"""How far a simulation is from those steps that ran while the machine was as fast as when its profile was measured.

    steady    a step whose probe shows the speed of the profile's reference, and in which the replay's threads hardly ever
              waited for a core that others had; without a probe or a reference, every step. Where CPU workers compute
              experts, on other cores than the probe's, the slowest core shows that speed as well
    slowdown  time per output token over the steady steps of a replay, measured / simulated: the same steps on both sides
    error     1 / (median over the replays of their slowdown) - 1
    counts    hits, late hits and misses over the steady steps of a replay, measured - simulated, as shares of the accesses
    off by    the largest of the three, each the median over the replays, without its sign

A replay counts by itself if it has 8 steady steps, or if all of its steps are steady. Where no replay does, the steady steps
of all are pooled into one. Steps of the warm-up are left out.

With a prefetcher, what is a hit depends on what has come by then, and on a machine that is slow for a while more has: so
counts are compared where times are, in the steps at the calibrated speed.

A run is crowded if more threads are busy in it than the machine has cores. They wait for one another then, which is a part
of the run, and the kernel does not tell for whom a thread waits: of a crowded run, the probe alone decides.

Limits: the time per output token includes prefill steps, which TPOT leaves out for the request that they are of. What a slow
step leaves to the one after it, such as a transfer that ends late or what it has prefetched too early, is taken for that
one's own. In a crowded run, what others have taken of the cores is not seen.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from validation.compare.metrics import EXACT
from validation.compare.replaying import Stored
from validation.compare.simulate import SimulatedStep
from validation.replay.measured_step import MeasuredStep
from validation.runtime.speed import is_as_fast
from validation.runtime.waiting import is_undisturbed

STEPS_OF_REPLAY = 8
STEPS_OF_CONFIGURATION = 24

_Pair = tuple[MeasuredStep, SimulatedStep]


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadySteps:
    """A configuration at the calibrated speed. Errors are shares of what was measured, None where nothing was.

    `replay_errors_frac` has the error of each replay, None for one that does not count by itself; `min_frac` and `max_frac`
    say how far their slowdowns lie from the median, of two or more; with `within_spread` the simulation lies between them.
    `counts_off_frac` is by how much the counts differ, as a share of the accesses of the same steps.
    """

    num_steps: int
    num_steady: int
    is_pooled: bool
    measured_s_per_token: float | None
    simulated_s_per_token: float | None
    error_frac: float | None
    replay_errors_frac: Sequence[float | None]
    min_frac: float | None
    max_frac: float | None
    within_spread: bool
    counts_off_frac: float | None
    is_crowded: bool

    @property
    def steady_frac(self) -> float | None:
        """The share of the steps that were steady."""
        return self.num_steady / self.num_steps if self.num_steps else None


def compare_steady(
    simulated: Sequence[SimulatedStep],
    replays: Sequence[Stored],
    *,
    warmup_steps: int,
    reference_ns: float | None,
    has_cpu_experts: bool = False,
    is_crowded: bool = False,
) -> SteadySteps:
    """Hold a configuration's replays against its simulation, step by step."""

    def is_steady(step: MeasuredStep) -> bool:
        if step.probe_ns is None or reference_ns is None:
            return True
        waits_tell_of_others = not is_crowded
        if waits_tell_of_others and not is_undisturbed(step.waited_ns or 0, step.duration_ns):
            return False
        slowest_ns = step.slowest_core_ns if has_cpu_experts else None
        return all(is_as_fast(ns, reference_ns) for ns in (step.probe_ns, slowest_ns) if ns is not None)

    pairs = [_paired(simulated, replay, warmup_steps) for replay in replays]
    steady = [[pair for pair in of_replay if is_steady(pair[0])] for of_replay in pairs]
    counts_by_itself = [
        len(chosen) >= min(STEPS_OF_REPLAY, len(of_replay)) for chosen, of_replay in zip(steady, pairs, strict=True)
    ]
    times = [_s_per_token(chosen) if counts else None for chosen, counts in zip(steady, counts_by_itself, strict=True)]
    counting = [one for one in times if one is not None]
    everything = [pair for chosen in steady for pair in chosen]
    pooled = None if counting else _s_per_token(everything)
    used = counting or ([pooled] if pooled is not None else [])
    compared = [chosen for chosen, counts in zip(steady, counts_by_itself, strict=True) if counts] or [everything]
    slowdowns = [measured_s / simulated_s for measured_s, simulated_s in used]
    median = statistics.median(slowdowns) if slowdowns else None
    has_spread = len(counting) > 1
    return SteadySteps(
        num_steps=sum(map(len, pairs)),
        num_steady=sum(map(len, steady)),
        is_pooled=pooled is not None,
        measured_s_per_token=statistics.median(measured_s for measured_s, _ in used) if used else None,
        simulated_s_per_token=statistics.median(simulated_s for _, simulated_s in used) if used else None,
        error_frac=None if median is None else 1 / median - 1,
        replay_errors_frac=[None if one is None else one[1] / one[0] - 1 for one in times],
        min_frac=min(slowdowns) / median - 1 if has_spread and median else None,
        max_frac=max(slowdowns) / median - 1 if has_spread and median else None,
        within_spread=has_spread and min(slowdowns) <= 1 <= max(slowdowns),
        counts_off_frac=_counts_off_frac(compared),
        is_crowded=is_crowded,
    )


def has_too_few(steady: SteadySteps) -> bool:
    """Tell whether more replays are wanted: there are fewer than 24 steady steps, and others that were not."""
    return steady.num_steady < min(STEPS_OF_CONFIGURATION, steady.num_steps)


def _paired(simulated: Sequence[SimulatedStep], replay: Stored, warmup_steps: int) -> list[_Pair]:
    """Pair the steps after the warm-up: a trace gives both sides the same steps."""
    assert [step.num_emits for step in replay.steps] == [step.num_emits for step in simulated], "other steps than these"
    return list(zip(replay.steps, simulated, strict=True))[warmup_steps:]


def _counts_off_frac(replays: Sequence[Sequence[_Pair]]) -> float | None:
    """Return the largest difference of hits, late hits or misses; None without accesses."""
    with_accesses = [(pairs, num) for pairs in replays if (num := sum(_num_accesses(one) for one, _ in pairs))]
    if not with_accesses:
        return None
    off: list[float] = []
    for name in EXACT:
        off_fracs = [
            sum(getattr(one, name) - getattr(other, name) for one, other in pairs) / num_accesses
            for pairs, num_accesses in with_accesses
        ]
        off.append(abs(statistics.median(off_fracs)))
    return max(off)


def _num_accesses(step: MeasuredStep) -> int:
    return step.hits + step.late_hits + step.misses


def _s_per_token(pairs: Sequence[_Pair]) -> tuple[float, float] | None:
    """Return the seconds per output token, measured and simulated; None without any token."""
    num_tokens = sum(measured.num_emits for measured, _ in pairs)
    if not num_tokens:
        return None
    totals_ns = (sum(one.duration_ns for one, _ in pairs), sum(other.duration_ns for _, other in pairs))
    return totals_ns[0] / num_tokens / 1e9, totals_ns[1] / num_tokens / 1e9
