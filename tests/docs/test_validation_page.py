"""docs/validation.md is what the committed results give."""

import runpy
from pathlib import Path

from tests.validation.compare.fake import NAME, FakeBackend, fill, profiles
from validation.compare.report import build_report
from validation.compare.suite import read_suite
from validation.compare.validate import TRACES, validate

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[2] / "docs" / "make_validation.py"))


def test_the_page_is_that_of_the_results() -> None:
    """To the last character."""
    assert SCRIPT["PAGE"].read_text(encoding="utf-8") == SCRIPT["validation_page"](SCRIPT["read_results"]())


def test_the_readme_has_the_table_of_the_results() -> None:
    """To the last character."""
    text = SCRIPT["README"].read_text(encoding="utf-8")
    assert text == SCRIPT["readme"](text, SCRIPT["read_results"]())


def test_without_results_nothing_is_claimed() -> None:
    """And the page says so."""
    assert "None have been committed yet: nothing is claimed." in SCRIPT["validation_page"]([])


def test_a_report_becomes_a_section(tmp_path: Path) -> None:
    """With its machine, a row for each configuration, and the table of the other profile."""
    suite = read_suite(fill(tmp_path), trace_folder=tmp_path / TRACES)
    compared = validate(suite, profiles(tmp_path), FakeBackend(folder=tmp_path), tmp_path)
    report = build_report(suite, compared, profiles(tmp_path), device="cpu", device_name=NAME)
    page = SCRIPT["validation_page"]([report])
    assert "nothing is claimed" not in page
    assert f"## `tiny`, {NAME}, {str(report['date'])[:10]} " in page
    for configuration in suite.configurations:
        assert f"| `{configuration.id}` |" in page
    assert "### With a profile of the other model" in page
    assert "| error, steps at the calibrated speed | their spread | their share | error, all steps |" in page
    widths = [{line.count("|") for line in table.splitlines()} for table in page.split("\n\n") if table.startswith("|")]
    assert all(len(width) == 1 for width in widths)
    assert len(widths) == 4
    crossed = page.partition("### With a profile of the other model")[2]
    for configuration in suite.configurations:
        (other,) = {"forced", "own"} - {configuration.model_name}
        assert f"| `{configuration.id}` | {other} |" in crossed


def test_a_report_says_how_fast_the_machine_was() -> None:
    """Of each profile that knows, as far as it does; nothing where none does."""
    source = "a fixed piece of work; 43% of all samples were taken at it and counted"
    known = {"name": "mine", "profile": {"cpu": {"speed_probe": {"value": "433 us", "source": source}}}}
    half_known = {"name": "other", "profile": {"cpu": {"speed_probe": {"value": "500 us", "source": "elsewhere"}}}}
    unknown = {"name": "third", "profile": {"cpu": {}}}
    (line, blank) = SCRIPT["_speeds"]({"profiles": [known, half_known, unknown]})
    assert line.endswith(": mine, 433 us and 43% of the samples; other, 500 us.")
    assert blank == ""
    assert SCRIPT["_speeds"]({"profiles": [unknown]}) == []
