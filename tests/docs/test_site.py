"""The docs as a site: generated pages are up to date, every page has its place, and Sphinx has no complaint."""

import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = runpy.run_path(str(DOCS / "make_reference.py"))
LIMITS = runpy.run_path(str(DOCS / "make_limits.py"))
TUTORIAL = runpy.run_path(str(DOCS / "make_tutorial.py"))
CLI = runpy.run_path(str(DOCS / "make_cli.py"))
_BUILT = ("_build", "reference/cli.md")


def _pages() -> list[str]:
    """Return the pages of the docs, without the decisions, which are listed by pattern, and what a build writes."""
    paths = [str(path.relative_to(DOCS)) for path in sorted(DOCS.rglob("*.md"))]
    return [path for path in paths if not path.startswith((*_BUILT, "adr/", "index"))]


@pytest.mark.parametrize("kind", REFERENCE["SCHEMAS"])
def test_reference_pages_are_up_to_date(kind: str) -> None:
    """`python docs/make_reference.py` would write them again as they are."""
    assert (DOCS / "reference" / f"{kind}.md").read_text(encoding="utf-8") == REFERENCE["page"](kind)


def test_the_page_of_the_trace_format_is_up_to_date() -> None:
    """`python docs/make_reference.py` would write it again as it is."""
    assert (DOCS / "reference" / "trace.md").read_text(encoding="utf-8") == REFERENCE["trace_page"]()


def test_the_page_of_limits_is_up_to_date() -> None:
    """`python docs/make_limits.py` would write it again as it is."""
    assert (DOCS / "reference" / "limits.md").read_text(encoding="utf-8") == LIMITS["page"]()


def test_no_limit_is_lost() -> None:
    """Every line of the packages that begins with `Limits:` is one of those collected, and none is empty."""
    found = LIMITS["limits"]()
    for package in LIMITS["PACKAGES"]:
        for path in (ROOT / package).rglob("*.py"):
            written = re.findall(r'^\s*(?:""")?Limits:', path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            name = str(path.relative_to(ROOT))
            assert sum(limit.path == name for limit in found) == len(written), name
    assert all(limit.text for limit in found)
    assert len(found) > 150


@pytest.mark.parametrize("page", TUTORIAL["PAGES"])
def test_commands_print_what_pages_show(page: str) -> None:
    """`python docs/make_tutorial.py` would write them again as they are; each command of each page is run."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert len(TUTORIAL["commands_of"](text)) >= 2 or page == "comparing"
    assert TUTORIAL["with_outputs"](text) == text


def test_a_command_that_fails_is_told() -> None:
    """With its complaint, so that a page cannot show nothing in silence."""
    with pytest.raises(RuntimeError, match="no-such-file"):
        TUTORIAL["with_outputs"]("```sh\nmoesim run no-such-file.yaml\n```\n")


def test_another_output_is_noticed() -> None:
    """What a page shows is replaced by what is printed."""
    shown = "```sh\nmoesim schema sweeps > x\n```\n"
    with pytest.raises(RuntimeError, match="is no kind of file"):
        TUTORIAL["with_outputs"](shown)
    old = "```sh\nmoesim models mixtral-8x7b\n```\n\n```text\nof old\n```\n"
    new = TUTORIAL["with_outputs"](old)
    assert "of old" not in new
    assert "mistralai/Mixtral-8x7B" in new


def test_the_page_of_commands_has_all() -> None:
    """Groups and what they hold."""
    page = CLI["page"]()
    for words in ("run", "schema", "hardware show", "trace import", "calibrate", "workload info"):
        assert f" moesim {words}\n" in page, words


def test_every_page_has_a_place() -> None:
    """Each is named in the contents of the first page, but for those that another page lists."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^[a-z_/]+$", index, flags=re.MULTILINE))
    assert [page for page in _pages() if page.removesuffix(".md") not in listed] == []


@pytest.mark.parametrize("page", [*_pages(), "index.md"])
def test_links_lead_somewhere(page: str) -> None:
    """Files beside the page or elsewhere in the repository; Sphinx looks at the places within."""
    path = DOCS / page
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (path.parent / target).exists() or target.endswith("reference/cli.md"), target


def test_the_program_for_editors_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """It validates a scenario that ships."""
    (program,) = re.findall(
        r"^```python\n(.*?)^```", (DOCS / "editors.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    monkeypatch.chdir(ROOT)
    exec(compile(program, "docs/editors.md", "exec"), {})


@pytest.mark.slow
@pytest.mark.skipif(
    not (find_spec("sphinx") and find_spec("myst_parser") and find_spec("furo")), reason="no Sphinx here"
)
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    """With -W, as `make docs` does."""
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tutorial.html").exists()
