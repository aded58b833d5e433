"""The link from host to GPU: its bandwidth and its latency."""

from collections.abc import Mapping
from fractions import Fraction

from hardware_profiles.link_presets import resolve_link
from hardware_profiles.quantity import Dimension
from simulator.durations import format_duration
from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found, left_out
from simulator.explain.knobs.scaled import scaled_duration, times

BANDWIDTH, LATENCY = "link bandwidth", "link latency"
_STILL = "no expert came over the link in this run"


def with_bandwidth(baseline: Baseline, factor: Fraction) -> Mapping[str, object]:
    """Return what makes the H2D link so many times as fast; stated transfer times are divided, their fixed part too."""
    stated = baseline.profile.durations.transfer
    if stated is not None:
        return {"durations.transfer": scaled_duration(stated, 1 / factor, "bytes")}
    bandwidth = resolve_link(baseline.profile.link.h2d, "link.h2d").bandwidth.value
    return {"link.h2d.bandwidth": times(bandwidth, factor, Dimension.BYTES_PER_S)}


def bandwidth_of(baseline: Baseline) -> float | None:
    """Return the link's bandwidth in bytes/s; None where the profile states how long transfers take."""
    if baseline.profile.durations.transfer is not None:
        return None
    return resolve_link(baseline.profile.link.h2d, "link.h2d").bandwidth.value


def link_bandwidth(baseline: Baseline) -> Found:
    """Half and twice the bandwidth."""
    if not baseline.moves_experts:
        return left_out(BANDWIDTH, _STILL)
    return Found(changes=[_of(baseline, Fraction(1, 2), "half"), _of(baseline, Fraction(2), "twice")])


def _of(baseline: Baseline, factor: Fraction, words: str) -> Change:
    bandwidth = bandwidth_of(baseline)
    figures = {"factor": float(factor)}
    told = ""
    if bandwidth is not None:
        figures["bandwidth_bytes_per_s"] = bandwidth * float(factor)
        told = f" ({bandwidth * float(factor) / 1e9:.4g} GB/s)"
    return Change(
        knob=BANDWIDTH,
        name=f"H2D link {words} as fast{told}",
        settings=with_bandwidth(baseline, factor),
        figures=figures,
        price="the host's memory has to keep up" if factor > 1 else "",
    )


def link_latency(baseline: Baseline) -> Found:
    """Twice the latency, and none."""
    if not baseline.moves_experts:
        return left_out(LATENCY, _STILL)
    if baseline.profile.durations.transfer is not None:
        return left_out(
            LATENCY, "durations.transfer says how long a whole transfer takes, its latency is not known apart"
        )
    latency_s = resolve_link(baseline.profile.link.h2d, "link.h2d").latency.value
    if not latency_s:
        return left_out(LATENCY, "the link has no latency")
    path = "link.h2d.latency"
    twice = Change(
        knob=LATENCY,
        name=f"latency of a transfer doubled ({format_duration(2 * latency_s)})",
        settings={path: times(latency_s, Fraction(2), Dimension.SECONDS)},
        figures={"factor": 2.0, "latency_s": 2 * latency_s},
    )
    none = Change(
        knob=LATENCY,
        name="no latency of transfers",
        settings={path: "0 s"},
        figures={"factor": 0.0, "latency_s": 0.0},
        is_ideal=True,
    )
    return Found(changes=[twice, none])
