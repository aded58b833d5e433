"""The run that is explained, as it is: its scenario, what that names, how large its cache is, how it came out."""

from collections.abc import Mapping
from dataclasses import dataclass

from hardware_profiles.profile import HardwareProfile
from simulator.inputs import Inputs, resolve_inputs
from simulator.model.footprint import expert_bytes
from simulator.prepare import prepare
from simulator.scenario import Scenario, build_scenario
from simulator.sizing import low_expert_bytes

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A run and what changes of it start from.

    `num_slots` is the capacity of its cache in experts, staging slots and low-precision copies included; `all_slots` is the
    capacity that holds all experts. `lookahead` says how gates ahead are known: not asked for, recorded, or stated.
    """

    values: Values
    scenario: Scenario
    inputs: Inputs
    summary: Mapping[str, object]
    num_slots: int
    all_slots: int
    expert_bytes: int
    lookahead: str

    @property
    def profile(self) -> HardwareProfile:
        """The machine, with all overrides."""
        return self.inputs.profile

    @property
    def is_service(self) -> bool:
        """Whether requests arrive."""
        return self.scenario.workload is not None

    def count(self, *names: str) -> int:
        """Return the sum of some counts of the summary."""
        return sum(value for name in names if isinstance(value := self.summary[name], int))

    @property
    def moves_experts(self) -> bool:
        """Whether anything came over the link."""
        return self.count("h2d_demand_bytes", "h2d_prefetch_bytes", "h2d_low_precision_bytes", "h2d_in_place_bytes") > 0

    def policy(self, kind: str) -> str:
        """Return the name of a policy of the run."""
        return self.inputs.policies[kind].name


def baseline_of(values: Values, summary: Mapping[str, object], source: str) -> Baseline:
    """Gather what is known of a scenario that was run. Raises InputError and TraceError as `simulator.run.simulate`."""
    scenario = build_scenario(values, source)
    inputs = resolve_inputs(scenario, source)
    ready = prepare(scenario, resolve_inputs(scenario, source), source)
    size, bytes_each, low_bytes = ready.size, expert_bytes(inputs.model), low_expert_bytes(scenario, inputs)
    low_slots = -(-size.low * low_bytes // bytes_each)
    of_low = 0.0 if scenario.low_precision is None else scenario.low_precision.frac or 0.0
    num_experts = inputs.trace.num_banks * inputs.trace.num_experts
    all_slots = num_experts + size.staging
    if of_low:
        all_slots = int((all_slots + 1) / max(0.05, 1 - of_low)) + 1
    looks = "stated" if ready.view.uses_stated_lookahead else "recorded" if ready.view.lookahead_layers else "none"
    return Baseline(
        values=values,
        scenario=scenario,
        inputs=inputs,
        summary=summary,
        num_slots=size.experts + size.staging + low_slots,
        all_slots=all_slots,
        expert_bytes=bytes_each,
        lookahead=looks,
    )
