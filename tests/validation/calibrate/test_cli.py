"""`moesim calibrate`: what it takes, what it refuses, what it says."""

from pathlib import Path

import pytest

from hardware_profiles.errors import InputError
from tests.cli.conftest import CommandLine
from validation.cli import calibrate as command
from validation.cli.quantities import parse_time


@pytest.fixture
def moesim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Return the command line, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return CommandLine(place=tmp_path, monkeypatch=monkeypatch, capsys=capsys)


def test_times() -> None:
    """Minutes, and what other durations are written in."""
    texts = ("3 min", "0.5min", "90 s", "2000 ms", "0 s")
    assert [parse_time("--patience", text) for text in texts] == [180, 30, 90, 2, 0]


@pytest.mark.parametrize("text", ["3", "three min", "-1 min", "0 s", "10 ms", "5 GB"])
def test_times_that_cannot_be(text: str) -> None:
    """Name the option."""
    with pytest.raises(InputError, match="--budget"):
        parse_time("--budget", text, least_s=1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device", "cpu", "--model", "lab-wide", "--out", "a.txt"), "should end in .yaml"),
        (("--device", "cpu", "--model", "lab-wide", "--out", "a.yaml", "--throttle", "3"), "--throttle"),
        (("--device", "cpu", "--model", "lab-wide", "--out", "a.yaml", "--patience", "long"), "--patience"),
        (("--device", "cpu", "--model", "lab-wide", "--out", "a.yaml", "--threads", "1.5"), "not a whole number"),
        (("--device", "cpu", "--out", "a.yaml"), "--model"),
        (("--device", "gpu", "--model", "lab-wide", "--out", "a.yaml"), "gpu"),
        (("--device", "cpu", "--model", "nothing", "--out", "a.yaml"), "lab-wide"),
    ],
)
def test_bad_input_ends_with_2(moesim: CommandLine, options: tuple[str, ...], said: str) -> None:
    """One message, nothing on stdout, nothing written."""
    outcome = moesim("calibrate", *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert list(moesim.place.iterdir()) == []


def test_what_is_not_installed_is_named(moesim: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "scipy" else object())
    outcome = moesim("calibrate", "--device", "cpu", "--model", "lab-wide", "--out", "a.yaml")
    assert outcome.code == 2
    assert "needs scipy" in outcome.err
    assert "pip install 'moesim[live]'" in outcome.err
