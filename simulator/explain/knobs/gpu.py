"""The GPU's bandwidth and FLOP/s, each alone and both; stated durations stand for both."""

from collections.abc import Mapping
from fractions import Fraction

from hardware_profiles.quantity import Dimension
from simulator.costs.cpu import COMPUTE_DTYPES
from simulator.explain.baseline import Baseline
from simulator.explain.knobs.change import Change, Found
from simulator.explain.knobs.scaled import scaled_duration, times
from simulator.model.spec import is_moe_layer

GPU = "GPU"
_TWICE = Fraction(2)
_STATED = {
    "expert": "tokens",
    "layer": "tokens",
    "dense_layer": "tokens",
    "context": "attended_tokens",
    "step": "tokens",
}


def gpu(baseline: Baseline) -> Found:
    """Twice as fast: bandwidth and FLOP/s, and where a roofline gives durations, each of the two alone."""
    bandwidth, flops, stated = _bandwidth(baseline), _flops(baseline), _stated(baseline)
    changes: list[Change] = []
    if uses_roofline(baseline):
        changes = [
            Change(
                knob="GPU bandwidth",
                name=f"GPU memory twice as fast ({bandwidth['gpu.bandwidth']})",
                settings=bandwidth,
                figures={"factor": 2.0, "bandwidth_bytes_per_s": 2 * baseline.profile.gpu.bandwidth.value},
            ),
            Change(
                knob="GPU FLOP/s",
                name=f"twice the GPU's FLOP/s ({next(iter(flops.values()))})",
                settings=flops,
                figures={"factor": 2.0, "flops_per_s": 2 * baseline.profile.gpu.flops[_dtype(baseline)].value},
            ),
        ]
    both = Change(
        knob=GPU,
        name="GPU twice as fast",
        settings={**bandwidth, **flops, **stated} if changes else stated,
        figures={"factor": 2.0},
    )
    return Found(changes=[*changes, both])


def _bandwidth(baseline: Baseline) -> Mapping[str, str]:
    return {"gpu.bandwidth": times(baseline.profile.gpu.bandwidth.value, _TWICE, Dimension.BYTES_PER_S)}


def _flops(baseline: Baseline) -> Mapping[str, str]:
    dtype = _dtype(baseline)
    return {f"gpu.flops.{dtype}": times(baseline.profile.gpu.flops[dtype].value, _TWICE, Dimension.FLOPS)}


def _dtype(baseline: Baseline) -> str:
    return next(dtype for dtype in COMPUTE_DTYPES if dtype in baseline.profile.gpu.flops)


def _stated(baseline: Baseline) -> Mapping[str, object]:
    """Return half of each duration that the profile states for the GPU, launches included."""
    durations = baseline.profile.durations
    return {
        f"durations.{name}": scaled_duration(stated, 1 / _TWICE, amount)
        for name, amount in _STATED.items()
        if (stated := getattr(durations, name)) is not None
    }


def uses_roofline(baseline: Baseline) -> bool:
    """Whether the machine leaves any duration of the GPU to be worked out from bandwidth and FLOP/s."""
    durations, model = baseline.profile.durations, baseline.inputs.model
    has_dense = any(not is_moe_layer(model, layer) for layer in range(model.num_layers))
    needed = (durations.expert, durations.layer, durations.step, *([durations.dense_layer] if has_dense else []))
    return None in needed
