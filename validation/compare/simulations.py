"""Simulate a whole suite: with the profile of each model, and with those that were measured on the other models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hardware_profiles.errors import InputError
from validation.compare.metrics import count_of
from validation.compare.simulate import CalibratedProfile, SimulatedStep, simulate_steps, warnings_of_profile
from validation.compare.suite import Configuration, Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A run with one profile: its summary, and all its steps, warm-up included."""

    profile: CalibratedProfile
    summary: Mapping[str, object]
    steps: Sequence[SimulatedStep]

    @property
    def has_cpu_experts(self) -> bool:
        """Tell whether CPU workers compute experts."""
        return count_of(self.summary, "cpu_experts") > 0

    @property
    def is_crowded(self) -> bool:
        """Tell whether more threads are busy than a CPU device has cores: those that compute, copy, and compute experts."""
        profile, summary = self.profile.profile, self.summary
        workers = profile.runtime.cpu_workers
        num_threads = 1
        if any(count_of(summary, name) for name in ("h2d_demand_bytes", "h2d_prefetch_bytes")):
            num_threads += 1
        if self.has_cpu_experts:
            num_threads += 1 if workers is None else int(workers.value)
        return num_threads > profile.cpu.cores.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A configuration simulated with the profile of its model, and what there is to warn of.

    `crossed` are the simulations with profiles that were measured on another model, by that model's name.
    """

    configuration: Configuration
    own: Simulation
    crossed: Mapping[str, Simulation]
    warnings: Sequence[str]


def profile_of(model_name: str, profiles: Sequence[CalibratedProfile]) -> CalibratedProfile:
    """Return the profile that was measured on a model, else the one for all. Raises InputError if there is none."""
    for wanted in (model_name, None):
        for profile in profiles:
            if profile.measured_on == wanted:
                return profile
    raise InputError(
        "--profile",
        f"names no profile for {model_name}; add --profile {model_name}=PROFILE.yaml, or --profile PROFILE.yaml for all",
    )


def simulate_suite(suite: Suite, profiles: Sequence[CalibratedProfile]) -> list[Simulated]:
    """Simulate every configuration. Raises InputError and TraceError for what is wrong with one."""
    return [_simulate(configuration, profiles) for configuration in suite.configurations]


def _simulate(configuration: Configuration, profiles: Sequence[CalibratedProfile]) -> Simulated:
    profile = profile_of(configuration.model_name, profiles)
    result, steps = simulate_steps(configuration, profile)
    crossed = {
        other.measured_on: _simulation(configuration, other)
        for other in profiles
        if other.measured_on is not None and other.measured_on != configuration.model_name
    }
    return Simulated(
        configuration=configuration,
        own=Simulation(profile=profile, summary=result.summary, steps=steps),
        crossed=crossed,
        warnings=warnings_of_profile(profile, result),
    )


def _simulation(configuration: Configuration, profile: CalibratedProfile) -> Simulation:
    result, steps = simulate_steps(configuration, profile)
    return Simulation(profile=profile, summary=result.summary, steps=steps)
