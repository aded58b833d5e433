"""Make a hardware profile of the samples of a calibration: every figure measured, its source dated.

gpu, cpu, host, link  `machine_figures`: plain copies, reads, products and transfers
durations             `duration_tables`: experts and passes, of the model and of its siblings
runtime.per_*         `duration_tables`, `wait_figures`: passes of misses against passes of hits
*.slowed_by_copies    `wait_figures`: passes beside copies against passes without
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hardware_profiles.profile import DurationTable, HardwareProfile, Runtime
from hardware_profiles.quantity import Dimension
from validation.calibrate.duration_tables import DurationTables
from validation.calibrate.evidence import Evidence, Fitted, measured
from validation.calibrate.facts import Facts
from validation.calibrate.machine_figures import MachineFigures
from validation.calibrate.measurement import medians
from validation.calibrate.samples import Samples
from validation.calibrate.subject import Subject
from validation.calibrate.wait_figures import (
    per_cpu_join,
    per_lookahead,
    per_stall,
    slowed_by_copies,
    slowed_by_cpu_experts,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A profile and the fits that it rests on.

    `expert_in_pass_frac` is what an expert of one token took within whole passes, as a share of what the profile says: a
    check, to which nothing is fitted. `counted_frac` is the share of all samples that were taken at the reference speed;
    None where the machine was not probed.
    """

    profile: HardwareProfile
    fits: Sequence[Fitted]
    expert_in_pass_frac: float
    counted_frac: float | None


def assemble(samples: Samples, facts: Facts, subject: Subject, *, name: str) -> Calibrated:
    """Make the profile of all that was measured."""
    evidence = Evidence(samples, facts)
    machine, tables = MachineFigures(evidence, facts, subject), DurationTables(evidence, facts)
    links, durations, date = machine.links(), tables.durations(), evidence.date()
    profile = HardwareProfile(
        name=name,
        description=f"{facts.device_name}, measured by moesim calibrate on {date} for {facts.model} in {facts.dtype}.",
        gpu=machine.gpu(),
        link=links,
        cpu=machine.cpu(),
        host=machine.host(),
        runtime=Runtime(
            per_layer=tables.per_layer(),
            per_stall=per_stall(evidence, facts, subject, links),
            per_cpu_join=per_cpu_join(evidence, subject, links),
            slowed_by_cpu_experts=slowed_by_cpu_experts(evidence, subject, links),
            per_lookahead=per_lookahead(evidence),
            slowed_by_copies=slowed_by_copies(evidence),
            per_step=measured(0.0, Dimension.SECONDS, evidence.source(["pass.decode"], "contained in durations.step")),
            expert_kernels="per_expert",
            cpu_workers=measured(subject.cpu_workers, Dimension.COUNT, f"as calibrated, {date}: --cpu-workers"),
        ),
        durations=durations,
    )
    singles = [one for one in evidence.series("pass.decode") if one.at["tokens"] == 1]
    assert isinstance(durations.expert, DurationTable)
    return Calibrated(
        profile=profile,
        fits=tuple(evidence.fits),
        expert_in_pass_frac=min(medians(singles, "expert")) / durations.expert.seconds[0],
        counted_frac=evidence.counted_frac() if evidence.reference is not None else None,
    )
