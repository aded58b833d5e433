"""Calibrate: measure a machine for a model, keep the samples, write the profile and the page.

    open the device -> build the model -> probe the machine's speed, if it is the CPU that computes
    -> measure what is not in the samples yet -> fit -> profile -> page

The samples are written after each measurement, so that one that is killed goes on where it was, with the speed to which
it kept before.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from hardware_profiles.errors import InputError
from hardware_profiles.load import load_profile
from hardware_profiles.write import profile_yaml
from validation.calibrate.facts import Facts, identity_of, memory_before_the_model, read_facts
from validation.calibrate.measure.cpu_experts import measure_cpu_experts
from validation.calibrate.measure.experts import measure_experts
from validation.calibrate.measure.link import measure_link
from validation.calibrate.measure.machine import measure_machine, num_cores
from validation.calibrate.measure.passes import measure_passes, passes_of_one_token
from validation.calibrate.measure.waits import measure_waits
from validation.calibrate.measurement import Measurement
from validation.calibrate.page import calibration_page
from validation.calibrate.profile import Calibrated, assemble
from validation.calibrate.reference import Speed, take_reference
from validation.calibrate.robust import Effort, Point, measure_points
from validation.calibrate.samples import Samples, Taken, read_samples, samples_path, write_samples, write_text
from validation.calibrate.siblings import Sibling, siblings_of
from validation.calibrate.subject import Subject
from validation.calibrate.target import DTYPES, open_model
from validation.runtime.cores import Cores
from validation.runtime.device import open_device
from validation.runtime.patience import Patience
from validation.runtime.quiet import quiet

_LEAST_SHARE = 0.7
Progress = Callable[[str, float], None]
"""Called with what is being done and the share of the time for all that has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOptions:
    """What to measure, and for how long.

    `dtype` is `auto`, `float32`, `bfloat16` or `float16`; `threads` those that compute on the CPU device; `budget_s` is for
    all measurements, without the building of the model and without `patience_s`, for which it waits at most, in all, where
    the machine is at another speed. Samples count at the speed of the profile `at_speed_of`, if there is
    one, else at that of the machine as calibration finds it.
    """

    device: str
    model: str
    dtype: str = "auto"
    threads: int = 1
    cpu_workers: int = 1
    max_tokens: int = 256
    max_batch: int = 32
    budget_s: float = 120.0
    throttle_bytes_per_s: float = 1e9
    patience_s: float = 0.0
    seed: int = 0
    at_speed_of: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came out: the profile with its fits, the facts and samples behind it, and how many measurements are new.

    `warnings` say what could not be measured.
    """

    calibrated: Calibrated
    facts: Facts
    samples: Samples
    num_measured: int
    warnings: Sequence[str]


def calibrate(
    options: CalibrationOptions,
    out: Path,
    *,
    page: Path | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    progress: Progress = lambda _what, _share: None,
) -> Outcome:
    """Measure what is not among the samples beside `out` yet, and write the profile there.

    Raises InputError for options that cannot be, files that may not be overwritten, and samples of something else.
    """
    check_options(options, out, page, overwrite=overwrite)
    at_speed_ns = None if options.at_speed_of is None else _speed_of(options.at_speed_of)
    device = open_device(options.device)
    is_cpu = device.torch_device.type == "cpu"
    reserve_bytes = memory_before_the_model(device.torch_device)
    progress("building the model", 0.0)
    dtype = ("float32" if is_cpu else "bfloat16") if options.dtype == "auto" else options.dtype
    model_name, offloaded = open_model(options.model, device, DTYPES[dtype], options.seed)
    subject = Subject(
        offloaded=offloaded,
        device=device,
        threads=options.threads,
        cpu_workers=options.cpu_workers,
        max_tokens=options.max_tokens,
        max_batch=options.max_batch,
        seed=options.seed,
    )
    siblings, refused = siblings_of(subject)
    facts = read_facts(subject, model=model_name, dtype=dtype, reserve_bytes=reserve_bytes, siblings=siblings)
    identity = identity_of(facts, subject, {"threads": options.threads, "cpu_workers": options.cpu_workers})
    kept = samples_path(out)
    samples = Samples(identity=identity) if fresh else read_samples(kept, identity)
    measurements = all_measurements(subject, siblings, options.throttle_bytes_per_s)
    missing = [one for one in measurements if not _is_taken(one, samples)]
    with quiet(options.threads if is_cpu else None), Cores() as cores:
        if is_cpu and not samples.taken:
            progress("probing the machine's speed", 0.0)
            with passes_of_one_token(subject) as one_pass:
                samples.reference = take_reference(one_pass, cores.settle, at_speed_ns=at_speed_ns)
        patience = Patience(options.patience_s, probe_ns=cores.settle)
        speed = (
            None
            if samples.reference is None
            else Speed(
                reference_ns=samples.reference.speed_ns,
                settle=cores.settle,
                settle_all=cores.settle_all,
                patience=patience,
            )
        )
        for measurement, effort, tell in _plan(missing, measurements, options.budget_s, patience, progress):
            samples.taken[measurement.name] = _take(measurement, effort, options.seed, speed, tell)
            write_samples(samples, kept)
    progress("fitting", 1.0)
    calibrated = assemble(samples, facts, subject, name=out.stem)
    text = profile_yaml(calibrated.profile, source=out)
    if page is not None:
        write_text(page, calibration_page(calibrated, facts, samples, {one.name: one.title for one in measurements}))
    write_text(out, text)
    return Outcome(calibrated=calibrated, facts=facts, samples=samples, num_measured=len(missing), warnings=refused)


def _speed_of(path: Path) -> float:
    """Return the speed, in ns of the probe, that a profile was measured at. Raises InputError if it does not say."""
    probe = load_profile(str(path)).cpu.speed_probe
    if probe is None:
        raise InputError(
            f"--at-speed-of {path}", "does not say at what speed it was measured (cpu.speed_probe); name one that does"
        )
    return 1e9 * float(probe.value)


def all_measurements(subject: Subject, siblings: Sequence[Sibling], throttle_bytes_per_s: float) -> list[Measurement]:
    """Return every measurement of a calibration, in the order in which they are taken.

    What waits for all cores to be fast comes last: it may take all of the patience that the others have left over.
    """
    return [
        *measure_machine(subject),
        *measure_link(subject, throttle_bytes_per_s=throttle_bytes_per_s),
        *measure_experts(subject, siblings),
        *measure_passes(subject, siblings),
        *measure_waits(
            subject,
            throttle_bytes_per_s=throttle_bytes_per_s if subject.device.torch_device.type == "cpu" else None,
        ),
        *measure_cpu_experts(subject, siblings),
    ]


def check_options(options: CalibrationOptions, out: Path, page: Path | None, *, overwrite: bool) -> None:
    """Raise InputError, before anything is measured, for what could not be done in the end."""
    whole = {
        "--threads": options.threads,
        "--cpu-workers": options.cpu_workers,
        "--max-tokens": options.max_tokens,
        "--max-batch": options.max_batch,
    }
    for name, value in whole.items():
        if value < 1:
            raise InputError(name, f"is {value}; it should be 1 or more")
    for name, value in (("--threads", options.threads), ("--cpu-workers", options.cpu_workers)):
        if value > 4 * num_cores():
            raise InputError(name, f"is {value}, but this process may use {num_cores()} cores; name fewer")
    if options.dtype not in ("auto", *DTYPES):
        raise InputError("--dtype", f"is {options.dtype!r}; it should be one of auto, {', '.join(DTYPES)}")
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out {out}", "should end in .yaml, by which a profile is told from a name")
    for name, path in (("--out", out), ("--page", page)):
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{name} {path}", "is a directory; name a file in it")
        if path.exists() and not overwrite:
            raise InputError(f"{name} {path}", "is there already; name another file, or add --overwrite")
        place = next(parent for parent in (path.absolute().parent, *path.absolute().parents) if parent.exists())
        if not place.is_dir() or not os.access(place, os.W_OK):
            raise InputError(f"{name} {path}", f"cannot be written: {place} is no folder that may be written to")


def _is_taken(measurement: Measurement, samples: Samples) -> bool:
    """Tell whether the samples have this measurement, at these points."""
    taken = samples.taken.get(measurement.name)
    return taken is not None and [dict(one.at) for one in taken.series] == [dict(at) for at in measurement.grid]


def _plan(
    missing: Sequence[Measurement],
    measurements: Sequence[Measurement],
    budget_s: float,
    patience: Patience,
    progress: Progress,
) -> Iterator[tuple[Measurement, Effort, Callable[[float], None]]]:
    """Yield what is missing with its share of the time, and let it have that share of `patience`, which is extra.

    What one leaves over of either, the next ones may use. Where those before it took longer than their share, each has most
    of its own time all the same.
    """
    patience_s = patience.limit_s
    whole = sum(one.weight for one in measurements)
    left, time_left_s = sum(one.weight for one in missing), budget_s * sum(one.weight for one in missing) / whole
    total_s = time_left_s
    for measurement in missing:
        nominal_s = budget_s * measurement.weight / whole
        share_s = max(_LEAST_SHARE * nominal_s, time_left_s * measurement.weight / left)
        began_s, waited_s = time.perf_counter(), patience.spent_s
        patience.limit_s = waited_s + (patience_s - waited_s) * measurement.weight / left
        before = 1 - time_left_s / total_s

        def tell(share: float, name: str = measurement.title, before: float = before, own_s: float = share_s) -> None:
            progress(name, min(1.0, before + share * own_s / total_s))

        tell(0.0)
        yield measurement, _effort(measurement, share_s), tell
        time_left_s = max(0.0, time_left_s - (time.perf_counter() - began_s - (patience.spent_s - waited_s)))
        left -= measurement.weight


def _effort(measurement: Measurement, budget_s: float) -> Effort:
    """Return how to measure: long work until the time is spent, so that all points have been measured at the same times."""
    if measurement.is_long:
        return Effort(budget_s=budget_s, settle=0, in_turn=1, relative_error=0)
    return Effort(budget_s=budget_s, settle=1, in_turn=3)


def _take(
    measurement: Measurement, effort: Effort, seed: int, speed: Speed | None, tell: Callable[[float], None]
) -> Taken:
    if speed is not None and measurement.is_crowded:
        speed = replace(speed, waited_ns=lambda: 0)
    if speed is not None and measurement.has_workers:
        speed = replace(speed, settle=speed.settle_all, probe_ns=speed.settle_all)
    began, began_s = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    with measurement.set_up() as measure:
        points = [Point(at=at, measure=partial(measure, at)) for at in measurement.grid]
        series = measure_points(points, effort, seed=seed, speed=speed, progress=tell)
    gc.collect()
    return Taken(series=series, began=began, took_s=time.perf_counter() - began_s)
