"""The schemas take every file that ships and refuse what moesim refuses."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.errors import InputError
from hardware_profiles.load import load_profile, profile_of
from hardware_profiles.quantity import Dimension, example_of, format_quantity, parse_quantity, quantity_pattern
from simulator.cli import app
from simulator.json_schema import SCHEMAS, json_schema
from simulator.json_schema.generate import Schema, definitions, properties
from simulator.model.spec import build_spec
from simulator.plan.search_space import read_space
from simulator.scenario import build_scenario, plain, read_scenario
from simulator.sweep.file import read_sweep
from simulator.systems import system_names
from simulator.workload.quantities import RATE_PATTERN, SPAN_PATTERN, parse_rate, parse_span_ns

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = [ROOT / "examples" / "sweep.yaml"]
PLANS = [ROOT / "examples" / "plan.yaml"]
MODELS = [*sorted((ROOT / "simulator" / "model" / "library").glob("*.yaml")), ROOT / "examples/fixed_costs_model.yaml"]
PROFILES = sorted((ROOT / "hardware_profiles" / "library").glob("*.yaml"))
SCENARIOS = [path for path in sorted((ROOT / "examples").glob("*.yaml")) if path not in (*SWEEPS, *PLANS, *MODELS)]
FILES = {"scenario": SCENARIOS, "sweep": SWEEPS, "plan": PLANS, "model": MODELS, "profile": PROFILES}
CHECKS = {kind: jsonschema.Draft202012Validator(json_schema(kind)) for kind in SCHEMAS}
RUN = {"trace": "t.safetensors", "model": "gpt-oss-20b", "hardware": "rtx-4090"}
POISSON = {"process": "poisson", "rate": "2 requests/s"}
SERVED = {"arrivals": POISSON, "prompt_tokens": 100, "output_tokens": {"mean": 50, "cv": 1}}


def _values(path: Path) -> object:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_is_one(kind: str) -> None:
    """It is a schema of the dialect that it names."""
    jsonschema.Draft202012Validator.check_schema(json_schema(kind))


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in FILES.items() for path in paths])
def test_what_ships_is_valid(kind: str, path: Path) -> None:
    """Every example, machine and model."""
    CHECKS[kind].validate(_values(path))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_resolved_scenario_is_valid(path: Path) -> None:
    """What a run writes to its folder, with every default in it."""
    CHECKS["scenario"].validate(json.loads(json.dumps(plain(build_scenario(read_scenario(path), path)))))


@pytest.mark.parametrize("system", system_names())
def test_the_settings_of_systems_are_valid(system: str) -> None:
    """By name, and written out."""
    from simulator.scenario import over_system

    CHECKS["scenario"].validate(RUN | {"system": system})
    CHECKS["scenario"].validate(dict(over_system(RUN | {"system": system}, "a test")))


@pytest.mark.parametrize(
    ("kind", "page"),
    [("scenario", "scenario"), ("scenario", "gpus"), ("scenario", "editors"), ("sweep", "sweep"), ("plan", "plan")],
)
def test_examples_of_the_guides_are_valid(kind: str, page: str) -> None:
    """Each YAML block with a trace, or with axes."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        CHECKS[kind].validate(yaml.safe_load(block))


def test_examples_of_workloads_are_valid() -> None:
    """Files, processes, and several merged."""
    text = (ROOT / "docs" / "workload.md").read_text(encoding="utf-8")
    *blocks, last = re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        CHECKS["scenario"].validate(RUN | {"workload": yaml.safe_load(block)})
    CHECKS["scenario"].validate(RUN | {"workload": SERVED} | yaml.safe_load(last))


@pytest.mark.parametrize(
    "change",
    [
        {"cach": {"frac": 0.5}},
        {"cache": {"frac": 1.5}},
        {"cache": {"frac": 0}},
        {"cache": {"bytes": "6 apples"}},
        {"cache": {"bytes": 6}},
        {"cache": {"scope": "everywhere"}},
        {"cache": 0.25},
        {"system": "fidler"},
        {"batch": 0},
        {"eviction": {"parameters": {"half_life": 3}}},
        {"eviction": {"name": "lru", "weights": [1, 2]}},
        {"tiles": {"overhead": "2 us"}},
        {"tiles": {"count": 2, "overhead": "2 GB"}},
        {"lookahead": {"recall": [1.5]}},
        {"workload": "requests.csv"},
        {"workload": {"arrivals": {"process": "poisson"}}},
        {"workload": {"arrivals": {"process": "poisson", "rate": 2}}},
        {"workload": SERVED | {"arrivals": POISSON | {"process": "poison"}}},
        {"workload": SERVED, "slo": {"default": {"ttft": "2"}}},
        {"workload": SERVED, "stop": {"time": "1 fortnight"}},
        {"workload": SERVED, "warmup": "long"},
        {"gpus": {"count": 65}},
        {"trace": None},
    ],
)
def test_a_wrong_scenario_is_refused_by_both(change: dict[str, object]) -> None:
    """By the schema, and by what reads the file."""
    assert CHECKS["scenario"].is_valid(RUN)
    values = RUN | change
    assert not CHECKS["scenario"].is_valid(values)
    with pytest.raises(InputError):
        build_scenario(values, "a test")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gpu.memory", "24 GiB"),
        ("gpu.memory.value", "24"),
        ("gpu.memory.value", "24 GB/s"),
        ("gpu.memory.kind", "guessed"),
        ("gpu.memory.source", " "),
        ("link.h2d.preset", "gen9x16"),
        ("link.host_memory", "swapped"),
        ("durations", {"expert": {"constant": "8 us", "kind": "assumed"}}),
        ("durations", {"expert": {"bytes": ["1 MB"], "time": ["8 us"], "kind": "assumed", "source": "a test"}}),
        ("gpu.colour", "green"),
        ("runtime", None),
    ],
)
def test_a_wrong_profile_is_refused_by_both(path: str, value: object) -> None:
    """By the schema, and by what reads the file."""
    values = _values(PROFILES[0])
    assert isinstance(values, dict)
    profile_of(values, "a test")
    changed = deepcopy(values)
    *groups, last = path.split(".")
    here = changed
    for group in groups:
        here = here[group]
    here[last] = value
    assert not CHECKS["profile"].is_valid(changed)
    with pytest.raises(InputError):
        profile_of(changed, "a test")


@pytest.mark.parametrize(
    "change", [{"hidden_size": 0}, {"top_k": "4"}, {"experts": 8}, {"attention_pattern": ["half"]}, {"name": ""}]
)
def test_a_wrong_model_is_refused_by_both(change: dict[str, object]) -> None:
    """By the schema, and by what reads the file."""
    values = _values(MODELS[0])
    assert isinstance(values, dict)
    assert not CHECKS["model"].is_valid(values | change)
    with pytest.raises(InputError):
        build_spec(values | change, "a test")


@pytest.mark.parametrize(
    "change",
    [
        {"axes": {"batch": 4}},
        {"axes": {"batch": []}},
        {"axes": {"batch": {"from": 1}}},
        {"axes": {"batch": {"from": 1, "to": 8, "points": 2, "scale": "cubic"}}},
        {"zip": [{"batch": [1, 2]}]},
        {"sample": {"points": 0}},
        {"scenario": None},
        {"axis": {}},
    ],
)
def test_a_wrong_sweep_is_refused_by_both(change: dict[str, object], tmp_path: Path) -> None:
    """By the schema, and by what reads the file."""
    values = {"scenario": RUN, "axes": {"cache.frac": [0.1, 0.2]}} | change
    assert not CHECKS["sweep"].is_valid(values)
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(InputError):
        read_sweep(path)


@pytest.mark.parametrize(
    "change",
    [
        {"promise": None},
        {"promise": {}},
        {"promise": {"at_most": {"tpot_p99_s": "80 ms"}}},
        {"prices": {"batch": {"1": 0.1}}},
        {"prices": {"batch": {"1": "0.1 USD"}}},
        {"search": {"choices": 0}},
        {"search": 300},
        {"search": {"trials": 300}},
    ],
)
def test_a_wrong_space_is_refused_by_both(change: dict[str, object], tmp_path: Path) -> None:
    """By the schema, and by what reads the file."""
    values = {"scenario": RUN, "axes": {"batch": [1]}, "promise": {"most": {"tpot_p99_s": "80 ms"}}}
    assert CHECKS["plan"].is_valid(values)
    assert not CHECKS["plan"].is_valid(values | change)
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(values | change), encoding="utf-8")
    with pytest.raises(InputError):
        read_space(path)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_key_is_explained(kind: str) -> None:
    """An editor has words for each, but for a key that can have one value only, and for dotted paths of a machine."""
    schema = json_schema(kind)
    named = definitions(schema) if "$defs" in schema else {}
    for where, part in {kind: schema, **named}.items():
        if "properties" not in part or {"value", "kind", "source"} == set(properties(part)):
            continue
        for key, value in properties(part).items():
            assert "description" in value or "const" in value, (where, key)


def _accepts(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def test_a_link_that_is_not_known_is_refused_by_both() -> None:
    """By the schema, and as the machine is loaded."""
    assert CHECKS["scenario"].is_valid(RUN | {"pcie": "gen5x16"})
    assert not CHECKS["scenario"].is_valid(RUN | {"pcie": "gen9x16"})
    with pytest.raises(InputError):
        load_profile("rtx-4090", {"link.h2d.preset": "gen9x16"})


def _patterns(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "pattern" and isinstance(value, str):
                yield value
            yield from _patterns(value)
    elif isinstance(part, list):
        for item in part:
            yield from _patterns(item)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_patterns_are_those_of_editors(kind: str) -> None:
    """JavaScript, which editors run, refuses an escape without need; those that are left mean the same in both."""
    for pattern in _patterns(json_schema(kind)):
        assert set(re.findall(r"\\.", pattern)) <= {r"\s", r"\S", r"\.", r"\+", r"\x"}, pattern


def _refused(text: str, dimension: Dimension) -> str:
    """Return why the parser refuses a text; nothing if it does not."""
    try:
        parse_quantity(text, dimension)
    except ValueError as error:
        return str(error)
    return ""


@settings(derandomize=True)
@given(
    dimension=st.sampled_from(Dimension),
    text=st.from_regex(r"\A ?[+-]?[0-9_]{1,4}(\.[0-9]{0,3})?([eE][+-]?[0-9]{1,4})? {0,2}[A-Za-z/%µ ]{0,6}\Z"),
)
def test_patterns_take_what_the_parser_takes(dimension: Dimension, text: str) -> None:
    """Made-up texts, most of them wrong; a parser refuses what is out of all bounds as well."""
    refused = _refused(text, dimension)
    if "larger than anything" not in refused:
        assert _accepts(quantity_pattern(dimension), text) == (not refused)


@settings(derandomize=True)
@given(dimension=st.sampled_from(Dimension), value=st.floats(min_value=0, max_value=1e20))
def test_patterns_take_what_is_written(dimension: Dimension, value: float) -> None:
    """Whatever `format_quantity` writes, and the examples of messages."""
    assert _accepts(quantity_pattern(dimension), format_quantity(value, dimension))
    for example in re.findall(r'"([^"]+)"', example_of(dimension)):
        assert _accepts(quantity_pattern(dimension), example)


@pytest.mark.parametrize("text", ["2 requests/s", "1 request/min", "90 /min", "1.5/h", " 3 /s "])
def test_rates(text: str) -> None:
    """As the parser takes them."""
    parse_rate(text)
    assert _accepts(RATE_PATTERN, text)


@pytest.mark.parametrize("text", ["10 min", "1.5 h", " 2 h "])
def test_spans(text: str) -> None:
    """Those that are not in seconds."""
    parse_span_ns(text)
    assert _accepts(SPAN_PATTERN, text)
    assert not _accepts(SPAN_PATTERN, "10 s")


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_command_prints_what_ships(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`moesim schema KIND` prints docs/schema/KIND.schema.json; python docs/make_reference.py writes them anew."""
    app(["schema", kind], result_action="return_value")
    shipped = (ROOT / "docs" / "schema" / f"{kind}.schema.json").read_text(encoding="utf-8")
    assert capsys.readouterr().out == shipped


def test_an_unknown_kind_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(InputError, match="did you mean 'scenario'"):
        app(["schema", "scenarios"], result_action="return_value")


def test_the_schema_of_a_sweep_lets_axes_have_what_a_scenario_needs() -> None:
    """A model on an axis needs none in the scenario."""
    scenario: Schema = {"trace": "t.safetensors", "hardware": "rtx-4090"}
    CHECKS["sweep"].validate({"scenario": scenario, "axes": {"model": ["gpt-oss-20b", "gpt-oss-120b"]}})
