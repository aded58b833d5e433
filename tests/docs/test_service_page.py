"""docs/service.md names what a service is promised and what its summary holds; the example that it runs is a scenario."""

import re
from dataclasses import fields
from pathlib import Path

from hardware_profiles.yaml_file import parse_yaml
from simulator.capacity.rate import require_scalable
from simulator.cli import app
from simulator.metrics.goodput import Slo
from simulator.scenario import build_scenario, read_scenario
from simulator.serving.choice import SloChoice
from simulator.serving.record import Record
from simulator.serving.steady import steady_state
from simulator.serving.warmup import MSER5, NONE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"`([^`]*)`", PAGE))))


def test_every_promise_is_there() -> None:
    """Each key of `slo`, which are those that goodput counts."""
    keys = {item.name for item in fields(SloChoice)}
    assert keys <= set(re.findall(r"^\| `([a-z0-9]+)` \|", PAGE, flags=re.MULTILINE))
    assert {f"{key}_ns" for key in keys} == {item.name for item in fields(Slo)}


def test_warm_up_and_what_is_settled() -> None:
    """Each way to say what is warm-up; what the page names of the summary is there."""
    assert {MSER5, NONE} <= NAMED
    steady = steady_state(Record(slos={}), {}, warmup=MSER5, end_ns=0, is_whole=True)
    warmup, latency = steady["warmup"], steady["ttft_s"]
    assert isinstance(warmup, dict)
    assert isinstance(latency, dict)
    assert {"is_settled"} <= NAMED & set(warmup)
    assert {"mean", "low", "high", "p50", "p90", "p99", "are_independent"} <= NAMED & set(latency)
    assert "backlog_growth_frac" in NAMED & set(steady)


def test_commands_and_options_are_there() -> None:
    """What the page's commands name exists, and the scenario that they run is one whose rate can be searched."""
    commands = re.findall(r"^    moesim (\w+) (\S+)(.*)$", PAGE, flags=re.MULTILINE)
    assert len(commands) == 4
    for name, file, rest in commands:
        known = {option for argument in app[name].assemble_argument_collection() for option in argument.names}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known
        values = read_scenario(ROOT / file)
        scenario = build_scenario(values, file)
        require_scalable(scenario, file)
    assert parse_yaml((ROOT / "examples" / "service.yaml").read_text(encoding="utf-8"), "x")
