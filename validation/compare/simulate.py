"""Simulate a configuration of a suite with a calibrated profile. Nothing of the configuration is fitted.

The profile says how long kernels and copies take; the configuration says what is run. Where it throttles the link, the
throttle's stated bandwidth and latency are the link's.

Limits: a link throttled to another bandwidth than at calibration takes the same share of the stream's speed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.errors import InputError
from hardware_profiles.load import load_profile
from hardware_profiles.profile import Duration, DurationTable, HardwareProfile
from hardware_profiles.quantity import format_bytes
from simulator.metrics.counters import Counters
from simulator.model.footprint import expert_bytes
from simulator.run import OnStep, RunResult, simulate
from simulator.scenario import Scenario, build_scenario
from simulator.workload.step import Step
from validation.compare.suite import Configuration, SuiteModel

FORMATS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_SAME_BYTES = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedProfile:
    """A profile as calibration wrote it. `measured_on` names the suite's model that it was measured on, if that is known.

    `speed_probe_ns` is what `validation.runtime.speed.probe_ns` gave when it was measured, if the profile says so.
    """

    path: Path
    profile: HardwareProfile
    measured_on: str | None
    speed_probe_ns: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedStep:
    """A step, from the end of the one before it to its own, the output tokens that came out with it, what accesses found."""

    duration_ns: int
    num_emits: int
    hits: int
    late_hits: int
    misses: int


def read_profile(path: Path, *, measured_on: str | None, device_name: str) -> CalibratedProfile:
    """Read a calibrated profile. Raises InputError if it was measured on another device than `device_name`."""
    profile = load_profile(str(path.resolve()))
    if profile.gpu.name != device_name:
        raise InputError(
            path,
            f"gpu.name: was measured on {profile.gpu.name!r}, but the device is {device_name!r}; calibrate this one "
            "(moesim calibrate)",
        )
    probe = getattr(profile.cpu, "speed_probe", None)
    probe_ns = None if probe is None else 1e9 * float(probe.value)
    return CalibratedProfile(path=path, profile=profile, measured_on=measured_on, speed_probe_ns=probe_ns)


def scenario_of(configuration: Configuration, profile: CalibratedProfile) -> Scenario:
    """Return the scenario of a configuration on a calibrated machine. Raises InputError for what does not fit."""
    settings: dict[str, object] = {
        "link.h2d.chunk": None if configuration.chunk_bytes is None else f"{configuration.chunk_bytes} B"
    }
    if configuration.bandwidth_bytes_per_s is not None:
        source = {"kind": "assumed", "source": "stated by the configuration: the link is throttled to it"}
        settings |= {
            "durations.transfer": None,
            "link.h2d.bandwidth": {"value": f"{configuration.bandwidth_bytes_per_s!r} B/s", **source},
            "link.h2d.latency": {"value": f"{configuration.latency_s!r} s", **source},
        }
    model = configuration.model
    dtype = FORMATS[model.dtype]
    values: dict[str, object] = {
        "trace": str(configuration.trace),
        "model": model_location(model, configuration.id),
        "hardware": str(profile.path.resolve()),
        "hardware_set": settings,
        "quantisation": {"experts": dtype, "rest": dtype, "kv_cache": dtype},
        "cache": {"frac": configuration.cache_frac, **_mapping(configuration.settings.get("cache"))},
        "batch": configuration.batch,
        "sequences": configuration.sequences,
        "max_tokens": configuration.max_tokens,
        "prefill_chunk_tokens": configuration.prefill_chunk_tokens,
        "warmup_steps": configuration.warmup_steps,
        "seed": configuration.seed,
    } | {name: value for name, value in configuration.settings.items() if name != "cache"}
    return build_scenario(values, f"configuration {configuration.id}")


def simulate_configuration(
    configuration: Configuration,
    profile: CalibratedProfile,
    timeline_path: Path | None = None,
    on_step: OnStep | None = None,
) -> RunResult:
    """Simulate a configuration. Raises InputError and TraceError for what is wrong with it."""
    source = f"configuration {configuration.id}"
    result = simulate(scenario_of(configuration, profile), source=source, timeline_path=timeline_path, on_step=on_step)
    tpot = result.summary["tpot_s"]
    assert isinstance(tpot, dict)
    if tpot["mean"] is None:
        raise InputError(
            source,
            "leaves no time between two tokens of a request to measure; raise max_tokens, or lower warmup_steps",
        )
    return result


def simulate_steps(configuration: Configuration, profile: CalibratedProfile) -> tuple[RunResult, list[SimulatedStep]]:
    """Simulate a configuration and return its steps as well, warm-up included. Raises as `simulate_configuration`."""
    steps: list[SimulatedStep] = []
    last_ns, before = 0, (0, 0, 0)

    def on_step(step: Step, now_ns: int, snapshot: Callable[[], Counters]) -> None:
        nonlocal last_ns, before
        outcomes = snapshot().outcomes()
        hits, late_hits, misses = (now - then for now, then in zip(outcomes, before, strict=True))
        steps.append(
            SimulatedStep(
                duration_ns=now_ns - last_ns,
                num_emits=len(step.emits),
                hits=hits,
                late_hits=late_hits,
                misses=misses,
            )
        )
        last_ns, before = now_ns, outcomes

    return simulate_configuration(configuration, profile, on_step=on_step), steps


def warnings_of_profile(profile: CalibratedProfile, result: RunResult) -> list[str]:
    """Say where the profile was measured on weights of another size than the model's."""
    bytes_each = expert_bytes(result.model)
    measured = weights_bytes(profile.profile.durations.expert)
    if measured is None or abs(measured - bytes_each) <= _SAME_BYTES * bytes_each:
        return []
    return [
        f"{profile.path.name} was measured on experts of {format_bytes(measured)}, those of {result.model.name} have "
        f"{format_bytes(bytes_each)}: its times are scaled by bytes"
    ]


def weights_bytes(duration: Duration | None) -> float | None:
    """Return the bytes of the weights behind a measured duration, where its table says so."""
    if not isinstance(duration, DurationTable):
        return None
    weights: object = getattr(duration, "weights_bytes", None)
    return float(weights) if isinstance(weights, int | float) else None


def model_location(model: SuiteModel, source: str) -> str:
    """Return where the simulator finds a model's shape. Raises InputError for a checkpoint that is not on disk."""
    if model.config is not None:
        return model.config
    assert model.checkpoint is not None
    folder = Path(model.checkpoint)
    if (folder / "config.json").is_file():
        return str(folder / "config.json")
    from transformers.utils import cached_file

    try:
        return str(cached_file(model.checkpoint, "config.json", local_files_only=True))
    except OSError:
        raise InputError(
            source, f"checkpoint: {model.checkpoint!r} is not on disk; download it first, or name its folder"
        ) from None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
