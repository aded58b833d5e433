"""The report of a suite: per configuration what was measured, what was simulated and how far apart they are; and over all.

    error      = simulated / measured - 1, over the steps that ran at the speed of the profile (`validation.compare.steady`)
    error, all = the same of TPOT, over all steps; measured is the median over the repeats
    spread     = range of the repeats (of all steps with quartiles), as shares of their median
    counts off = the largest difference in hits, late hits or misses, as a share of the accesses, over the same steps as the
                 error; where none ran at that speed, over all
    off, all   = the same over all steps, medians over the repeats

A machine that others use as well may be slow for a while, which no profile of it foretells. The first figures say how well
the simulator knows the machine that was calibrated, those of all steps what was seen. An error lies within the spread if the
simulation is between the least and the largest measurement: a simulator can be asked for no more than that by this many
repeats.

Limits: quantiles of a handful of repeats are coarse; the range grows with their number. Percentiles of ITL are those of one
run each, and their measured figure the median over runs.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hardware_profiles.figures import digest
from hardware_profiles.yaml_file import read_yaml
from validation.compare.facts import commit_facts, machine_facts, version_facts
from validation.compare.metrics import (
    COUNTS,
    EXACT,
    TIMES,
    attribution_s,
    count_of,
    error_frac,
    median_replay,
    median_tpot_s,
    time_of,
    tpot_s,
)
from validation.compare.replaying import Stored
from validation.compare.simulate import CalibratedProfile
from validation.compare.simulations import Simulation
from validation.compare.suite import Configuration, Suite, plain
from validation.compare.validate import Compared

FORMAT = 4
BANDS = (0.04, 0.08)
_POINT = 0.01
_ROOT = Path(__file__).resolve().parents[2]
_STEP_COUNTS = ("num_steps", "num_steady")


def build_report(
    suite: Suite, compared: Sequence[Compared], profiles: Sequence[CalibratedProfile], *, device: str, device_name: str
) -> dict[str, object]:
    """Return the whole report as plain values with units in the keys."""
    rows = [_row(item) for item in compared]
    crossed = [row for item in compared for row in _crossed_rows(item)]
    return {
        "format": FORMAT,
        "suite": suite.name,
        "description": suite.description,
        "repeats": suite.repeats,
        "seed": suite.seed,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "device_name": device_name,
        "machine": machine_facts(),
        "versions": version_facts(),
        "commit": commit_facts(),
        "replays_of": _replays_of(compared),
        "profiles": [_profile(profile) for profile in profiles],
        "summary": summarise_errors(rows),
        "configurations": rows,
        "cross": {"summary": summarise_errors(crossed), "configurations": crossed} if crossed else None,
    }


def _replays_of(compared: Sequence[Compared]) -> list[dict[str, object]]:
    """Return the commits that the replays are of, with how many are of each, the first of them and the last."""
    dates: dict[tuple[object, object], list[str]] = {}
    for item in compared:
        for replay in item.replays:
            dates.setdefault((replay.commit["id"], replay.commit["is_dirty"]), []).append(replay.date)
    return [
        {
            "commit": {"id": commit, "is_dirty": is_dirty},
            "replays": len(of_commit),
            "first": min(of_commit),
            "last": max(of_commit),
        }
        for (commit, is_dirty), of_commit in dates.items()
    ]


def summarise_errors(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Return how large the errors are: over all rows, and by model, eviction, prefetch, miss and batch."""
    groups: dict[str, Callable[[Mapping[str, object]], str]] = {
        "by_model": lambda row: str(row["model"]),
        "by_eviction": lambda row: str(row["eviction"]),
        "by_prefetch": lambda row: "demand only" if row["prefetch"] == "none" else str(row["prefetch"]),
        "by_miss": lambda row: str(row["miss"]),
        "by_batch": lambda row: str(row["batch"]),
    }
    summary: dict[str, object] = {"all": _errors(rows)}
    for name, group_of in groups.items():
        members: dict[str, list[Mapping[str, object]]] = {}
        for row in rows:
            members.setdefault(group_of(row), []).append(row)
        summary[name] = {group: _errors(of_group) for group, of_group in members.items()}
    return summary


def _errors(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    if not rows:
        return {"configurations": 0}
    steady = [row["steady"] for row in rows]
    num_steps, num_steady = (sum(one[name] for one in steady if isinstance(one, dict)) for name in _STEP_COUNTS)
    with_steady = [row for row in rows if row["tpot_error_frac"] is not None]
    return {
        "configurations": len(rows),
        "configurations_steady": len(with_steady),
        "steady_frac": num_steady / num_steps if num_steps else None,
        **_sizes([row["tpot_error_frac"] for row in with_steady], ""),
        "within_spread": sum(bool(row["within_spread"]) for row in rows),
        **_sizes([row["tpot_error_all_frac"] for row in rows], "all_"),
        "all_within_spread": sum(bool(row["all_within_spread"]) for row in rows),
        "counts_equal": sum(bool(row["counts_equal"]) for row in rows),
        **{
            f"{which}counts_within_1_point": sum(float(str(row[f"counts_off_{which}frac"])) <= _POINT for row in rows)
            for which in ("", "all_")
        },
    }


def _sizes(errors: Sequence[object], which: str) -> dict[str, object]:
    """Return quantiles of the errors' sizes, their signed mean, and how many lie within the bands."""
    signed = np.array(errors, dtype=np.float64)
    sizes = np.abs(signed)
    values = {
        "median": float(np.median(sizes)) if len(sizes) else None,
        "p90": float(np.quantile(sizes, 0.9)) if len(sizes) else None,
        "max": float(sizes.max()) if len(sizes) else None,
        "signed_mean": float(signed.mean()) if len(sizes) else None,
    }
    return {
        **{f"tpot_error_{which}{name}_frac": value for name, value in values.items()},
        **{f"{which}within_{100 * band:.0f}_percent": int((sizes <= band).sum()) for band in BANDS},
    }


def _row(item: Compared) -> dict[str, object]:
    simulated, replays = item.simulated, item.replays
    configuration, own = simulated.configuration, simulated.own
    return {
        **_names(configuration),
        "configuration": _without_places(plain(configuration)),
        "measured": _measured(replays),
        "simulated": _simulated(own.summary),
        "spread": _spread(replays),
        **_comparison(item, own),
        "recording_frac": statistics.median(replay.recording_frac for replay in replays),
        "other_picks": statistics.median_low(replay.num_other_picks for replay in replays),
        "warnings": [*simulated.warnings, *_texts(own.summary["warnings"])],
    }


def _crossed_rows(item: Compared) -> list[dict[str, object]]:
    """Return the row of each simulation with a profile that was measured on another model."""
    return [
        {
            **_names(item.simulated.configuration),
            "profile_of": measured_on,
            "simulated": _simulated(simulation.summary),
            **_comparison(item, simulation),
        }
        for measured_on, simulation in item.simulated.crossed.items()
    ]


def _without_places(configuration: dict[str, object]) -> dict[str, object]:
    """Return a configuration whose paths say nothing of where this machine keeps its files."""
    model = configuration["model"]
    assert isinstance(model, dict)
    return configuration | {"model": {key: _portable(value) for key, value in model.items()}}


def _portable(value: object) -> object:
    if not isinstance(value, str) or not Path(value).is_absolute():
        return value
    path = Path(value)
    return path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name


def _names(configuration: Configuration) -> dict[str, object]:
    return {
        "id": configuration.id,
        "model": configuration.model_name,
        "eviction": configuration.eviction.name,
        "prefetch": configuration.prefetch.name,
        "miss": configuration.miss.name,
        "batch": configuration.batch,
    }


def _comparison(item: Compared, simulation: Simulation) -> dict[str, object]:
    simulated, replays, steady = simulation.summary, item.replays, item.steady(simulation)
    values_s = [tpot_s(replay.summary) for replay in replays]
    off_all_frac = max(abs(_count(replays, name) - count_of(simulated, name)) for name in EXACT) / max(
        1, _count(replays, "accesses")
    )
    return {
        "tpot_error_frac": steady.error_frac,
        "tpot_error_all_frac": error_frac(simulated, replays),
        "steady_frac": steady.steady_frac,
        "steady": asdict(steady),
        "itl_p50_error_frac": _time_error(simulated, replays, "itl_p50_s"),
        "itl_p99_error_frac": _time_error(simulated, replays, "itl_p99_s"),
        "within_spread": steady.within_spread,
        "all_within_spread": min(values_s) <= tpot_s(simulated) <= max(values_s),
        "counts_equal": all(
            count_of(replay.summary, name) == count_of(simulated, name) for replay in replays for name in EXACT
        ),
        "counts_off_frac": off_all_frac if steady.counts_off_frac is None else steady.counts_off_frac,
        "counts_off_all_frac": off_all_frac,
    }


def _measured(replays: Sequence[Stored]) -> dict[str, object]:
    """Return the medians over the repeats; the attribution is that of the median run, so that its parts add up."""
    times = {name: [time_of(replay.summary, name) for replay in replays] for name in TIMES}
    return {
        **{name: _median(values) for name, values in times.items()},
        **{name: _count(replays, name) for name in COUNTS},
        "attribution_s_per_token": attribution_s(median_replay(replays).summary),
    }


def _count(replays: Sequence[Stored], name: str) -> int:
    """Return the median of a count over the repeats."""
    return statistics.median_low(count_of(replay.summary, name) for replay in replays)


def _simulated(summary: Mapping[str, object]) -> dict[str, object]:
    return {
        **{name: time_of(summary, name) for name in TIMES},
        **{name: count_of(summary, name) for name in COUNTS},
        "attribution_s_per_token": attribution_s(summary),
    }


def _spread(replays: Sequence[Stored]) -> dict[str, object]:
    """Return how far the repeats' TPOT lie from their median, and whether their counts agree with one another."""
    values_s = np.array([tpot_s(replay.summary) for replay in replays])
    median_s = median_tpot_s(replays)
    low, first, third, high = (np.quantile(values_s, [0, 0.25, 0.75, 1]) / median_s - 1).tolist()
    counts = {tuple(count_of(replay.summary, name) for name in EXACT) for replay in replays}
    return {
        "tpot_s": values_s.tolist(),
        "min_frac": low,
        "first_quartile_frac": first,
        "third_quartile_frac": third,
        "max_frac": high,
        "counts_repeat": len(counts) == 1,
    }


def _time_error(simulated: Mapping[str, object], replays: Sequence[Stored], name: str) -> float | None:
    expected, measured = time_of(simulated, name), _median([time_of(replay.summary, name) for replay in replays])
    return None if expected is None or not measured else (expected - measured) / measured


def _median(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _profile(profile: CalibratedProfile) -> dict[str, object]:
    return {
        "measured_on": profile.measured_on,
        "name": profile.profile.name,
        "speed_probe_s": None if profile.speed_probe_ns is None else profile.speed_probe_ns / 1e9,
        "sha256": digest(profile.profile),
        "profile": read_yaml(profile.path),
    }


def _texts(value: object) -> list[str]:
    assert isinstance(value, Sequence)
    return [str(item) for item in value]
