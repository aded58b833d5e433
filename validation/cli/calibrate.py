"""`moesim calibrate`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter
from rich.console import Console

from hardware_profiles.errors import InputError
from hardware_profiles.figures import describe, resolved_figures
from hardware_profiles.quantity import Dimension
from simulator.cli.options import WholeNumber
from validation.cli.quantities import parse_positive, parse_time

if TYPE_CHECKING:
    from validation.calibrate.run import Outcome, Progress

_WHAT = Group.create_ordered("What to measure")
_EFFORT = Group.create_ordered("How far and how long")
_OUTPUT = Group.create_ordered("What comes out")
_NEEDED = ("torch", "transformers", "scipy")
_FEW = 0.5
_SHOWN = ("link.h2d.bandwidth", "link.h2d.latency", "runtime.per_layer")


def calibrate(
    *,
    device: Annotated[str, Parameter(group=_WHAT)],
    model: Annotated[str, Parameter(group=_WHAT)],
    out: Annotated[Path, Parameter(group=_OUTPUT)],
    page: Annotated[Path | None, Parameter(group=_OUTPUT)] = None,
    dtype: Annotated[str, Parameter(group=_WHAT)] = "auto",
    threads: Annotated[WholeNumber, Parameter(group=_WHAT)] = 1,
    cpu_workers: Annotated[WholeNumber, Parameter(group=_WHAT)] = 1,
    max_tokens: Annotated[WholeNumber, Parameter(group=_EFFORT)] = 256,
    max_batch: Annotated[WholeNumber, Parameter(group=_EFFORT)] = 32,
    budget: Annotated[str, Parameter(group=_EFFORT)] = "2 min",
    patience: Annotated[str, Parameter(group=_EFFORT)] = "0 s",
    throttle: Annotated[str, Parameter(group=_EFFORT)] = "1 GB/s",
    seed: Annotated[WholeNumber, Parameter(group=_EFFORT)] = 0,
    at_speed_of: Annotated[Path | None, Parameter(group=_EFFORT)] = None,
    overwrite: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
    fresh: Annotated[bool, Parameter(group=_OUTPUT, negative="", show_default=False)] = False,
) -> None:
    """Measure this machine for a model, and write a hardware profile of it.

    Leave the machine alone meanwhile. One that was killed goes on where it was: give the same command again.

    Parameters
    ----------
    device
        Where the model computes: cpu, or cuda:N.
    model
        A shape that ships (lab-wide), a config.json (random weights), a checkpoint's folder, or a hub id.
    out
        The profile, a .yaml file. All samples go beside it, to a .samples.json.
    page
        An HTML page of what was measured and how well it was fitted.
    dtype
        auto (float32 on the CPU, bfloat16 on CUDA), float32, bfloat16 or float16.
    threads
        Threads that compute where the device is the CPU.
    cpu_workers
        Workers that compute experts on the host's processor.
    max_tokens
        The most tokens of an expert, and of a prefill.
    max_batch
        The most sequences that decode together.
    budget
        Time for all measurements, such as "90 s" or "3 min"; building the model comes on top.
    patience
        How long to wait, in all and on top of the budget, while the machine is slower or faster than when the calibration
        began: for shared machines, such as "10 min".
    throttle
        The bandwidth at which the throttled link of the CPU device is checked.
    seed
        Seed of weights and of the order of measurements.
    at_speed_of
        A profile of this machine: samples count at the speed at which that was measured (cpu.speed_probe), so that both
        are of the same machine. By default the undisturbed speed, if it is seen often enough at the beginning.
    overwrite
        Replace an earlier profile and page; its samples are used all the same, unless --fresh is given.
    fresh
        Measure everything anew.
    """
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        raise InputError("calibrate", f"needs {', '.join(missing)}, which is not installed: pip install 'moesim[live]'")
    budget_s = parse_time("--budget", budget, least_s=1)
    patience_s = parse_time("--patience", patience)
    bandwidth = parse_positive("--throttle", throttle, Dimension.BYTES_PER_S)
    from validation.calibrate.run import CalibrationOptions
    from validation.calibrate.run import calibrate as measure

    options = CalibrationOptions(
        device=device,
        model=model,
        dtype=dtype,
        threads=threads,
        cpu_workers=cpu_workers,
        max_tokens=max_tokens,
        max_batch=max_batch,
        budget_s=budget_s,
        throttle_bytes_per_s=bandwidth,
        patience_s=patience_s,
        seed=seed,
        at_speed_of=at_speed_of,
    )
    with _progress() as progress:
        outcome = measure(options, out, page=page, overwrite=overwrite, fresh=fresh, progress=progress)
    _tell(outcome, out, page)


def _tell(outcome: "Outcome", out: Path, page: Path | None) -> None:
    from validation.calibrate.reference import speed_in_words

    console = Console()
    facts, taken = outcome.facts, outcome.samples.taken
    lines = [f"{facts.device_name}, {facts.model} in {facts.dtype}"]
    earlier = len(taken) - outcome.num_measured
    if earlier:
        began = min(one.began for one in taken.values())
        lines.append(f"{earlier} of {len(taken)} measurements were there already, since {began}; --fresh measures anew")
    known = dict(resolved_figures(outcome.calibrated.profile))
    lines += [
        f"{path}: {describe(figure)}"
        for path, figure in known.items()
        if path in _SHOWN or path.startswith("durations.")
    ]
    lines += [
        f"{fitted.path}: fitted within {fitted.fit.largest_relative_residual:.1%}" for fitted in outcome.calibrated.fits
    ]
    in_pass = outcome.calibrated.expert_in_pass_frac
    lines.append(f"check: experts of one token took {in_pass:.1%} of durations.expert within whole passes")
    reference, counted_frac = outcome.samples.reference, outcome.calibrated.counted_frac
    if reference is not None and counted_frac is not None:
        lines.append(f"machine speed: {speed_in_words(reference.speed_ns, counted_frac)}")
        if counted_frac < _FEW:
            sys.stderr.write(
                f"moesim: warning: only {counted_frac:.0%} of the samples were taken at the speed at which the calibration "
                "began; calibrate again with --fresh when the machine is quieter, or with more --patience\n"
            )
    for warning in outcome.warnings:
        sys.stderr.write(f"moesim: warning: {warning}\n")
    lines.append(f"profile: {out}")
    if page is not None:
        lines.append(f"page: {page}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _progress() -> "Iterator[Progress]":
    """Show what is measured, and the time that is left, on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _what, _share: None
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("calibrating", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
