"""The README shows what its commands print."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "make_results.py"))


def test_readme_shows_the_committed_results() -> None:
    """The table is the one that the committed results give."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert SCRIPT["readme"](text) == text


def test_readme_names_the_commands_that_were_run() -> None:
    """The import and the first run of the README are those behind the results, --json aside."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ").split())
    committed = json.loads(SCRIPT["RESULTS"].read_text(encoding="utf-8"))
    first_import, first_run, *_ = committed["commands"]
    assert first_import in text
    assert first_run.removesuffix(" --json") in text


def readme_commands() -> list[list[str]]:
    """Return the moesim commands of the README's shell blocks, a continued line as one, comments dropped."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words[:1] == ["moesim"]]


@pytest.mark.slow
def test_the_commands_work(shared_data: Path, tmp_path: Path) -> None:
    """Each command of the README, in its order, in a folder that holds the recording; none is left out by mistake.

    Not run here: capture, which needs torch (tests/nano runs it), and the long fit of `synth --like` (tests/traces).
    """
    (tmp_path / "gpt-oss-20b_decode.npz").symlink_to(shared_data / "traces" / "gpt-oss-20b_decode.npz")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    commands = readme_commands()
    not_run = [words for words in commands if words[0] == "capture" or "--like" in words]
    assert (len(commands), len(not_run)) == (12, 2)
    for words in commands:
        if words not in not_run:
            command = [sys.executable, "-c", "from simulator.cli import main; main()", *words]
            done = subprocess.run(
                command,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            assert done.returncode == 0, (words, done.stderr)
            assert done.stdout, words


@pytest.mark.slow
def test_results_are_reproduced(shared_data: Path) -> None:
    """Simulating again gives the committed results, to the last digit."""
    committed = json.loads(SCRIPT["RESULTS"].read_text(encoding="utf-8"))
    assert SCRIPT["simulate"](shared_data) == committed
