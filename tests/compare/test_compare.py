"""A comparison: what is run on what, how systems are placed, and what becomes of those that fail."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hardware_profiles.errors import InputError
from simulator.compare.choose import REFERENCES, chosen_systems, replaced_in, values_for
from simulator.compare.facts import comparison_facts, rows_of
from simulator.compare.run import Comparison, Outcome, compare, learns
from simulator.scenario import build_scenario
from simulator.systems import read_system, system_names
from tests.cli.conftest import CommandLine
from tests.hand_made import random_routing
from tests.systems.play import load


@pytest.fixture
def values(tmp_path: Path) -> dict[str, object]:
    """Return a scenario of four sequences, with policies of its own."""
    sequences = random_routing(1, lengths=[6, 5, 7, 6], num_layers=3, num_experts=6, top_k=2)
    load_values = load(tmp_path, sequences, num_experts=6, weights=[0.7, 0.3], prompts=[2, 0, 1, 0])
    return load_values | {"cache": {"experts": 9, "scope": "global"}, "eviction": "fifo", "miss": "cpu", "seed": 3}


def test_references_come_first_and_once() -> None:
    """`all` is every system that ships; a name may be given twice."""
    assert chosen_systems("fiddler, on_demand,fiddler") == [*REFERENCES, "fiddler"]
    assert set(chosen_systems("all")) == {*REFERENCES, *system_names()}
    with pytest.raises(InputError, match="'fidler' is not known; did you mean 'fiddler'"):
        chosen_systems("fidler")


def test_policies_are_laid_aside_and_all_else_stays(values: dict[str, object]) -> None:
    """Load, machine and capacity are the scenario's; scope, staging and policies are the system's."""
    scenario = build_scenario(values_for("mixtral-offloading-paper", values | {"batch": 2, "max_tokens": 5}), "x")
    assert scenario.system == "mixtral-offloading-paper"
    assert (scenario.batch, scenario.max_tokens, scenario.seed, scenario.cache.experts) == (2, 5, 3, 9)
    assert (scenario.cache.scope, scenario.cache.staging) == ("per_layer", 4)
    assert scenario.eviction is not None
    assert scenario.eviction.name == "lru"
    assert scenario.miss is None
    assert replaced_in(values) == ["eviction", "miss", "cache.scope"]
    resident = build_scenario(values_for("everything_resident", values), "x")
    assert (resident.cache.frac, resident.cache.experts, resident.system) == (1.0, None, None)


def test_learning_systems_set_half_apart_for_all(values: dict[str, object]) -> None:
    """With one that learns among them, all run the second half of the sequences; without one, all sequences."""
    assert learns(values_for("exflow-prefetch", values))
    assert not learns(values_for("promoe", values))
    assert not learns(values_for("fiddler", values)), "popularity can be that of the run itself"
    with_learner = compare(["on_demand", "exflow-prefetch"], values, jobs=1)
    assert with_learner.values["fit"] == {"sequences": 2}
    assert "exflow-prefetch" in with_learner.notes[0]
    assert "first 2 of the 4 sequences" in with_learner.notes[0]
    tokens = [outcome.summary["tokens"] for outcome in with_learner.outcomes if outcome.summary is not None]
    assert tokens == [7 + 6, 7 + 6]
    without = compare(["on_demand", "promoe"], values, jobs=1)
    assert (without.notes, without.values) == ([], values)
    asked = compare(["exflow-prefetch"], values | {"sequences": 3}, jobs=1)
    assert asked.values["sequences"] == 2
    given = compare(["exflow-prefetch"], values | {"fit": {"sequences": 1}}, jobs=1)
    assert given.values["fit"] == {"sequences": 1}


def test_several_at_once_change_nothing(values: dict[str, object]) -> None:
    """Same inputs, same JSON, however many processes; a failure is a row, and stops nobody."""
    names = ["on_demand", "oracle_prefetch", "fiddler", "adapmoe-code"]
    small = values | {"cache": {"experts": 7}, "fit": {"sequences": 1}}
    done: list[str] = []
    several = comparison_facts(compare(names, small, jobs=2, done=done.append), "x")
    one = comparison_facts(compare(names, small, jobs=1), "x")
    assert json.dumps(several) == json.dumps(one)
    assert sorted(done) == sorted(names)
    rows = {row["system"]: row for row in rows_of(one)}
    assert rows["adapmoe-code"]["status"] == "failed"
    assert "a run needs 3" in str(rows["adapmoe-code"]["reason"])
    assert rows_of(one)[-1]["system"] == "adapmoe-code"


def test_an_unexpected_fault_is_kept_with_its_traceback(
    values: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of one system is told, and costs nobody else's result."""

    def breaks(*given: object, **named: object) -> None:
        del given, named
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("simulator.points.run.simulate", breaks)
    (outcome,) = compare(["on_demand"], values, jobs=1).outcomes
    assert (outcome.summary, outcome.reason) == (None, "ZeroDivisionError: by nothing")
    assert "Traceback" in outcome.traceback


def made_up(system: str, tpot_s: float | None) -> Outcome:
    """Return an outcome with a mean TPOT, and little else."""
    latency = {"mean": tpot_s, "p50": tpot_s, "p90": tpot_s, "p99": tpot_s}
    summary: Mapping[str, object] = {
        "tpot_s": latency,
        "ttft_s": latency,
        "itl_s": latency,
        "model": "m",
        "hardware": "h",
        "expert_bytes": 1,
        "cache": {"experts": 1, "bytes": 1, "frac": 0.5},
        "attribution_ns": {},
        "warnings": [],
    }
    return Outcome(system=system, summary=summary)


def test_place() -> None:
    """on_demand 10 s, the better oracle 6 s: 8 s is half way, 4 s is beyond the oracle, 12 s behind on demand."""
    times: Sequence[tuple[str, float]] = [
        ("on_demand", 10.0),
        ("oracle_eviction", 7.0),
        ("oracle_prefetch", 6.0),
        ("everything_resident", 1.0),
        ("promoe", 12.0),
        ("fiddler", 4.0),
        ("hobbit", 8.0),
    ]
    outcomes = [made_up(*item) for item in times]
    facts = comparison_facts(Comparison(values={}, outcomes=outcomes, notes=[]), "x")
    places = {str(row["system"]): row["place"] for row in rows_of(facts)}
    assert places == {
        "on_demand": 0.0,
        "oracle_eviction": 0.75,
        "oracle_prefetch": 1.0,
        "everything_resident": 2.25,
        "fiddler": 1.5,
        "hobbit": 0.5,
        "promoe": -0.5,
    }
    assert list(places)[4:] == ["fiddler", "hobbit", "promoe"]
    assert "of mean TPOT" in str(facts["place"])


def test_the_command(moesim: CommandLine) -> None:
    """A table with the systems and why one failed; the folder's three files; JSON alone on stdout."""
    command = ("compare", "ok.yaml", "--systems", "fiddler,promoe,adapmoe-code", "--jobs", "1")
    shown = moesim(*command, "--out", "compared")
    assert (shown.code, shown.err) == (0, "")
    assert {"on_demand", "everything_resident", "fiddler", "promoe"} <= set(shown.out.split())
    assert "adapmoe-code failed: cache: cache.experts = 6, less 6 for staging" in shown.out
    assert sorted(path.name for path in (moesim.place / "compared").iterdir()) == [
        "compare.csv",
        "compare.html",
        "compare.json",
    ]
    stored = (moesim.place / "compared" / "compare.json").read_text(encoding="utf-8")
    as_json = moesim(*command, "--json")
    assert (as_json.code, as_json.err, as_json.out) == (0, "", stored)
    with (moesim.place / "compared" / "compare.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == [row["system"] for row in json.loads(stored)["rows"]]
    assert float(rows[0]["tpot_mean_s"]) == json.loads(stored)["rows"][0]["tpot_mean_s"]
    assert moesim(*command, "--out", "compared").code == 2, "what is there is kept"
    assert moesim(*command, "--out", "compared", "--overwrite").code == 0
    assert moesim(*command, "--out", "results", "--overwrite").code == 2, "a run's results are no comparison's"


def test_the_page(moesim: CommandLine) -> None:
    """It fetches nothing, and has every system's texts, the plots and the table that sorts."""
    assert moesim("compare", "ok.yaml", "--systems", "hobbit", "--jobs", "1", "--out", "compared").code == 0
    page = (moesim.place / "compared" / "compare.html").read_text(encoding="utf-8")
    own = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["']?http""", own)
    assert not re.search(r"<script[^>]+src=", page)
    assert page.count("plotly-graph-div") >= 3
    for text in (read_system("hobbit").description, "prefers-color-scheme: dark", "oracle_prefetch", 'data-value="'):
        assert text in page


def test_energy_and_price_have_columns_where_the_machine_tells(moesim: CommandLine) -> None:
    """In the table, the CSV and the page; without them the columns of the table and the page are not there."""
    command = ("compare", "ok.yaml", "--systems", "hobbit", "--jobs", "1", "--out", "compared")
    told = ("--set", 'power.gpu={idle: "50 W", busy: "350 W"}', "--set", 'price.per_hour="0.69 USD/h"')
    silent = moesim(*command)
    assert "J/token" not in silent.out
    assert "J/token" not in (moesim.place / "compared" / "compare.html").read_text(encoding="utf-8")
    shown = moesim(*command, "--overwrite", *told)
    assert "J/token" in shown.out
    assert "USD/M out" in shown.out
    page = (moesim.place / "compared" / "compare.html").read_text(encoding="utf-8")
    assert ">J/token</button>" in page
    with (moesim.place / "compared" / "compare.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    for row in rows:
        assert float(row["energy_j"]) == pytest.approx(float(row["j_per_output_token"]) * int(row["tokens"]))
        assert 50 <= float(row["mean_power_w"]) <= 350
        hours = int(row["makespan_ns"]) / 3.6e12
        assert float(row["usd_per_million_output_tokens"]) == pytest.approx(0.69e6 * hours / int(row["tokens"]))


def test_faults_of_the_input(moesim: CommandLine) -> None:
    """Told in one message, with exit code 2: no such system, no such file, nothing that runs."""
    assert "did you mean 'hobbit'" in moesim("compare", "ok.yaml", "--systems", "hobit").err
    assert moesim("compare", "missing.yaml").code == 2
    nothing = moesim("compare", "ok.yaml", "--systems", "promoe", "--jobs", "1", "--set", "trace=missing.safetensors")
    assert (nothing.code, nothing.out) == (2, "")
    assert "no system could be run" in nothing.err
    assert moesim("compare", "ok.yaml", "--jobs", "0").code == 2


def test_systems(moesim: CommandLine) -> None:
    """All of them with a line each; one in detail; JSON."""
    listed = moesim("systems").out
    assert all(name in listed for name in system_names())
    shown = " ".join(moesim("systems", "hobbit").out.split())
    assert "arXiv 2411.01433" in shown
    assert "low_precision" in shown
    (one, many) = (json.loads(moesim("systems", *name, "--json").out) for name in (("hobbit",), ()))
    assert one == next(system for system in many if system["name"] == "hobbit")
    assert one["settings"]["eviction"] == "hobbit"
    unknown = moesim("systems", "hobit")
    assert unknown.code == 2
    assert "did you mean 'hobbit'" in unknown.err
