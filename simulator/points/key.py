"""The key of a result: the SHA-256 of all that it depends on, so that no result is taken for another's.

Why it holds what it holds is decided in docs/adr/0015.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import entry_points

from hardware_profiles.errors import InputError
from simulator.inputs import Inputs
from simulator.points.code import code_digest, moesim_digest
from simulator.points.files import Files
from simulator.scenario import PolicyChoice, Scenario, plain, with_files

_IN_PLACE = ("trace", "model", "hardware", "pcie", "hardware_set")
_MEANS_NOTHING = ("description",)


def result_key(scenario: Scenario, inputs: Inputs, files: Files) -> str:
    """Return the key of a scenario's result; where its files lie and how its policies were found do not count.

    Raises InputError for a file that cannot be read.
    """
    canonical = json.dumps(dependencies(scenario, inputs, files), sort_keys=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(canonical.encode()).hexdigest()


def dependencies(scenario: Scenario, inputs: Inputs, files: Files) -> Mapping[str, object]:
    """Return all that a result depends on: values, and digests of files. Raises InputError."""
    values = {key: value for key, value in plain(scenario).items() if key not in (*_IN_PLACE, *_MEANS_NOTHING)}
    if scenario.workload is not None:
        values["workload"] = with_files(scenario.workload, files.digest)
    if scenario.fit is not None and scenario.fit.trace is not None:
        values["fit"] = {"trace": files.digest(scenario.fit.trace)}
    return {
        "moesim": moesim_digest(),
        "scenario": values,
        "trace": files.digest(scenario.trace),
        "model": asdict(inputs.model),
        "hardware": asdict(inputs.profile),
        "code": {
            kind: digest for kind, choice in inputs.policies.items() if (digest := _code_of(kind, choice)) is not None
        },
    }


def is_repeatable(scenario: Scenario) -> bool:
    """Tell whether a run ends at the same place each time: not one that ends by the clock on the wall."""
    return scenario.stop is None or scenario.stop.wall_time is None


def _code_of(kind: str, choice: PolicyChoice) -> str | None:
    """Return the digest of a policy that is not moesim's own. Raises InputError where it cannot be found."""
    module, colon, _ = choice.name.partition(":")
    if not colon:
        plugins = entry_points(group=f"moesim.{kind}")
        if choice.name not in plugins.names:
            return None
        module = plugins[choice.name].module
    try:
        return code_digest(module)
    except Exception as error:  # whatever the packages around a user's module raise as they are imported
        raise InputError(
            "scenario", f"{kind}: {choice.name!r} cannot be imported: {error}; check module:Class"
        ) from None
