"""What holds of any explanation: commands repeat it, its sentences tell its figures, however it is run it is the same."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from simulator.compare.choose import values_for
from simulator.explain.bounds import settings_between
from simulator.explain.explain import explain
from simulator.explain.metrics import METRIC, gain_frac
from simulator.explain.runner import changed
from simulator.inputs import Inputs
from simulator.run import RunResult, simulate
from simulator.scenario import Scenario, build_scenario, plain
from tests.cli.conftest import CommandLine
from tests.explain.conftest import Cycle
from tests.hand_made import random_routing
from tests.systems.play import load

Facts = dict[str, Any]
_UNITS = {
    "%": 0.01,
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "B": 1.0,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
    "GB/s": 1e9,
    "TB/s": 1e12,
    "TFLOP/s": 1e12,
    "PFLOP/s": 1e15,
}
_NUMBER = re.compile(r"(?<![\w.])(\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?)(%| [A-Za-z]+(?:/s)?)?")


@pytest.fixture
def values(tmp_path: Path) -> dict[str, object]:
    """Return a scenario of four sequences with policies and a capacity of its own."""
    sequences = random_routing(1, lengths=[9, 8, 10, 9], num_layers=3, num_experts=6, top_k=2)
    loaded = load(tmp_path, sequences, num_experts=6, weights=[0.7, 0.3], prompts=[2, 0, 1, 0])
    return loaded | {"cache": {"experts": 9}, "prefetch": "gate_lookahead", "seed": 3, "batch": 2}


def service_values(values: Mapping[str, object], *, rate: str = "60 /s") -> dict[str, object]:
    """Return the scenario as a service that misses some of its objectives."""
    kept = {key: value for key, value in values.items() if key not in ("batch", "prefetch")}
    return kept | {
        "workload": {
            "arrivals": {"process": "poisson", "rate": rate},
            "prompt_tokens": 3,
            "output_tokens": 4,
            "requests": 14,
        },
        "scheduler": {"max_batch": 2},
        "slo": {"default": {"ttft": "14 ms", "tpot": "12 ms"}},
    }


def numbers_in(value: object) -> Iterator[float]:
    """Yield all numbers of plain values."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from numbers_in(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from numbers_in(inner)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def _tells(text: str, unit: str, figures: Sequence[float]) -> bool:
    """Whether a number with its unit is one of the figures, rounded as it is written."""
    scale = _UNITS.get(unit.strip(), 1.0)
    digits = text.replace(",", "")
    decimals = len(digits.partition(".")[2]) if "e" not in digits else 0
    half = 0.5 * 10**-decimals * scale * 1.0001
    written = float(digits)
    wide = max(half, 5e-4 * abs(written) * scale) if decimals == 0 and written >= 1000 else half
    return any(abs(abs(figure) - written * scale) <= wide for figure in figures)


def test_sentences_tell_nothing_but_the_figures(values: dict[str, object]) -> None:
    """Each number of a sentence is one of its figures, and each figure stands in the rows that it tells of."""
    for scenario in (values, values | {"miss": "cpu"}, service_values(values)):
        facts: Facts = explain(scenario, scenario="x.yaml")
        told = list(numbers_in({key: value for key, value in facts.items() if key != "advice"}))
        stands = {abs(number) for number in told}
        assert len(facts["advice"]) >= 5
        for item in facts["advice"]:
            figures = list(item["figures"].values())
            assert {abs(figure) for figure in figures} <= stands, item
            for number, unit in _NUMBER.findall(item["text"]):
                assert _tells(number, unit, figures), (number, unit, item)


def test_a_number_that_nobody_has_is_seen() -> None:
    """The check above can fail."""
    assert _tells("31.2", "%", [0.3121])
    assert not _tells("31.2", "%", [0.3131])
    assert _tells("1,200", " experts", [1200.0])
    assert not _tells("2.25", " ms", [0.00235])
    assert _NUMBER.findall("H2D link: p99 50.86 GB/s, 12%") == [("50.86", " GB/s"), ("12", "%")]


def test_rows_and_their_ranks(values: dict[str, object]) -> None:
    """What helps comes first, the most helpful on top; nothing below the share is told to help.

    Changes and gains are those of the metrics that stand beside them, in pairs with the run as it is.
    """
    facts: Facts = explain(values, scenario="x.yaml", share=0.05)
    gains = [item["gain_frac"] for item in facts["advice"] if item["kind"] in ("change", "knee")]
    assert gains == sorted(gains, reverse=True)
    assert all(item["gain_frac"] >= 0.05 for item in facts["advice"] if item["kind"] == "change")
    order = {"change": 0, "knee": 0, "trade": 1, "bound": 2, "leave": 3}
    places = [order[item["kind"]] for item in facts["advice"]]
    assert places == sorted(places)
    now = facts["as_it_is"]["metrics"]
    for row in facts["sensitivities"]:
        for name, change in row["change_frac"].items():
            if change is not None:
                assert change == pytest.approx((row["metrics"][name] - now[name]) / now[name])
        assert row["gain_frac"] == pytest.approx(-row["change_frac"]["tpot_mean_s"])
    assert sum(row["frac"] for row in facts["where_the_time_went"]) == pytest.approx(1)
    assert sum(row["time_ns"] for row in facts["where_the_time_went"]) == facts["as_it_is"]["makespan_ns"]


def test_processes_change_nothing(cycle: Cycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same inputs, same JSON, with one process or two, however short the runs."""
    resident = cycle(cache=8, placement="popular")
    one = explain(resident, scenario="x.yaml", jobs=1)
    monkeypatch.setattr("simulator.explain.runner.WORTH_PROCESSES_S", 0.0)
    assert json.dumps(explain(resident, scenario="x.yaml", jobs=2)) == json.dumps(one)


def test_from_a_store_nothing_is_run_again(
    values: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same JSON, and no simulation."""
    one = explain(values, scenario="x.yaml", jobs=1, store=tmp_path / "store")

    def breaks(*given: object, **named: object) -> None:
        del given, named
        raise AssertionError("nothing should be run")

    monkeypatch.setattr("simulator.points.run.simulate", breaks)
    assert json.dumps(explain(values, scenario="x.yaml", jobs=1, store=tmp_path / "store")) == json.dumps(one)


@pytest.mark.parametrize("system", ["on_demand", "oracle_prefetch", "everything_resident"])
@pytest.mark.parametrize("own", ["none", "hobbit", "fiddler", "mixtral-offloading-code"])
def test_bounds_are_the_references_of_a_comparison(values: dict[str, object], system: str, own: str) -> None:
    """Set by `--set`, they mean what `moesim compare` runs: of a scenario, of its system, of what a run has left."""
    cache = {"experts": 12, "scope": "global", "staging": 2}
    written = values | ({"cache": cache, "miss": "cpu"} if own == "none" else {"system": own})
    for given in (written, plain(build_scenario(written, "x"))):
        wanted = values_for(system, given)
        made = changed(given, settings_between(given, wanted))
        assert build_scenario(made, "x") == build_scenario(wanted, "x")


def test_a_service_is_judged_by_its_goodput(values: dict[str, object]) -> None:
    """Requests wait, so their time is told too; oracles cannot know what will come; KV cache keeps its memory."""
    facts: Facts = explain(service_values(values), scenario="x.yaml")
    assert facts["objective"]["name"] == "goodput_requests_per_s"
    assert sum(row["frac"] for row in facts["where_requests_spent_theirs"]) == pytest.approx(1)
    assert "in the queue" in [row["words"] for row in facts["where_requests_spent_theirs"]]
    bounds = {row["bound"]: row for row in facts["bounds"]}
    assert "in a service depends on its own speed" in bounds["belady"]["reason"]
    assert bounds["everything_resident"]["gain_frac"] > 0
    batch = [row for row in facts["sensitivities"] if row["knob"] == "batch"]
    assert [row["set"] for row in batch] == [["scheduler.max_batch=1"], ["scheduler.max_batch=4"]]
    larger = next(row for row in facts["sensitivities"] if row["name"].startswith("cache") and "larger" in row["name"])
    assert any(text.startswith("gpu.memory=") for text in larger["set"])
    for row in facts["sensitivities"]:
        goodput, now = row["metrics"]["goodput_requests_per_s"], facts["as_it_is"]["metrics"]["goodput_requests_per_s"]
        assert row["gain_frac"] == gain_frac(METRIC["goodput_requests_per_s"], now, goodput)
    idle: Facts = explain(service_values(values, rate="0.2 /s"), scenario="x.yaml")
    assert idle["objective"]["name"] == "tpot_mean_s", "who keeps to all objectives is judged by TPOT"
    assert idle["as_it_is"]["work_frac"] > 0.01, "having nothing to do is not waiting"


def test_commands_repeat_their_rows(moesim: CommandLine) -> None:
    """Each command that is told gives, to the last digit, the metrics that stand beside it."""
    shown = moesim("explain", "ok.yaml", "--set", "batch=1", "--json", "--jobs", "1")
    assert (shown.code, shown.err) == (0, "")
    facts = json.loads(shown.out)
    rows = [row for row in (*facts["sensitivities"], *facts["knees"], *facts["bounds"]) if row["status"] == "ok"]
    assert len(rows) > 8
    for row in rows:
        summary = json.loads(moesim(*shlex.split(row["command"])[1:], "--json").out)
        again = {"tpot_mean_s": summary["tpot_s"]["mean"], "tpot_p99_s": summary["tpot_s"]["p99"]}
        assert again == {name: row["metrics"][name] for name in again}, row["command"]


def test_the_command_writes_a_page_and_goes_on(moesim: CommandLine) -> None:
    """A table; a folder that can be written again by the same call, and not by another; a page that fetches nothing."""
    command = ("explain", "ok.yaml", "--jobs", "1", "--out", "explained")
    shown = moesim(*command)
    assert (shown.code, shown.err) == (0, "")
    for text in ("What to do", "waiting for demand fetches", "H2D link twice as fast", "Idealised runs", "left out:"):
        assert text in shown.out
    folder = moesim.place / "explained"
    assert sorted(path.name for path in folder.iterdir()) == ["explain.html", "explain.json", "store"]
    first = (folder / "explain.json").read_bytes()
    page = (folder / "explain.html").read_text(encoding="utf-8")
    own = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?http""", own)
    assert not re.search(r"<script[^>]+src=", page)
    assert page.count("plotly-graph-div") >= 4
    for text in ("H2D link twice as fast", "durations.transfer=500 us", "Assumptions", "change of mean TPOT"):
        assert text in page
    assert moesim(*command).code == 0
    assert (folder / "explain.json").read_bytes() == first
    refused = moesim(*command, "--share", "0.2")
    assert refused.code == 2
    assert "explanation of another run" in refused.err
    assert moesim(*command, "--share", "0.2", "--overwrite").code == 0
    assert "which no explanation wrote" in moesim("explain", "ok.yaml", "--out", "notes").err


def test_a_folder_of_a_run_is_explained(moesim: CommandLine) -> None:
    """As its scenario was; one whose figures are not those of now is told so."""
    assert moesim("run", "ok.yaml", "--out", "done").code == 0
    of_run, of_file = (json.loads(moesim("explain", name, "--json", "--jobs", "1").out) for name in ("done", "ok.yaml"))
    assert of_run["as_it_is"] == of_file["as_it_is"]
    assert [row["metrics"] for row in of_run["sensitivities"]] == [row["metrics"] for row in of_file["sensitivities"]]
    assert of_run["warnings"] == of_file["warnings"]
    assert of_run["source"] == "done/scenario.yaml"
    summary = moesim.place / "done" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text(encoding="utf-8")) | {"tokens": 5}), encoding="utf-8")
    warned = json.loads(moesim("explain", "done", "--json", "--jobs", "1").out)["warnings"]
    assert "tokens 5 then, 4 now" in warned[-1]


def test_faults_of_the_input(moesim: CommandLine) -> None:
    """Told in one message, with exit code 2."""
    for arguments, told in (
        (("missing.yaml",), "missing.yaml"),
        (("notes",), "holds no scenario.yaml"),
        (("ok.yaml", "--jobs", "0"), "--jobs"),
        (("ok.yaml", "--share", "1"), "--share"),
        (("ok.yaml", "--objective", "tpot"), "tpot_mean_s"),
        (("ok.yaml", "--objective", "goodput_requests_per_s"), "the run has no goodput"),
        (("ok.yaml", "--set", "cache.experts=1"), "a run needs"),
        (("ok.yaml", "--set", "trace=gone.safetensors"), "gone.safetensors"),
    ):
        shown = moesim("explain", *arguments)
        assert (shown.code, shown.out) == (2, ""), arguments
        assert told in shown.err


def test_ctrl_c_keeps_what_is_done(moesim: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some runs somebody presses Ctrl-C: they are in the store, and a message says so."""
    count = 0

    def interrupted(scenario: Scenario, *, source: str, inputs: Inputs) -> RunResult:
        nonlocal count
        count += 1
        if count > 3:
            raise KeyboardInterrupt
        return simulate(scenario, source=source, inputs=inputs)

    monkeypatch.setattr("simulator.points.run.simulate", interrupted)
    shown = moesim("explain", "ok.yaml", "--jobs", "1", "--out", "explained")
    assert shown.code == 130
    assert "kept in explained/store/; the same command goes on" in shown.err
    assert len(list((moesim.place / "explained" / "store").rglob("*.json"))) == 3
    assert "nothing is kept" in moesim("explain", "ok.yaml", "--jobs", "1").err


def test_failed_changes_are_rows_with_their_reason(cycle: Cycle) -> None:
    """A cache too small for the policies is no end of the explanation."""
    small: Facts = explain(cycle(cache=2) | {"cache": {"experts": 3, "staging": 1}}, scenario="x.yaml")
    failed = [row for row in small["sensitivities"] if row["status"] == "failed"]
    assert [row["knob"] for row in failed] == ["cache"]
    assert "a run needs 2" in failed[0]["reason"]
