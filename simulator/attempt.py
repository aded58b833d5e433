"""Run a scenario's plain values where one fault should not cost the results of other runs."""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from hardware_profiles.errors import InputError
from simulator.run import simulate
from simulator.scenario import Values, build_scenario
from traces.errors import TraceError

LOST = "its process died; most often memory ran out: make the run shorter, or use --jobs 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The summary of a run, or why there is none. `traceback` is there where the fault is not the input's."""

    summary: Mapping[str, object] | None
    reason: str = ""
    traceback: str = ""


def attempt(values: Values, source: str) -> Attempt:
    """Run plain values; a fault becomes part of what is returned. Raises KeyboardInterrupt where the run was interrupted."""
    try:
        summary = simulate(build_scenario(values, source), source=source).summary
    except InputError as error:
        return Attempt(summary=None, reason="; ".join(error.faults))
    except TraceError as error:
        return Attempt(summary=None, reason=str(error))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return Attempt(summary=None, reason=reason, traceback=traceback.format_exc())
    service = summary.get("service")
    if isinstance(service, Mapping) and service["stopped_by"] == "interrupted":  # a service ends early on Ctrl-C
        raise KeyboardInterrupt
    return Attempt(summary=summary)
