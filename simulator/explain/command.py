"""The command that runs a scenario with some settings."""

import shlex
from collections.abc import Mapping, Sequence

from simulator.sweep.command import flow_text


def set_texts(settings: Mapping[str, object]) -> list[str]:
    """Return settings as `--set` takes them, such as `cache.experts=96`."""
    return [f"{path}={flow_text(value)}" for path, value in settings.items()]


def command_of(scenario: str, given: Sequence[str], settings: Mapping[str, object]) -> str:
    """Return the `moesim run` that gives a changed run; `given` are the `--set` that the explanation began with."""
    words = ["moesim", "run", scenario]
    for text in [*given, *set_texts(settings)]:
        words += ["--set", text]
    return shlex.join(words)
