"""The pages of `moesim run` and `moesim plan`: the same figures as in the summary, and no more than is asked for."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.table import Table

from hardware_profiles.quantity import format_bytes
from simulator.durations import format_duration
from simulator.report import sections
from tests.cli.conftest import EARLIER, EXAMPLES, CommandLine, contents
from tests.cli.page_parts import own_length, plot_of, plots_of, texts_of

SERVICE = str(EXAMPLES / "service.yaml")
NANO = ("plan", "--model", "moesim-nano", "--context", "128", "--vram", "1100MiB")


def written(path: Path) -> str:
    """Read a page."""
    return path.read_text(encoding="utf-8")


def test_a_run_leaves_a_page_unless_told_not_to(moesim: CommandLine, place: Path) -> None:
    """Beside the summary, or alone where a file is named; the terminal says where."""
    assert "page: with/report.html" in moesim("run", "ok.yaml", "--out", "with").out
    assert "page:" not in moesim("run", "ok.yaml", "--out", "without", "--no-html").out
    assert "page: alone.html" in moesim("run", "ok.yaml", "--html", "alone.html").out
    assert set(contents(place / "with")) == set(EARLIER)
    assert set(contents(place / "without")) == set(EARLIER) - {"report.html"}
    with_links, alone = written(place / "with/report.html"), written(place / "alone.html")
    assert set(texts_of(with_links, "a")) == set(EARLIER) - {"report.html"}
    assert texts_of(alone, "a") == []
    assert plots_of(alone) == plots_of(with_links)
    moesim("run", "ok.yaml", "--out", "timed", "--timeline")
    assert 'href="timeline.json.gz"' in written(place / "timed/report.html")


def test_a_page_has_the_figures_of_the_summary(moesim: CommandLine, place: Path) -> None:
    """Plots as they are, texts as the terminal writes them."""
    shown = moesim("run", SERVICE, "--out", "out", "--set", "workload.requests=150").out
    summary = json.loads(written(place / "out/summary.json"))
    page = written(place / "out/report.html")
    cells = texts_of(page, "td")
    for text in (f"{summary['throughput_tokens_per_s']:.4g} tokens/s", format_duration(summary["ttft_s"]["p99"])):
        assert text in cells
        assert text in shown
    assert f"{summary['hits']} ({summary['hits'] / summary['accesses']:.1%})" in cells
    assert format_bytes(summary["memory"]["left_for_experts_bytes"]) in cells

    spent = {
        name: x for trace in plot_of(page, "Where the time") for name, x in zip(trace["y"], trace["x"], strict=True)
    }
    whole = sum(summary["attribution_ns"].values())
    assert sorted(spent.values()) == sorted(ns / whole for ns in summary["attribution_ns"].values() if ns)
    assert sum(spent.values()) == pytest.approx(1)

    for name in ("TTFT", "TPOT", "ITL", "E2E"):
        curve, points = plot_of(page, next(label for label in plots_of(page) if f"({name})" in label))
        found = summary[f"{name.lower()}_s"]
        assert points["text"] == [f"{one} {format_duration(found[one])}" for one in ("p50", "p90", "p99")]
        assert curve["x"] == sorted(curve["x"])
        assert points["x"] == pytest.approx([curve["x"][curve["y"].index(share)] for share in points["y"]])

    counted = dict.fromkeys(("hits", "late hits", "misses"), 0)
    for trace in plot_of(page, "Shares of hits"):
        counted[trace["name"]] = sum(int(text.split()[0].replace(",", "")) for text in trace["customdata"])
    assert counted == {"hits": summary["hits"], "late hits": summary["late_hits"], "misses": summary["misses"]}

    over_time = summary["service"]["over_time"]
    (rate,) = plot_of(page, "Throughput over time")
    assert rate["y"][:-1] == over_time["tokens_per_s"]
    running, waiting = plot_of(page, "Requests over time")
    assert (running["y"][:-1], waiting["y"][:-1]) == (over_time["running"], over_time["waiting"])

    kept = summary["service"]["classes"]["default"]
    assert f"{kept['in_slo']} of {kept['finished']} answered" in cells
    listed = texts_of(page, "li")
    assert [*summary["warnings"], *summary["assumptions"]] == listed


@pytest.mark.parametrize(
    "options",
    ["ok.yaml", "ok.yaml --batch 1 --cache-frac 0.5 --set 'durations.expert=7 us' --set cache.scope=global"],
)
def test_the_command_and_the_scenario_of_a_page_give_the_run_again(
    options: str, moesim: CommandLine, place: Path
) -> None:
    """From the folder where it was run; the scenario as a file beside the page."""
    moesim("run", *shlex.split(options), "--out", "out")
    summary = written(place / "out/summary.json")
    command, scenario = texts_of(written(place / "out/report.html"), "pre")
    words = shlex.split(command)
    assert words[0] == "moesim"
    assert moesim(*words[1:], "--json").out == summary
    assert yaml.safe_load(scenario) == yaml.safe_load(written(place / "out/scenario.yaml"))
    (place / "out/again.yaml").write_text(scenario, encoding="utf-8")
    assert moesim("run", "out/again.yaml", "--json").out == summary


def test_a_page_grows_neither_with_requests_nor_with_tokens(moesim: CommandLine, place: Path) -> None:
    """Distributions and courses stand for them; the library is the same for all."""
    lengths = []
    for requests in (200, 800):
        moesim("run", SERVICE, "--html", "page.html", "--set", f"workload.requests={requests}")
        lengths.append(own_length(written(place / "page.html")))
    assert lengths[1] < 1.25 * lengths[0] < 200_000


def test_what_a_scenario_says_is_text(moesim: CommandLine, place: Path) -> None:
    """Not a part of the page, whatever it looks like."""
    hostile = "</script><b>[red]bold</b><!--"
    workload = "{arrivals: {process: poisson, rate: 200 /s}, prompt_tokens: 8, output_tokens: 4, requests: 40"
    (place / "odd.yaml").write_text(
        f"{written(Path(SERVICE)).replace('../traces', str(EXAMPLES.parent / 'traces'))}", encoding="utf-8"
    )
    outcome = moesim(
        "run",
        "odd.yaml",
        *("--html", "page.html", "--set", f"description={json.dumps(hostile)}"),
        *("--set", f"workload={workload}, classes: {{{json.dumps(hostile)}: 1}}}}", "--set", "slo={}"),
    )
    assert outcome.code == 0, outcome.err
    page = written(place / "page.html")
    assert hostile not in page
    assert hostile in texts_of(page, "td")
    assert hostile in plot_of(page, "The mean time")[0]["y"]


@pytest.mark.parametrize(
    ("options", "heading"),
    [
        ("--set 'gpus={count: 2}'", "GPUs"),
        (
            "--set host_cache.frac=0.5 --set nvme.bandwidth='7 GB/s' --set nvme.latency='45 us'",
            "Host memory above NVMe",
        ),
        ("--set miss=drop", "What it costs the output"),
        ("--set miss=cpu", "Experts"),
    ],
)
def test_whatever_the_terminal_has_a_table_of(options: str, heading: str, moesim: CommandLine, place: Path) -> None:
    """The page has it too, with the same cells."""
    outcome = moesim(
        "run", EXAMPLES / "demo.yaml", "--max-tokens", "100", "--html", "page.html", "--json", *shlex.split(options)
    )
    assert outcome.code == 0, outcome.err
    page = written(place / "page.html")
    assert heading in texts_of(page, "h2")
    tables = [one for shown in sections(json.loads(outcome.out)).values() for one in shown if isinstance(one, Table)]
    assert any(str(table.title).startswith(heading) for table in tables)
    cells = [cell for table in tables for column in table.columns for cell in column.cells]
    on_page = texts_of(page, "td")
    assert [cell for cell in cells if cell not in on_page] == []


@pytest.mark.parametrize(("more", "has_plotly"), [((), False), (("--html", "page.html"), True)])
def test_plotly_is_there_for_a_page_alone(more: tuple[str, ...], has_plotly: bool, place: Path) -> None:
    """And of it the library for the browser alone, which is imported in little time."""
    code = (
        "import sys\nfrom simulator.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print([name for name in ('plotly', 'plotly.graph_objects') if name in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "run", "ok.yaml", *more],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stderr.splitlines()[-1] == ("['plotly']" if has_plotly else "[]")


def test_a_plan_as_a_page(moesim: CommandLine, place: Path) -> None:
    """The interval, the changes in their order, all assumptions; the command asks again."""
    assert "page: plan.html" in moesim(*NANO, "--html", "plan.html").out
    page = written(place / "plan.html")
    facts = json.loads(moesim(*NANO, "--json").out)
    _, rates = plot_of(page, "Tokens per second")
    assert rates["x"] == [speed["tokens_per_s"] for speed in facts["speeds"].values()]
    (gains,) = plot_of(page, "How many times")
    assert gains["y"] == [change["change"] for change in facts["changes"] if change["gain"] is not None]
    assert gains["x"] == [change["gain"] for change in facts["changes"] if change["gain"] is not None]
    held = {trace["name"]: trace["x"] for trace in plot_of(page, "What VRAM")}
    memory = facts["memory"]
    assert [sum(of) for of in zip(*held.values(), strict=True)] == pytest.approx(
        [memory["vram_bytes"] / 2**30, memory["ram_bytes"] / 2**30]
    )
    assert [*facts["warnings"], *facts["assumptions"]] == texts_of(page, "li")
    (command,) = texts_of(page, "pre")
    moesim(*shlex.split(command)[1:], "--html", "again.html")
    assert written(place / "again.html") == page


def test_a_plan_that_does_not_fit_is_a_page_too(moesim: CommandLine, place: Path) -> None:
    """Without speeds, with what would make it fit, or that nothing does."""
    for vram in ("10GiB", "2GiB"):
        moesim("plan", "--model", "mixtral-8x22b", "--vram", vram, "--ram", "16GiB", "--html", "plan.html")
        page = written(place / "plan.html")
        assert "Does not fit" in page
        assert len(plots_of(page)) == 1
