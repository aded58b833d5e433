"""Help is there for every command, and cheap: what a command needs is imported when it is called."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.cli import app
from tests.cli.conftest import CommandLine

REPOSITORY = Path(__file__).parents[2]
HEAVY = ("numpy", "pydantic", "rich", "simpy", "safetensors", "torch", "transformers", "scipy", "pandas", "yaml")


def _commands() -> list[tuple[str, ...]]:
    """Return every command that is there, groups and their members."""
    found: list[tuple[str, ...]] = [()]
    for name in app:
        places = (f"simulator.cli.{name}", f"validation.cli.{name}")
        if name.startswith("-") or not any(map(importlib.util.find_spec, places)):
            continue
        found.append((name,))
        found += [(name, below) for below in app[name] if not below.startswith("-")]
    return found


COMMANDS = _commands()


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    """`moesim --help` pays for cyclopts alone."""
    code = f"import sys, simulator.cli; print([name for name in {HEAVY} if name in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == "[]\n"


def test_commands_are_found() -> None:
    """The tests below look at something."""
    assert {(), ("run",), ("models",), ("hardware",), ("hardware", "show")} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_gives_an_example(command: tuple[str, ...], moesim: CommandLine) -> None:
    """`--help` prints usage and a line that can be typed, within 80 columns, and ends with 0."""
    outcome = moesim(*command, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    usage, _, text = outcome.out.partition("\n")
    words = " ".join(["moesim", *command])
    assert usage.startswith(f"Usage: {words}")
    assert re.search(rf"\b{' '.join(['moesim', *(command or ('run',))])}\b", text), "an example can be typed"
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_every_option_of_run_is_explained(moesim: CommandLine) -> None:
    """An option without a word of help would stand alone on its line."""
    shown = moesim("run", "--help").out
    options = re.findall(r"^│ (--[a-z-]+)(?: [A-Z]+(?:\.\.\.)?)? +(\S.*) +│$", shown, flags=re.MULTILINE)
    parameters = [name for name in app["run"].assemble_argument_collection() if name.name.startswith("--")]
    assert {name for name, _ in options} == {name.name for name in parameters}
    assert {"--trace", "--set", "--overwrite"} <= {name for name, _ in options}


def test_version(moesim: CommandLine) -> None:
    """`--version` is that of the distribution."""
    from importlib.metadata import version

    assert moesim("--version").out == f"{version('moesim')}\n"
