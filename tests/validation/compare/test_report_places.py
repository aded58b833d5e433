"""A committed report says nothing of where a machine keeps its files."""

from pathlib import Path

from tests.validation.compare.fake import NAME, FakeBackend, fill, profiles
from validation.compare.report import build_report
from validation.compare.suite import read_suite
from validation.compare.validate import TRACES, validate

RESULTS = Path(__file__).resolve().parents[3] / "validation" / "results"


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def test_a_report_has_no_absolute_paths(tmp_path: Path) -> None:
    """Neither of the suite's models nor of their traces."""
    suite = read_suite(fill(tmp_path), trace_folder=tmp_path / TRACES)
    compared = validate(suite, profiles(tmp_path), FakeBackend(folder=tmp_path), tmp_path)
    report = build_report(suite, compared, profiles(tmp_path), device="cpu", device_name=NAME)
    assert [text for text in _texts(report) if text.startswith("/")] == []


def test_committed_results_have_none() -> None:
    """Of any kind."""
    for path in RESULTS.glob("*.json"):
        assert '"/' not in path.read_text(encoding="utf-8"), path.name
