"""The host's processor and memory, where experts are computed there."""

from fractions import Fraction

from hardware_profiles.quantity import Dimension
from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, left_out
from simulator.explain.knobs.scaled import scaled_duration, times

SPEED = "CPU speed"
_TWICE = Fraction(2)


def cpu(baseline: Baseline) -> Found:
    """Twice the workers, each twice as fast, and twice the bandwidth of host memory."""
    if not baseline.count("cpu_experts"):
        return left_out(SPEED, f"no expert is computed by the CPU (miss: {baseline.policy('miss')})")
    profile = baseline.profile
    workers = 1 if profile.runtime.cpu_workers is None else int(profile.runtime.cpu_workers.value)
    stated = profile.durations.cpu_expert
    speed: dict[str, object]
    if stated is not None:
        speed = {"durations.cpu_expert": scaled_duration(stated, 1 / _TWICE, "tokens")}
    else:
        bandwidth = times(profile.cpu.expert_bandwidth.value, _TWICE, Dimension.BYTES_PER_S)
        speed = {"cpu.expert_bandwidth": bandwidth}
        for dtype, figure in profile.cpu.flops.items():
            speed[f"cpu.flops.{dtype}"] = times(figure.value, _TWICE, Dimension.FLOPS)
    host = times(profile.host.bandwidth.value, _TWICE, Dimension.BYTES_PER_S)
    return Found(
        changes=[
            Change(
                knob="CPU workers",
                name=f"{2 * workers} CPU workers",
                settings={"runtime.cpu_workers": f"{2 * workers} workers"},
                figures={"factor": 2.0, "cpu_workers": 2 * workers},
                price="the processor has to have the cores, each as fast as now",
            ),
            Change(knob=SPEED, name="CPU twice as fast", settings=speed, figures={"factor": 2.0}),
            Change(
                knob="host memory",
                name=f"host memory twice as fast ({host})",
                settings={"host.bandwidth": host},
                figures={"factor": 2.0, "bandwidth_bytes_per_s": 2 * profile.host.bandwidth.value},
            ),
        ]
    )
