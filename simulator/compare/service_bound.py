"""The KV cache of the bound whose experts are all resident, where a scenario is a service.

Its experts may be more than the GPU's memory holds, which would leave KV cache nothing. It is given as much as the other
systems have: what the scenario's own cache leaves, or, where expert slots make room for KV cache, all that both share.
"""

from collections.abc import Mapping

from hardware_profiles.errors import InputError
from simulator.compare.choose import ON_DEMAND, values_for
from simulator.inputs import resolve_inputs
from simulator.prepare import prepare
from simulator.scenario import Values, build_scenario
from simulator.serving.choice import SchedulerChoice
from simulator.serving.service import kv_bytes_at_start


def settings_of_bound(values: Values, source: str) -> Values:
    """Return what of a scenario's plain values the bound has otherwise than other systems: nothing in a closed batch.

    Where on_demand has no room for KV cache either, that is nothing too: the runs tell what is wrong.
    """
    scheduler = values.get("scheduler") or {}
    if values.get("workload") is None or not isinstance(scheduler, Mapping):
        return {}
    try:
        scenario = build_scenario(values_for(ON_DEMAND, values), source)
        choice = scenario.scheduler or SchedulerChoice()
        if choice.kv_cache is not None and choice.memory == "fixed":
            return {}
        inputs = resolve_inputs(scenario, source)
        ready = prepare(scenario, inputs, source)
        num_bytes = kv_bytes_at_start(choice, inputs, ready, source)
        if choice.memory == "dynamic":
            num_bytes = ready.budget.expert_cache_bytes + ready.budget.kv_cache_bytes
    except InputError:
        return {}
    return {"scheduler": {**scheduler, "memory": "fixed", "kv_cache": f"{num_bytes} B"}}
