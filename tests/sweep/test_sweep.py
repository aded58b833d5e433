"""`moesim sweep`: the table, what each row says, parts of it, and faults."""

import csv
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from simulator.sweep.metrics import flat_metrics
from tests.cli.conftest import CommandLine

Write = Callable[[str], Path]

SWEEP = """
scenario: ok.yaml
axes:
  cache.experts: [6, 9, 1]
  eviction: [lru, {name: lfu}]
zip:
  - {gpu.launch: ["5 us", "7 us"], seed: [1, 2]}
constraints: [cache.experts < 9 or seed == 1]
"""
FILES = {"points.csv", "points.json", "store"}


def table(folder: Path) -> list[dict[str, object]]:
    """Return the rows of a sweep."""
    rows: list[dict[str, object]] = json.loads((folder / "points.json").read_text(encoding="utf-8"))["rows"]
    return rows


def test_the_table(moesim: CommandLine, write: Write) -> None:
    """A row for each point that the constraints leave, with its place, its numbers, or why there are none."""
    shown = moesim("sweep", write(SWEEP), "--out", "swept", "--jobs", "1")
    assert (shown.code, shown.err) == (0, "")
    assert "10 points: 6 ok, 0 of them stored before; 4 failed" in shown.out
    assert {path.name for path in Path("swept").iterdir()} >= FILES
    rows = table(Path("swept"))
    assert [row["point"] for row in rows] == list(range(10))
    assert list(rows[0])[:7] == ["point", "cache.experts", "eviction", "gpu.launch", "seed", "status", "reason"]
    assert {row["seed"] for row in rows if row["cache.experts"] == 9} == {1}
    assert {(row["cache.experts"], row["status"]) for row in rows} == {(6, "ok"), (9, "ok"), (1, "failed")}
    assert {row["eviction"] for row in rows} == {"lru", "{name: lfu}"}
    failed = [row for row in rows if row["status"] == "failed"]
    assert all("a run needs" in str(row["reason"]) and row["makespan_ns"] is None and row["key"] for row in failed)
    with Path("swept/points.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["key"] for row in read] == [row["key"] for row in rows]
    assert [float(row["makespan_ns"] or 0) for row in read] == [row["makespan_ns"] or 0 for row in rows]


@pytest.mark.parametrize("is_inline", [False, True])
def test_the_command_of_a_row_gives_its_numbers(moesim: CommandLine, write: Write, is_inline: bool) -> None:
    """`moesim run` says the same of each point, also where the scenario stands in the sweep, and paths are on an axis."""
    text = SWEEP.replace("[6, 9, 1]", "[6, 9]") + "  # more\n"
    if is_inline:
        files = "trace: trace.safetensors, model: ./model.yaml, hardware: fixed-costs"
        text = text.replace("ok.yaml", f"{{{files}, batch: 2, cache: {{experts: 6}}}}")
    write(text.replace("axes:", "axes:\n  trace: [trace.safetensors]"))
    assert moesim("sweep", "sweep.yaml", "--out", "swept", "--jobs", "1", "--set", "max_tokens=2").code == 0
    rows = table(Path("swept"))
    assert len(rows) == 6
    for row in rows[::2]:
        words = shlex.split(str(row["command"]))
        assert words[:2] == ["moesim", "run"]
        alone = moesim(*words[1:], "--json")
        assert alone.code == 0, alone.err
        numbers = flat_metrics(json.loads(alone.out))
        assert numbers == {name: row[name] for name in numbers}
        assert numbers["tokens"] == 3, "of the 4 of the whole trace"


def test_paths_are_taken_from_the_folder_of_the_sweep(moesim: CommandLine) -> None:
    """Also when it is run from elsewhere."""
    folder = Path("below")
    folder.mkdir()
    (folder / "s.yaml").write_text(
        "scenario: {model: ../model.yaml, hardware: fixed-costs, trace: none}\n"
        "axes: {trace: [../trace.safetensors], cache.experts: [6, 9]}\n"
    )
    assert moesim("sweep", "below/s.yaml", "--out", "swept", "--jobs", "1").code == 0
    assert [row["trace"] for row in table(Path("swept"))] == ["../trace.safetensors"] * 2


def test_parts_and_the_whole(moesim: CommandLine, write: Write) -> None:
    """Parts share no point and miss none; the call without --shard runs nothing again, and writes the same bytes."""
    path = write(SWEEP.replace("[6, 9, 1]", "[6, 9]"))
    assert moesim("sweep", path, "--out", "alone", "--jobs", "1").code == 0
    counts = []
    for part in ("1/4", "2/4", "3/4", "4/4"):
        shown = moesim("sweep", path, "--out", "parts", "--jobs", "1", "--shard", part)
        assert shown.code == 0
        counts.append(shown.out.split()[0])
        assert "0 of them stored before" in shown.out
    assert counts == ["2", "2", "1", "1"]
    assert not Path("parts/points.csv").exists()
    shown = moesim("sweep", path, "--out", "parts", "--jobs", "1")
    assert "6 points: 6 ok, 6 of them stored before" in shown.out
    for file in Path("alone").glob("points.*"):
        assert (Path("parts") / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_sample(moesim: CommandLine, write: Write) -> None:
    """So many points, the same each time."""
    path = write(
        "scenario: ok.yaml\naxes: {cache.experts: {from: 6, to: 12}, link.h2d.latency: {from: 1 us, to: 9 us, scale: log}}\n"
        "sample: {points: 7, method: latin_hypercube, seed: 3}\nmetrics: [makespan_ns, tpot_*]\n"
    )
    assert moesim("sweep", path, "--out", "a", "--jobs", "1", "--set", "hardware=rtx-4090").code == 0
    rows = table(Path("a"))
    assert [row["status"] for row in rows] == ["ok"] * 7
    assert {row["cache.experts"] for row in rows} <= set(range(6, 13))
    assert len({row["link.h2d.latency"] for row in rows}) == 7
    names = [name for name in rows[0] if name.endswith(("_ns", "_s"))]
    assert names == ["makespan_ns", "tpot_mean_s", "tpot_p50_s", "tpot_p90_s", "tpot_p99_s"]


def test_parquet_has_the_same_rows(moesim: CommandLine, write: Write) -> None:
    """Whole numbers stay whole; what is missing is null."""
    parquet = pytest.importorskip("pyarrow.parquet")
    assert moesim("sweep", write(SWEEP), "--out", "swept", "--jobs", "1").code == 0
    read = parquet.read_table("swept/points.parquet").to_pylist()
    rows = table(Path("swept"))
    assert read == rows
    assert [type(row["makespan_ns"]) for row in read] == [type(row["makespan_ns"]) for row in rows]


def test_all_faults_of_a_file_at_once(moesim: CommandLine, write: Write) -> None:
    """Each with its key, and nothing is run."""
    shown = moesim(
        "sweep",
        write(
            "scenario: missing.yaml\n"
            "axis: {}\n"
            "axes: {cache.frac: {from: 0.5, to: 0.1, points: 3}, batsh: [1, 2], pcie: gen5x16, seed: [1, 2]}\n"
            "zip: [{seed: [1, 2], batch: [1]}]\n"
            "constraints: [cach.frac < 1, cache.frac.real() < 1]\n"
            "sample: {points: 0, method: sobol}\n"
        ),
        "--out",
        "swept",
    )
    assert (shown.code, shown.out) == (2, "")
    for text in (
        "scenario: missing.yaml: no such file",
        "axis: unknown key",
        "axes.cache.frac: from 0.5 is not below to 0.1",
        "axes.batsh: is neither a key of the scenario nor a figure; did you mean 'batch'",
        "axes.pcie: 'gen5x16' is no list",
        "zip[0]: lists of different lengths: seed has 2, batch has 1",
        "constraints[0]: 'cach.frac < 1': 'cach.frac' is no axis; did you mean 'cache.frac'",
        "constraints[1]: ",
        "sample.points: 0",
        "sample.method: 'sobol'",
    ):
        assert text in shown.err, text
    assert not Path("swept").exists()


def test_values_that_cannot_be_run_are_told_before(moesim: CommandLine, write: Write) -> None:
    """Of each axis, by the value; what only some points have wrong is theirs."""
    shown = moesim(
        "sweep",
        write(
            "scenario: ok.yaml\n"
            "axes: {hardware: [fixed-costs, rtx-409O], system: [on_demand, fidler], cache.experts: [6, -1], "
            "gpu.memory: [1 GiB, 1 s], model: [./model.yaml, mixtral-8x7b]}\n"
        ),
        "--out",
        "swept",
    )
    assert (shown.code, shown.out) == (2, "")
    for text in ("hardware = rtx-409O:", "did you mean 'fiddler'", "cache.experts = -1:", "gpu.memory = 1 s:"):
        assert text in shown.err, text
    assert "mixtral-8x7b" not in shown.err, "a model that the trace is not of is a point's fault"


@pytest.mark.parametrize(
    ("text", "options", "fault"),
    [
        ("scenario: ok.yaml\n", (), "axes: there are none"),
        ("scenario: ok.yaml\naxes: {seed: [1]}\nconstraints: [seed > 1]\n", (), "leave none of 1 points"),
        (
            "scenario: ok.yaml\naxes: {seed: [1]}\nconstraints: [seed > 'x']\n",
            (),
            "with seed = 1: 1 and 'x' have no order",
        ),
        ("scenario: ok.yaml\naxes: {seed: [1]}\nmetrics: [makespam_ns]\n", (), "did you mean 'makespan_ns'"),
        (
            "scenario: ok.yaml\naxes: {seed: {from: 1, to: 9999999, points: 99999}, batch: {from: 1, to: 99, step: 1}}\n",
            (),
            "at most 100000",
        ),
        ("scenario: ok.yaml\naxes: {seed: [1], stop.wall_time: [1 s]}\n", (), "is for a service"),
        ("scenario: ok.yaml\naxes: {cache.experts: [1]}\n", (), "no point could be run: 1 x "),
        ("scenario: ok.yaml\naxes: {seed: [1]}\n", ("--shard", "3/2"), "is no part; write 1/4"),
        ("scenario: ok.yaml\naxes: {seed: [1]}\n", ("--jobs", "0"), "is not a number of runs at once"),
        ("scenario: ok.yaml\naxes: {seed: [1]}\n", ("--set", "batch"), "should read path=value"),
        (
            "scenario: ok.yaml\naxes: {seed: [1]}\n",
            ("--out", "notes"),
            "holds diary.txt, summary.json, which no sweep wrote",
        ),
        ("scenario: ok.yaml\naxes: {seed: [1]}\n", ("--out", "ok.yaml"), "is a file; name a folder"),
    ],
    ids=str,
)
def test_faults(moesim: CommandLine, write: Write, text: str, options: tuple[str, ...], fault: str) -> None:
    """One message, exit code 2."""
    out = () if "--out" in options else ("--out", "swept")
    path = write(text)
    shown = (
        moesim("sweep", path, "--jobs", "1", *out, *options)
        if "--jobs" not in options
        else moesim("sweep", path, *out, *options)
    )
    assert shown.code == 2
    assert fault in shown.err


def test_the_folder_belongs_to_one_sweep(moesim: CommandLine, write: Write) -> None:
    """The same sweep goes on in it; another is refused unless it may overwrite, and then shares what is stored."""
    command = ("sweep", write("scenario: ok.yaml\naxes: {cache.experts: [6, 9]}\n"), "--out", "swept", "--jobs", "1")
    assert moesim(*command).code == 0
    assert "2 of them stored before" in moesim(*command).out
    write("scenario: ok.yaml\naxes: {cache.experts: [6, 9, 12]}\n")
    other = moesim(*command)
    assert other.code == 2
    assert "holds the table of another sweep; name another folder, or add --overwrite" in other.err
    assert "3 points: 3 ok, 2 of them stored before" in moesim(*command, "--overwrite").out
    assert moesim("sweep", "sweep.yaml", "--jobs", "1").code == 2, "without --out there is nowhere to go"


def test_dry_run(moesim: CommandLine, write: Write) -> None:
    """Counts, axes and an estimate; nothing is written."""
    shown = moesim("sweep", write(SWEEP), "--dry-run", "--jobs", "2")
    assert (shown.code, shown.err) == (0, "")
    assert "10 points (2 of 12 excluded by constraints)" in shown.out
    assert "cache.experts: 3 values" in shown.out
    assert "with 2 at once: a point takes" in shown.out
    assert {path.name for path in Path().iterdir()} == {
        "notes",
        "results",
        "ok.yaml",
        "model.yaml",
        "trace.safetensors",
        "sweep.yaml",
    }


def test_json(moesim: CommandLine, write: Write) -> None:
    """points.json, and nothing else."""
    shown = moesim("sweep", write(SWEEP), "--out", "swept", "--jobs", "1", "--json")
    assert shown.out == Path("swept/points.json").read_text(encoding="utf-8")


def test_a_system_that_the_scenario_overrules(moesim: CommandLine, write: Write) -> None:
    """What stands in the scenario replaces what a system brings: a warning, with what to do."""
    path = write("scenario: ok.yaml\naxes: {system: [on_demand, oracle_eviction]}\n")
    command = ("sweep", path, "--out", "swept", "--jobs", "1", "--set", "eviction=fifo")
    told = moesim(*command)
    assert told.code == 0
    assert "eviction of the scenario stands in place of what each system brings; take it out" in told.err
    assert len({row["hits"] for row in table(Path("swept"))}) == 1
    told = moesim(*command[:-1], "eviction=null", "--overwrite")
    assert (told.code, told.err) == (0, "")
