"""What a reader of a result should know: warnings, and the figures that nobody has measured."""

from collections.abc import Mapping

from hardware_profiles.load import assumed_figures, describe, resolved_figures
from simulator.costs.stated import scalings
from simulator.inputs import Inputs
from simulator.run_view import RunView
from simulator.scenario import Scenario
from simulator.serving.record import OfClass


def warnings_of_run(scenario: Scenario, inputs: Inputs, *, knows_future: bool, is_exact: bool) -> list[str]:
    """List what the run could not honour or what limits its result."""
    warnings = []
    if knows_future:
        warnings.append("a policy of this run knows the future (an oracle): a bound, not a system")
    if scenario.batch > len(inputs.loop.sequences):
        warnings.append(
            f"batch is {scenario.batch}, but the run has {len(inputs.loop.sequences)} sequences; the batch is never full"
        )
    if not is_exact:
        warnings.append("percentiles of more than a million latencies are within 0.1 %")
    if inputs.profile.link.host_memory == "pageable":
        warnings.append(
            "host memory is pageable: what a copy through it costs is in the link's figures only if they were measured so"
        )
    num_gpus = 1 if scenario.gpus is None else scenario.gpus.count
    if num_gpus > 1:
        shares = {"runtime": inputs.profile.runtime.slowed_by_copies, "cpu": inputs.profile.cpu.slowed_by_copies}
        warnings += [
            f"{part}.slowed_by_copies of the machine is left out: with several GPUs nothing is slowed by copies"
            for part, share in shares.items()
            if share is not None
        ]
    if inputs.model.unverified:
        warnings.append(f"figures of {inputs.model.name} not verified: {'; '.join(inputs.model.unverified)}")
    return warnings


def warnings_of_service(scenario: Scenario, classes: Mapping[str, OfClass]) -> list[str]:
    """List what a service was told and could not use, and what it could not serve."""
    warnings = []
    priorities = {} if scenario.scheduler is None else scenario.scheduler.priorities
    for key, named in (("slo", scenario.slo), ("scheduler.priorities", priorities)):
        unknown = [name for name in named if name not in classes]
        if unknown and classes:
            warnings.append(
                f"{key} names {', '.join(unknown)}, and there is no request of that class; there are of "
                f"{', '.join(sorted(classes))}"
            )
    num_too_long = sum(one.refused["too_long"] for one in classes.values())
    if num_too_long:
        num_arrived = sum(one.num_arrived for one in classes.values())
        warnings.append(
            f"{num_too_long:,} of {num_arrived:,} requests were refused, as their KV cache is larger than all that there "
            "can be; a smaller expert cache, scheduler.memory: dynamic or quantisation.kv_cache would make room"
        )
    return warnings


def assumptions(inputs: Inputs, view: RunView, low_format: str | None) -> list[str]:
    """List what the result rests on and nobody has measured, times that are scaled to other weights included.

    `low_format` is that of low-precision copies, if there are any. Of power and price also what is not assumed: a board's
    limit is stated by its vendor, and is not what it draws.
    """
    listed = [f"{path} = {describe(figure)} ({figure.source})" for path, figure in assumed_figures(inputs.profile)]
    listed += [
        f"{path} = {describe(figure)}, {figure.kind}, not measured ({figure.source})"
        for path, figure in resolved_figures(inputs.profile)
        if path.startswith(("power.", "price.")) and figure.kind not in ("assumed", "measured")
    ]
    listed += [str(scaling) for scaling in scalings(inputs.model, inputs.profile.durations, low_format)]
    if view.uses_own_popularity:
        listed.append("popular experts are known beforehand: popularity is counted on the very sequences of the run")
    listed += view.assumed_of_lookahead()
    if not inputs.trace.has_gate_weights and view.is_lossy:
        listed.append("each pick of a token has the same gate mass: the trace has no gate weights")
    return listed
