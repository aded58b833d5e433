"""The scenarios of replications: what differs from one to the next, and what does not.

    a service        the seed: arrivals, lengths and labels that are drawn, and which recorded sequences requests are
                     made of; a file's arrivals and lengths are the same in all
    a closed batch   the seed, and which sequences are run: each replication the next so many of the trace, so that no
                     sequence is run twice

The n-th replication of one system and that of another see the same requests (common random numbers).

Limits: consecutive sequences of a trace are taken as a random sample; where a recording was sorted, they are not.
"""

from collections.abc import Mapping, Sequence

from hardware_profiles.errors import InputError
from simulator.metrics.replications import replication_seeds
from simulator.scenario import Values, build_scenario
from traces.format import open_trace


def replicated(values: Mapping[str, object], source: str, count: int) -> tuple[Sequence[Values], Sequence[str]]:
    """Return the plain values of each replication, and what to say about them.

    Raises InputError for fewer than 2, and where a trace has too few sequences for that many.
    """
    if count < 2:
        raise InputError("--replications", f"{count} gives no interval; name 2 or more, 5 to 20 as a rule")
    scenario = build_scenario(values, source)
    seeds = replication_seeds(scenario.seed, count)
    of_seed = [{**values, "seed": seed} for seed in seeds]
    if scenario.workload is not None:
        drawn = "arrivals, lengths and recorded sequences are drawn anew"
        if scenario.workload.get("file") is not None:
            drawn = "which recorded sequences requests are made of is drawn anew; arrivals and lengths are the file's in all"
        notes = [f"seeds {seeds[0]} to {seeds[-1]}: {drawn}"]
        if scenario.stop is not None and scenario.stop.wall_time is not None:
            notes.append(
                "stop.wall_time ends each run elsewhere, and elsewhere again another time; bound simulated time"
            )
        return of_seed, notes
    first = scenario.skip_sequences
    apart = 0 if scenario.fit is None or scenario.fit.sequences is None else scenario.fit.sequences
    left = open_trace(scenario.trace).num_sequences - apart - first
    each = scenario.sequences or left // count
    least = max(1, scenario.batch if scenario.sequences is None else 1)
    if each < least or each * count > left:
        asked = (
            f"{each} sequences each" if scenario.sequences else f"at least {least} each, as batch is {scenario.batch}"
        )
        raise InputError(
            source,
            f"--replications: {count} of a closed batch need other sequences for each, {asked}, and {scenario.trace} has "
            f"{left} to run; name fewer replications or sequences, or use a longer trace",
        )
    blocks = [{**one, "sequences": each, "skip_sequences": first + index * each} for index, one in enumerate(of_seed)]
    return blocks, [
        f"seeds {seeds[0]} to {seeds[-1]}; each replication runs {each} sequences, and no sequence is run twice"
    ]
