"""docs/systems.md and docs/policies.md are what their script writes; the tutorial's policy runs, by the commands shown."""

import re
import runpy
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from simulator.cli import main

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TUTORIAL = (DOCS / "write_a_policy.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["systems", "policies"])
def test_pages_are_up_to_date(page: str) -> None:
    """`python docs/make_systems.py` would write them again as they are."""
    script = runpy.run_path(str(DOCS / "make_systems.py"))
    assert (DOCS / f"{page}.md").read_text(encoding="utf-8") == script[f"{page}_page"]()


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At most 60 lines of code, and each command of the page in a folder that holds it and the examples."""
    (code,) = re.findall(r"^```python\n(.*?)^```", TUTORIAL, flags=re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) <= 60
    (tmp_path / "my_policy.py").write_text(code, encoding="utf-8")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "traces").symlink_to(ROOT / "traces")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_policy", raising=False)
    (commands,) = re.findall(r"^```sh\n(.*?)^```", TUTORIAL, flags=re.MULTILINE | re.DOTALL)
    shown = []
    for line in commands.splitlines():
        monkeypatch.setattr("sys.argv", [*shlex.split(line), "--max-tokens", "200"])
        with suppress(SystemExit):
            main()
        shown.append(capsys.readouterr().out)
        assert "my_policy:Fading" in " ".join(shown[-1].split())
    assert len(shown) == 2
    assert shown[0] != shown[1], "its parameter has an effect"
