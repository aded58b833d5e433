"""A folder to run the command line in: a scenario that works, an earlier result, and somebody's notes."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
EARLIER = ("summary.json", "requests.csv", "layers.csv", "scenario.yaml", "provenance.json", "report.html")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a command has left: its exit code and what it has written."""

    code: object
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """Call `moesim` in this process, in the folder `place`."""

    place: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path) -> Outcome:
        """Return the outcome; an exception that `main` lets through is one here."""
        self.monkeypatch.setattr("sys.argv", ["moesim", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        written = self.capsys.readouterr()
        return Outcome(code=code or 0, out=written.out, err=written.err)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder and go there."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    fill(folder)
    return folder


@pytest.fixture
def moesim(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Return the command line, in a folder of its own."""
    return CommandLine(place=place, monkeypatch=monkeypatch, capsys=capsys)


def fill(folder: Path) -> None:
    """Put `ok.yaml`, what it names, `results/` of an earlier run and `notes/` into the folder."""
    shutil.copy(EXAMPLES / "fixed_costs_trace.safetensors", folder / "trace.safetensors")
    shutil.copy(EXAMPLES / "fixed_costs_model.yaml", folder / "model.yaml")
    (folder / "ok.yaml").write_text(
        "trace: trace.safetensors\nmodel: ./model.yaml\nhardware: fixed-costs\ncache: {experts: 6}\nbatch: 2\n",
        encoding="utf-8",
    )
    (folder / "results").mkdir()
    for name in EARLIER:
        (folder / "results" / name).write_text("of an earlier run\n", encoding="utf-8")
    (folder / "notes").mkdir()
    (folder / "notes" / "summary.json").write_text("mine\n", encoding="utf-8")
    (folder / "notes" / "diary.txt").write_text("mine\n", encoding="utf-8")


def contents(folder: Path) -> Mapping[str, bytes | None]:
    """Return every path below the folder, hidden ones included, with a file's bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
