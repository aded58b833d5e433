"""The figures of docs/capture.md are those of the committed measurement."""

import json
import runpy
from pathlib import Path

import pytest

pytest.importorskip("torch")

REPOSITORY = Path(__file__).parents[2]


def test_the_table_of_overheads_is_that_of_the_measurement() -> None:
    script = runpy.run_path(str(REPOSITORY / "bench" / "capture_overhead.py"))
    measurement = json.loads((REPOSITORY / "docs" / "measurements" / "capture-overhead.json").read_text())
    document = (REPOSITORY / "docs" / "capture.md").read_text(encoding="utf-8")
    assert document.partition(script["BEGIN"])[2].partition(script["END"])[0] == script["table"](measurement)
