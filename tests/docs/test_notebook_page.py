"""docs/notebook.md: its programs run, one after the other, as the cells of a notebook."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")


def test_the_programs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the examples, and what they are said to give is there."""
    pytest.importorskip("pandas")
    for name in ("examples", "traces"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    cells = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(cells) == 6
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile(cell, "docs/notebook.md", "exec"), names)
    assert len(names["both"]) == 2
    assert names["table"].shape == (3, 2)
    lru, most_recent = names["own"].rows
    assert lru["hits"] > most_recent["hits"]
    assert (tmp_path / "results" / "store").is_dir()
