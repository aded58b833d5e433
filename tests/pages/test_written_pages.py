"""Every page that moesim writes, in a browser: no fault, nothing asked for, and no wider than the window."""

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from simulator.cli import main
from tests.pages.browser import DESK, PHONE, Page
from validation.compare.page import report_page

ROOT = Path(__file__).parents[2]
WORKLOAD = "{arrivals: {process: poisson, rate: 2 /s}, prompt_tokens: 512, output_tokens: 128, requests: 300}"
SYSTEMS = "on_demand,oracle_eviction,oracle_prefetch,static,mixtral-offloading-paper"

Write = Callable[[Path], Path]


def of_a_trace(folder: Path) -> Path:
    """Write the statistics of the trace that ships."""
    trace = ROOT / "traces/nano/trace.safetensors"
    call("trace", "stats", trace, "--tokens", "2000", "--html", folder / "trace.html")
    return folder / "trace.html"


def of_a_workload(folder: Path) -> Path:
    """Write what is drawn for a workload."""
    call("workload", "info", WORKLOAD, "--page", folder / "workload.html")
    return folder / "workload.html"


def of_a_comparison(folder: Path) -> Path:
    """Compare some systems."""
    out = folder / "compared"
    demo = ROOT / "examples/demo.yaml"
    call("compare", demo, "--systems", SYSTEMS, "--max-tokens", "50", "--jobs", "1", "--out", out)
    return out / "compare.html"


def of_a_run(folder: Path) -> Path:
    """Run the demo, with a timeline beside the page."""
    out = folder / "run"
    call("run", ROOT / "examples/demo.yaml", "--max-tokens", "200", "--out", out, "--timeline")
    return out / "report.html"


def of_a_service(folder: Path) -> Path:
    """Run a service of several machines."""
    page = folder / "service.html"
    call("run", ROOT / "examples/replicas.yaml", "--set", "workload.requests=120", "--html", page)
    return page


def of_replications(folder: Path) -> Path:
    """Run a service three times."""
    page, service = folder / "replications.html", ROOT / "examples/service.yaml"
    call("run", service, "--set", "workload.requests=60", "--replications", "3", "--jobs", "1", "--html", page)
    return page


def of_a_plan(folder: Path) -> Path:
    """Plan for a model that fits with offloading."""
    page = folder / "plan.html"
    call("plan", "--model", "moesim-nano", "--vram", "1100MiB", "--context", "128", "--html", page)
    return page


def of_a_capacity(folder: Path) -> Path:
    """Search for the rate that a small service sustains."""
    out, service = folder / "capacity", ROOT / "examples/service.yaml"
    call("capacity", service, "--tolerance", "0.3", "--set", "workload.requests=200", "--jobs", "1", "--out", out)
    return out / "capacity.html"


def of_an_explanation(folder: Path) -> Path:
    """Explain a short run."""
    call("explain", ROOT / "examples/demo.yaml", "--max-tokens", "50", "--jobs", "1", "--out", folder / "explained")
    return folder / "explained" / "explain.html"


def of_a_validation(folder: Path) -> Path:
    """Write the page of a suite that was measured."""
    report: Mapping[str, object] = json.loads((ROOT / "validation/results/cpu.json").read_text(encoding="utf-8"))
    path = folder / "validation.html"
    path.write_text(report_page(report), encoding="utf-8")
    return path


def of_a_calibration(folder: Path) -> Path:
    """Calibrate for a small model, in little time."""
    import transformers

    page, model = folder / "calibration.html", folder / "small"
    transformers.MixtralConfig(
        architectures=["MixtralForCausalLM"],
        vocab_size=97,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=8,
        num_experts_per_tok=2,
        max_position_embeddings=1024,
    ).save_pretrained(model)
    settings = ("--device", "cpu", "--dtype", "float32", "--budget", "2 s", "--max-tokens", "16", "--max-batch", "1")
    call("calibrate", *settings, "--model", model, "--out", folder / "mine.yaml", "--page", page)
    return page


def call(*arguments: str | Path) -> None:
    """Run `moesim`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["moesim", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert not code, arguments


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Write], Path]:
    """Return a function that writes a page, once."""
    pages: dict[Write, Path] = {}

    def path_of(write: Write) -> Path:
        if write not in pages:
            pages[write] = write(tmp_path_factory.mktemp(write.__name__))
        return pages[write]

    return path_of


WRITERS = [
    of_a_trace,
    of_a_workload,
    of_a_comparison,
    of_an_explanation,
    of_a_run,
    of_a_service,
    of_replications,
    of_a_plan,
    of_a_capacity,
    of_a_validation,
]
if all(importlib.util.find_spec(package) for package in ("torch", "scipy", "transformers")):
    WRITERS.append(of_a_calibration)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (DESK, "dark"), (PHONE, "light")])
def test_a_page(page: Page, written: Callable[[Write], Path], write: Write, size: tuple[int, int], scheme: str) -> None:
    """Its plots are drawn, in the colours of the system; nothing sticks out; no text of a plot's axis is cut off."""
    page.show(written(write), size=size, scheme=scheme)
    ink = "#e6e9ef" if scheme == "dark" else "#1d2330"
    page.wait(
        "const plots=[...document.querySelectorAll('.plotly-graph-div')];"
        "return plots.length>0&&plots.every(one=>one.layout&&one.layout.font&&one.layout.font.color===arguments[0])",
        ink,
    )
    assert page.overflow_pixels() == 0
    cut_off = page.js(
        "return [...document.querySelectorAll('.js-plotly-plot')].flatMap(plot=>{"
        "const box=plot.getBoundingClientRect();"
        "return [...plot.querySelectorAll('.xtick text,.ytick text,.ytick2 text,.legendtext,.g-ytitle text,'+"
        "'.textpoint text')]"
        ".filter(one=>{const own=one.getBoundingClientRect();return own.left<box.left-2||own.right>box.right+2})"
        ".map(one=>plot.id+': '+one.textContent)})"
    )
    assert cut_off == []


def test_headings_sort(page: Page, written: Callable[[Write], Path]) -> None:
    """A comparison's table, by the speed of its systems."""
    page.show(written(of_a_comparison))
    place = "return [...document.querySelectorAll('th')].findIndex(one=>one.textContent==='tokens/s')"
    column = int(page.number(place))
    page.js("document.querySelectorAll('th button')[arguments[0]].click()", column)
    values = page.texts(f"tbody tr td:nth-child({column + 1})")
    assert [float(value) for value in values] == sorted(map(float, values), reverse=True)
    assert len(values) == len(SYSTEMS.split(",")) + 1, "and everything_resident, which is always there"


def test_a_sweep(page: Page, tmp_path: Path) -> None:
    """`moesim sweep` leaves a page of its points: the metrics of its table, and each point's command."""
    definition = {
        "scenario": str(ROOT / "examples/fixed_costs.yaml"),
        "axes": {"cache.experts": [2, 4, 6], "eviction": ["lru", "lfu"]},
    }
    (tmp_path / "sweep.yaml").write_text(json.dumps(definition), encoding="utf-8")
    call("sweep", tmp_path / "sweep.yaml", "--jobs", "1", "--out", tmp_path / "swept")
    page.show(tmp_path / "swept/points.html", fragment="m=makespan_ns")
    assert page.text("#counts") == "6 of 6 points shown."
    assert page.js("return [...document.getElementById('lines').data[0].x]") == [2, 4, 6]
    assert page.number("return document.getElementById('choose-metric').options.length") > 20
    page.redraw("document.querySelector('#rows tbody button').click()")
    table = json.loads((tmp_path / "swept/points.json").read_text(encoding="utf-8"))
    assert page.text("#command") == table["rows"][0]["command"]
    assert page.overflow_pixels() == 0


def test_a_search(page: Page, tmp_path: Path) -> None:
    """`moesim plan SPACE.yaml` leaves a page that starts with cost against latency, its limit, and the cheapest choice."""
    out = tmp_path / "plan.html"
    call("plan", ROOT / "examples/plan.yaml", "--set", "workload.requests=40", "--jobs", "1", "--html", out)
    page.show(out)
    assert page.js("return ['metric','x','y'].map(name=>document.getElementById('choose-'+name).value)") == [
        "tpot_p99_s",
        "cost_usd_per_hour",
        "tpot_p99_s",
    ]
    page.js("document.getElementById('front').scrollIntoView()")
    page.wait("return Boolean(document.getElementById('front').layout)")
    unit_s = {"(ms)": 1e-3, "(µs)": 1e-6, "(us)": 1e-6, "(s)": 1.0}
    title = str(page.js("return document.getElementById('front').layout.yaxis.title.text"))
    drawn = page.number("return document.getElementById('front').layout.shapes[0].y0")
    assert drawn * unit_s[title.split()[-1]] == pytest.approx(700e-6)
    assert "The cheapest is" in page.text("body")
    assert page.text("#command").startswith("moesim run")
    assert page.overflow_pixels() == 0
