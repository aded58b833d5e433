"""What is explained: a scenario file, or the folder that a run has left, with the summary that it had."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.errors import InputError

_SCENARIO, _SUMMARY = "scenario.yaml", "summary.json"
_COMPARED = ("makespan_ns", "tokens", "hits", "misses")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A scenario file, and what a run of it has left; None where there was none."""

    path: Path
    summary: Mapping[str, object] | None


def find_source(path: Path) -> Source:
    """Find the scenario in a run's folder, or take the file itself. Raises InputError."""
    if not path.is_dir():
        return Source(path=path, summary=None)
    scenario = path / _SCENARIO
    if not scenario.is_file():
        raise InputError(path, f"holds no {_SCENARIO}; name a folder that `moesim run --out` wrote, or a scenario file")
    try:
        summary = json.loads((path / _SUMMARY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        summary = None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(path / _SUMMARY, f"cannot be read: {error}; run the scenario again with --overwrite") from None
    return Source(path=scenario, summary=summary if isinstance(summary, Mapping) else None)


def differences(source: Source, figures: Mapping[str, object]) -> list[str]:
    """Return a warning where a run has left other figures than it has now: its trace or machine, or moesim, have changed."""
    if source.summary is None:
        return []
    others = [name for name in _COMPARED if source.summary.get(name) != figures.get(name)]
    if not others:
        return []
    told = ", ".join(f"{name} {source.summary.get(name)} then, {figures.get(name)} now" for name in others)
    return [f"{source.path.parent} holds the results of another run ({told}); what is explained is the run of now"]
