"""The error of steps at the profile's speed, beside that of all: on a device with two speeds, and by hand."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from tests.validation.compare.fake import NAME, FakeBackend, fill, probed_profiles, profiles
from validation.compare.page import report_page
from validation.compare.replaying import Stored
from validation.compare.report import build_report
from validation.compare.simulate import CalibratedProfile, SimulatedStep
from validation.compare.simulations import Simulation
from validation.compare.steady import compare_steady, has_too_few
from validation.compare.suite import read_suite
from validation.compare.validate import REPLAYS, TRACES, validate
from validation.replay.measured_step import MeasuredStep

FAST, SLOW = 100, 200


COUNTS = {"hits": 5, "late_hits": 3, "misses": 2}


def stored(
    *steps: tuple[int, int | None],
    more_hits: Sequence[int] = (),
    waited_ns: Sequence[int] = (),
    slowest_core_ns: int | None = None,
) -> Stored:
    """Return a replay of steps of one token and ten accesses each, (duration_ns, probe_ns).

    `more_hits` are hits in the place of late hits, `waited_ns` what was lost to waiting, of each step.
    """
    measured = [
        MeasuredStep(
            duration_ns=duration_ns,
            num_emits=1,
            hits=COUNTS["hits"] + more,
            late_hits=COUNTS["late_hits"] - more,
            misses=COUNTS["misses"],
            probe_ns=probe,
            slowest_core_ns=slowest_core_ns,
            waited_ns=lost_ns,
        )
        for (duration_ns, probe), more, lost_ns in zip(
            steps, more_hits or repeat(0), waited_ns or repeat(0), strict=False
        )
    ]
    return Stored(commit={}, date="", summary={}, steps=measured, recording_frac=0.0, num_other_picks=0)


def simulated(*durations_ns: int) -> list[SimulatedStep]:
    """Return simulated steps of one token and ten accesses each."""
    return [SimulatedStep(duration_ns=duration_ns, num_emits=1, **COUNTS) for duration_ns in durations_ns]


def test_steps_are_paired_with_their_own() -> None:
    """The slow half, of longer steps, is left out on both sides; the warm-up as well."""
    durations = [1000] + [10] * 8 + [40] * 8
    replay = stored((9999, FAST), *[(20, FAST + 7)] * 8, *[(160, SLOW)] * 8)
    steady = compare_steady(simulated(*durations), [replay], warmup_steps=1, reference_ns=FAST)
    assert (steady.num_steps, steady.num_steady, steady.is_pooled) == (16, 8, False)
    assert steady.error_frac == pytest.approx(10 / 20 - 1)
    assert (steady.measured_s_per_token, steady.simulated_s_per_token) == pytest.approx((20e-9, 10e-9))
    everything = compare_steady(simulated(*durations), [replay], warmup_steps=1, reference_ns=None)
    assert everything.steady_frac == 1
    assert everything.error_frac == pytest.approx((10 + 40) / (20 + 160) - 1)


def test_steps_that_waited_for_a_core_are_left_out() -> None:
    """By what was lost to waiting, as a share of the step, whatever the probes say."""
    replay = stored(*[(1000, FAST)] * 8, *[(2000, FAST)] * 8, waited_ns=[20] * 8 + [41] * 8)
    steady = compare_steady(simulated(*[500] * 16), [replay], warmup_steps=0, reference_ns=FAST)
    assert (steady.num_steady, steady.error_frac) == (8, -0.5)


def test_of_a_crowded_run_the_probe_alone_decides() -> None:
    """Its threads wait for one another; slow steps are left out as ever."""
    replay = stored(*[(1000, FAST)] * 8, *[(2000, SLOW)] * 8, waited_ns=[900] * 16)
    steady = compare_steady(simulated(*[500] * 16), [replay], warmup_steps=0, reference_ns=FAST, is_crowded=True)
    assert (steady.num_steady, steady.error_frac, steady.is_crowded) == (8, -0.5, True)


def test_where_workers_compute_all_cores_are_as_fast() -> None:
    """They have other cores than the one that is probed; without workers, nothing is asked of these."""
    replay = stored(*[(1000, FAST)] * 8, slowest_core_ns=SLOW)
    for has_cpu_experts, num_steady in ((True, 0), (False, 8)):
        steady = compare_steady(
            simulated(*[500] * 8), [replay], warmup_steps=0, reference_ns=FAST, has_cpu_experts=has_cpu_experts
        )
        assert steady.num_steady == num_steady
    replay = stored(*[(1000, FAST)] * 8, slowest_core_ns=FAST)
    steady = compare_steady(simulated(*[500] * 8), [replay], warmup_steps=0, reference_ns=FAST, has_cpu_experts=True)
    assert steady.num_steady == 8


def test_counts_are_those_of_the_same_steps() -> None:
    """What slow steps find is left out, of both; so is the warm-up."""
    replay = stored((9, FAST), *[(10, FAST)] * 8, *[(20, SLOW)] * 8, more_hits=[3, 1, *[0] * 7, *[3] * 8])
    steady = compare_steady(simulated(*[10] * 17), [replay], warmup_steps=1, reference_ns=FAST)
    assert steady.counts_off_frac == pytest.approx(1 / 80)
    everything = compare_steady(simulated(*[10] * 17), [replay], warmup_steps=1, reference_ns=None)
    assert everything.counts_off_frac == pytest.approx(25 / 160)


def test_counts_are_medians_over_the_replays() -> None:
    """With their signs: what is now more and now less is not off. Pooled, where no replay counts by itself."""
    expected = simulated(*[10] * 10)

    def off_frac(*replays: Stored) -> float | None:
        return compare_steady(expected, replays, warmup_steps=0, reference_ns=FAST).counts_off_frac

    more, less, same = (stored(*[(10, FAST)] * 10, more_hits=[by] * 10) for by in (1, -1, 0))
    few = stored(*[(10, FAST)] * 7, *[(10, SLOW)] * 3, more_hits=[3] * 10)
    assert off_frac(more, same, less) == 0
    assert off_frac(more, more, less) == pytest.approx(0.1)
    assert off_frac(same, few, few) == 0, "too few steps to count by themselves"
    assert off_frac(few, few) == pytest.approx(0.3)
    assert off_frac(stored(*[(10, SLOW)] * 10)) is None


def test_a_replay_with_few_steady_steps_does_not_count_by_itself() -> None:
    """The median is over the others; where there are none, all that is steady counts as one; without any, nothing does."""
    few = stored(*[(50, FAST)] * 7, *[(99, SLOW)] * 3)
    good = [stored(*[(duration_ns, FAST)] * 9, (99, SLOW)) for duration_ns in (10, 20, 40)]
    expected = simulated(*[20] * 10)
    by_replay = compare_steady(expected, [few, *good], warmup_steps=0, reference_ns=FAST)
    assert by_replay.error_frac == 0
    assert by_replay.replay_errors_frac == [None, 1.0, 0.0, -0.5]
    assert (by_replay.min_frac, by_replay.max_frac, by_replay.within_spread) == (-0.5, 1.0, True)
    pooled = compare_steady(expected, [few, few], warmup_steps=0, reference_ns=FAST)
    assert (pooled.is_pooled, pooled.num_steady) == (True, 14)
    assert pooled.error_frac == pytest.approx(20 / 50 - 1)
    assert (pooled.min_frac, pooled.within_spread) == (None, False)
    none = compare_steady(expected, [stored(*[(50, SLOW)] * 10)], warmup_steps=0, reference_ns=FAST)
    assert (none.error_frac, none.steady_frac, none.is_pooled) == (None, 0, False)


def test_too_few_is_less_than_24_of_more() -> None:
    """A short run of which all steps are steady has as many as there can be."""

    def with_steps(num_steady: int, num_slow: int) -> bool:
        replay = stored(*[(1, FAST)] * num_steady, *[(1, SLOW)] * num_slow)
        expected = simulated(*[1] * (num_steady + num_slow))
        return has_too_few(compare_steady(expected, [replay], warmup_steps=0, reference_ns=FAST))

    assert [with_steps(23, 1), with_steps(24, 50), with_steps(10, 0)] == [True, False, False]


def test_other_steps_are_an_error() -> None:
    """A replay of another number of steps cannot be paired."""
    with pytest.raises(AssertionError, match="other steps"):
        compare_steady(simulated(1, 1), [stored((1, None))], warmup_steps=0, reference_ns=None)


def report_of(place: Path, backend: FakeBackend, calibrated: list[CalibratedProfile]) -> dict[str, Any]:
    """Return the report of a run into `place / "out"`."""
    suite = read_suite(place / "suite.yaml", trace_folder=place / "out" / TRACES)
    compared = validate(suite, calibrated, backend, place / "out")
    report = build_report(suite, compared, calibrated, device="cpu", device_name=NAME)
    read_back: dict[str, Any] = json.loads(json.dumps(report, allow_nan=False))
    return read_back


def test_slow_times_are_told_apart(tmp_path: Path) -> None:
    """At the calibrated speed the error is that of the machine; over all steps it shows the slowness."""
    fill(tmp_path)
    backend = FakeBackend(folder=tmp_path, slower=1.1, noise=0.0, slow_frac=0.4)
    report = report_of(tmp_path, backend, probed_profiles(tmp_path))
    for row in [*report["configurations"], *report["cross"]["configurations"]]:
        assert row["tpot_error_frac"] == pytest.approx(1 / 1.1 - 1, abs=1e-6)
        assert row["tpot_error_all_frac"] < 1 / 1.1 - 1 - 0.1
        assert 0.2 < row["steady_frac"] < 0.9
    errors = report["summary"]["all"]
    assert errors["tpot_error_median_frac"] == pytest.approx(1 - 1 / 1.1, abs=1e-6)
    assert errors["tpot_error_all_median_frac"] > 1 - 1 / 1.1 + 0.1
    assert 0.5 < errors["steady_frac"] < 0.7
    assert [profile["speed_probe_s"] for profile in report["profiles"]] == [1e-4, 1e-4]
    page = report_page(report)
    assert "Error, steps at the calibrated speed" in page
    assert "Error of TPOT, all steps" in page
    assert "takes every step" not in page


def test_without_a_reference_every_step_counts(tmp_path: Path) -> None:
    """Probes alone tell nothing: no further rounds, and the slowness is in both errors."""
    fill(tmp_path)
    backend = FakeBackend(folder=tmp_path, slower=1.0, noise=0.0, slow_frac=0.5)
    report = report_of(tmp_path, backend, profiles(tmp_path))
    for row in report["configurations"]:
        assert row["steady_frac"] == 1
        assert row["tpot_error_frac"] < -0.1
        assert len(row["spread"]["tpot_s"]) == 3
    assert "takes every step" in report_page(report)


def test_further_rounds_are_taken(tmp_path: Path) -> None:
    """Where hardly a step is steady, up to twice the repeats; progress says so, and a later call finds them all."""
    suite = read_suite(fill(tmp_path), trace_folder=tmp_path / "out" / TRACES)
    told: list[tuple[int, int, str]] = []
    first = FakeBackend(folder=tmp_path, slow_frac=0.99, stop_at=45)
    calibrated = probed_profiles(tmp_path)

    def progress(done: int, total: int, name: str) -> None:
        told.append((done, total, name))

    with pytest.raises(KeyboardInterrupt):
        validate(suite, calibrated, first, tmp_path / "out", progress=progress)
    compared = validate(suite, calibrated, FakeBackend(folder=tmp_path, slow_frac=1.0), tmp_path / "out")
    assert [len(item.replays) for item in compared] == [6] * 9
    assert len(list((tmp_path / "out" / REPLAYS).rglob("*.json"))) == 54
    further = [entry for entry in told if "too few steps at the calibrated speed" in entry[2]]
    assert told[0][:2] == (0, 27)
    assert further[0][:2] == (15, 32)
    assert further[0][2].endswith(" (round 4: too few steps at the calibrated speed)")
    assert all(done < total for done, total, _ in told)
    third = FakeBackend(folder=tmp_path)
    validate(suite, calibrated, third, tmp_path / "out")
    assert third.log == []


def test_a_machine_never_as_fast_is_reported_as_such(tmp_path: Path) -> None:
    """No figure is made up: a dash for the error at the calibrated speed, and the other one stands."""
    fill(tmp_path)
    backend = FakeBackend(folder=tmp_path, slower=1.0, noise=0.0, slow_frac=1.0)
    report = report_of(tmp_path, backend, probed_profiles(tmp_path))
    assert {row["tpot_error_frac"] for row in report["configurations"]} == {None}
    errors = report["summary"]["all"]
    assert (errors["configurations"], errors["configurations_steady"], errors["steady_frac"]) == (9, 0, 0)
    assert errors["tpot_error_median_frac"] is None
    assert errors["tpot_error_all_median_frac"] == pytest.approx(0.5, abs=1e-6)
    assert "over 0 of 9 configurations" in report_page(report)


@pytest.mark.parametrize(
    ("fetches", "cpu_experts", "workers", "cores", "is_crowded"),
    [(1, 1, 1, 2, True), (1, 0, 1, 2, False), (0, 1, 1, 2, False), (1, 1, 1, 3, False), (0, 1, 3, 3, True)],
)
def test_a_run_is_crowded_by_the_threads_that_are_busy(
    tmp_path: Path, fetches: int, cpu_experts: int, workers: int, cores: int, is_crowded: bool
) -> None:
    """One that computes, one that copies if anything is copied, and the workers if they have anything to compute."""
    fill(tmp_path)
    calibrated = profiles(tmp_path)[0]
    machine = calibrated.profile
    figure = replace(machine.cpu.cores, value=workers)
    machine = replace(
        machine,
        cpu=replace(machine.cpu, cores=replace(figure, value=cores)),
        runtime=replace(machine.runtime, cpu_workers=figure),
    )
    summary = {"h2d_demand_bytes": 0, "h2d_prefetch_bytes": fetches, "cpu_experts": cpu_experts}
    simulation = Simulation(profile=replace(calibrated, profile=machine), summary=summary, steps=[])
    assert simulation.is_crowded == is_crowded
