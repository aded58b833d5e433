"""`moesim validate`: help, and faults told in one message."""

import importlib.util
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine, moesim, place  # noqa: F401 - fixtures
from tests.validation.compare import fake

NEEDS_TORCH = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")


def test_help_gives_an_example(moesim: CommandLine) -> None:  # noqa: F811
    """Within 80 columns, every option with a word of help."""
    outcome = moesim("validate", "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("Usage: moesim validate")
    assert "moesim validate validation/suites/cpu-quick.yaml --profile" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80
    for option in ("--profile", "--device", "--out", "--model", "--results", "--timelines", "--threads", "--json"):
        assert option in outcome.out


def test_without_torch_it_says_what_to_install(
    moesim: CommandLine,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Code 2, and the command to type."""
    suite = fake.fill(tmp_path)
    monkeypatch.setattr("validation.cli.validate.find_spec", lambda _name: None)
    outcome = moesim("validate", suite, "--profile", "p.yaml")
    assert outcome.code == 2
    assert "needs torch, which is not installed: pip install 'moesim[live]'" in outcome.err


@NEEDS_TORCH
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--profile", "forced.yaml", "--device", "tpu"], "--device: is 'tpu'; name cpu, cuda"),
        (["--profile", "forced.yaml", "--model", "forced", "--model", "fourced"], "did you mean"),
        (["--profile", "forced="], "should read MODEL=PROFILE.yaml"),
        (["--profile", "nowhere.yaml"], "no such file"),
        (["--profile", "forced.yaml"], "was measured on 'a processor', but the device is"),
    ],
)
def test_faults_end_with_2(
    moesim: CommandLine,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    """In one message, without a traceback, and nothing is written."""
    fake.fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    outcome = moesim("validate", "suite.yaml", *arguments)
    assert outcome.code == 2
    assert told in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
