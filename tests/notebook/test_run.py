"""`simulator.run`: what a program gives and gets."""

import csv
import io
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import simulator
from hardware_profiles.errors import InputError
from simulator.new_folder import csv_text
from simulator.notebook.ran import Ran
from simulator.report import render_summary, title_of
from simulator.results import request_rows
from simulator.run import simulate
from simulator.scenario import CacheChoice, PolicyChoice, build_scenario, read_scenario

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "demo.yaml"


@pytest.fixture(scope="module")
def ran() -> Ran:
    return simulator.run(DEMO, max_tokens=40, batch=2)


def test_names_stay_what_they_are() -> None:
    """Submodules of the same names do not take their place, however they are imported."""
    import simulator.run
    import simulator.sweep.file

    assert simulator.run.__module__ == simulator.sweep.__module__ == "simulator.api"
    assert {"Scenario", "run", "sweep"} <= set(dir(simulator))
    with pytest.raises(AttributeError, match="cannot be set"):
        simulator.run = None  # type: ignore[assignment]


def test_importing_fetches_nothing() -> None:
    """Neither the simulator nor pandas, until a name is used; pandas not even then."""
    told = "[name for name in ('simpy', 'pydantic', 'numpy', 'pandas') if name in sys.modules]"
    code = f"import sys, simulator\nprint({told})\nsimulator.run\nprint({told})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["[]", "['simpy', 'pydantic', 'numpy']"]


def test_a_file_a_mapping_and_a_scenario_are_the_same(ran: Ran) -> None:
    """To the last digit, with whatever of it as settings."""
    values = read_scenario(DEMO)
    expected = simulate(build_scenario(values | {"max_tokens": 40, "batch": 2}, "test")).summary
    assert ran.summary == expected
    given = {**values, "trace": Path(str(values["trace"])), "batch": np.int64(2)}
    assert simulator.run(given, max_tokens=40).summary == expected
    scenario = simulator.Scenario(
        trace=str(values["trace"]),
        model="moesim-nano",
        hardware="rtx-4090",
        cache=CacheChoice(frac=0.25),
        eviction=PolicyChoice(name="lru"),
        batch=2,
    )
    assert simulator.run(scenario, max_tokens=40).summary == expected


def test_settings_are_those_of_the_command_line() -> None:
    """Paths of fields and figures of the machine, quantities and policies; the file's mapping is left alone."""
    link = {"cache.frac": 0.5, "link.h2d.bandwidth": "1 GB/s"}
    other = simulator.run(str(DEMO), max_tokens=40, batch=2, eviction=PolicyChoice(name="lfu"), **link)
    assert other.scenario.cache.frac == 0.5
    assert other.scenario.hardware_set == {"link.h2d.bandwidth": "1 GB/s"}
    assert other.scenario.eviction == PolicyChoice(name="lfu")
    base: dict[str, object] = {**read_scenario(DEMO), "cache": {"frac": 0.25}, "max_tokens": 5}
    simulator.run(base, **{"cache.frac": 0.5})
    assert base["cache"] == {"frac": 0.25}


@pytest.mark.parametrize(
    ("given", "settings", "said"),
    [
        ("no-such.yaml", {}, "no-such.yaml"),
        (3, {}, "scenario: is int; give a file's path"),
        (DEMO, {"setting batches: is neither a key": 3}, "batches"),
        (DEMO, {"batch": "three"}, "demo.yaml with settings: batch"),
        ({"model": "moesim-nano"}, {}, "trace"),
    ],
)
def test_what_is_wrong_is_told(given: str, settings: Mapping[str, object], said: str) -> None:
    """With the file or setting at fault."""
    with pytest.raises(InputError, match=said):
        simulator.run(given, **settings)


def test_a_policy_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: Ran) -> None:
    """From a module that can be imported; one that subclasses LRU hits as LRU does."""
    (tmp_path / "own_lru.py").write_text("from simulator.eviction.lru import LRU\n\n\nclass Own(LRU):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = simulator.run(DEMO, max_tokens=40, batch=2, eviction="own_lru:Own")
    assert own.summary["hits"] == ran.summary["hits"]
    assert "own_lru:Own" in own._repr_html_()


@pytest.mark.parametrize("kind", ["requests", "layers"])
def test_frames_hold_what_the_files_hold(ran: Ran, kind: str) -> None:
    """Value by value; what is empty there is missing here."""
    pytest.importorskip("pandas")
    rows = request_rows(ran.result) if kind == "requests" else ran.result.layers
    frame = ran.to_frame(kind)  # type: ignore[arg-type]
    written = list(csv.reader(io.StringIO(csv_text(rows))))
    assert [
        list(frame.columns),
        *([("" if value != value else str(value)) for value in row] for row in _values(frame)),
    ] == (written)


def _values(frame: object) -> list[list[object]]:
    """Return a frame's values by row, missing ones as NaN."""
    kept: list[list[object]] = frame.astype(object).where(frame.notna(), float("nan")).values.tolist()  # type: ignore[attr-defined]
    return kept


def test_the_frame_of_a_summary(ran: Ran) -> None:
    """One row, so that those of several runs can be put below each other."""
    pytest.importorskip("pandas")
    frame = ran.to_frame()
    assert len(frame) == 1
    assert frame["hits"][0] == ran.summary["hits"]
    assert frame["throughput_tokens_per_s"][0] == ran.summary["throughput_tokens_per_s"]


def test_a_frame_without_pandas(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says what to install; a kind that there is not is told apart."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"needs pandas; install it with: pip install 'moesim\[pandas\]'"):
        ran.to_frame()
    with pytest.raises(InputError, match=r"'request' is not known; did you mean 'requests'"):
        ran.to_frame("request")  # type: ignore[arg-type]


@pytest.mark.parametrize("example", ["demo", "service", "replicas"])
def test_html_has_all_that_the_terminal_has(example: str) -> None:
    """Word for word, of a batch, a service and several machines."""
    settings: dict[str, object] = {"max_tokens": 40} if example == "demo" else {"workload.requests": 20}
    ran = simulator.run(ROOT / "examples" / f"{example}.yaml", **settings)
    console = Console(file=io.StringIO(), width=300, record=True)
    console.print(render_summary(ran.summary, title_of(ran.summary)))
    terminal = re.sub(r"[\u2500-\u257f]", " ", console.export_text())
    html = unescape(re.sub(r"<[^>]*>", " ", ran._repr_html_()))
    assert sorted(html.split()) == sorted(terminal.split())
    assert len(html.split()) > 100


def test_html_is_escaped(ran: Ran) -> None:
    """A name is no markup."""
    summary = {**ran.summary, "model": "<b>&", "warnings": ["<script>alert(1)</script>"]}
    html = Ran(replace(ran.result, summary=summary))._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert "&lt;script&gt;" in html
    assert "<script" not in html
