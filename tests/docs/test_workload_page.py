"""docs/workload.md names every key, process and format, and its examples are workloads."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from hardware_profiles.yaml_file import parse_yaml
from simulator.workload.choice import (
    ClosedLoopChoice,
    FileChoice,
    GammaChoice,
    OnOffChoice,
    PoissonChoice,
    RampChoice,
    TokensChoice,
    read_choice,
    workload_keys,
)
from simulator.workload.requests import FORMATS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "workload.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
EXAMPLES = [block for block in BLOCKS if not block.startswith("replicas:")]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_workload(example: str) -> None:
    """It validates."""
    values = parse_yaml(example, "docs/workload.md")
    assert isinstance(values, dict)
    read_choice(values, "docs/workload.md")


def test_every_key_process_and_format_is_there() -> None:
    """As code, in a table or in the text."""
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]*)`", PAGE))))
    processes = (PoissonChoice, GammaChoice, OnOffChoice, RampChoice, ClosedLoopChoice)
    keys = {item.name for group in (*processes, FileChoice, TokensChoice) for item in fields(group)} - {"process"}
    assert {*keys, *workload_keys(), *FORMATS, "poisson", "gamma", "on_off", "ramp", "closed_loop"} - named == set()
    assert (len(EXAMPLES), len(BLOCKS)) == (3, 4)
