"""docs/gpus.md: its commands run, its scenario is one, and it names what can be chosen."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from hardware_profiles.load import load_profile
from hardware_profiles.yaml_file import parse_yaml
from simulator.gpus.choice import Experts, Peers
from simulator.scenario import build_scenario

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "gpus.md").read_text(encoding="utf-8")


def test_the_example_is_a_scenario() -> None:
    """It validates, and its machine has the peers that it asks for."""
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    values = parse_yaml(example, "docs/gpus.md")
    assert isinstance(values, dict)
    scenario = build_scenario(values, "docs/gpus.md")
    assert load_profile(scenario.hardware).peers.nvlink.bandwidth is not None


def test_all_choices_are_there() -> None:
    """Homes have a table, peers a row."""
    for name in (*get_args(Experts), *get_args(Peers)):
        assert f"`{name}`" in PAGE, name


def commands() -> list[list[str]]:
    """Return the commands of the page's shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.replace("\\\n", " "), flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_work(words: list[str]) -> None:
    """Over fewer tokens; a scenario of the reader's own is the demo's."""
    words = ["examples/demo.yaml" if word == "scenario.yaml" else word for word in words]
    program = [sys.executable, "-c", "from simulator.cli import main; main()", *words, "--max-tokens", "60"]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "GPUs:" in done.stdout
