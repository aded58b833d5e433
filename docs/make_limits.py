"""Write docs/reference/limits.md: what each part of the model leaves out, in the words of its own file.

python docs/make_limits.py
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import cleandoc
from pathlib import Path

from simulator.model.load import load_model, model_names

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PACKAGES = {
    "simulator": "The simulator",
    "hardware_profiles": "Machines",
    "traces": "Traces",
    "validation": "Calibration and validation",
}
MARK = "Limits:"
_SECTION = re.compile(r"^#+ (Limits|What (?:it|this|they) leaves? out.*)$", flags=re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one docstring says that it leaves out. `path` is the file's; `of` names a class or function, or nothing."""

    path: str
    of: str
    about: str
    text: str


@cache
def limits() -> Sequence[Limit]:
    """Return all limits of the packages, by file, in the order in which they stand."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [limit for path in files for limit in _limits_of(path.read_text("utf-8"), str(path.relative_to(ROOT)))]


def _limits_of(source: str, path: str) -> Iterator[Limit]:
    if MARK not in source:
        return
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = cleandoc(ast.get_docstring(node, clean=False) or "")
        about, mark, left_out = text.partition(MARK)
        if mark:
            of = "" if isinstance(node, ast.Module) else node.name
            yield Limit(path=path, of=of, about=about.split("\n\n")[0].strip(), text=left_out.strip())


def page() -> str:
    """Return docs/reference/limits.md."""
    lines = [
        "# Limits, file by file",
        "",
        "Written by `docs/make_limits.py` from the docstrings: what each file of the model says that it leaves out. What a",
        "system lacks of the published one stands with [the system](../systems.md).",
        "",
    ]
    lines += ["Guides have limits of their own:", ""]
    lines += [f"- [{title}](../{name}#{anchor})" for name, title, anchor in _sections()]
    lines.append("")
    found = limits()
    for package, title in PACKAGES.items():
        lines += [f"## {title}", ""]
        for limit in found:
            if limit.path.split("/")[0] == package:
                name = f"`{limit.path}`" + (f", `{limit.of}`" if limit.of else "")
                lines += [f"### {name}", "", f"*{_one_line(limit.about)}*", "", *_paragraphs(limit.text)]
    lines += ["## Models that ship", ""]
    for name in model_names():
        spec = load_model(name)
        if spec.limits:
            lines += [f"### {name}", "", *(f"- {_escaped(text)}" for text in spec.limits), ""]
    return "\n".join(lines).rstrip() + "\n"


def _sections() -> Iterator[tuple[str, str, str]]:
    """Yield the guides that have a section of limits: file, title, and where it stands."""
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        title = text.splitlines()[0].removeprefix("# ")
        for heading in _SECTION.finditer(text):
            yield path.name, title, re.sub(r"[^a-z0-9 -]", "", heading[1].lower()).replace(" ", "-")


def _one_line(text: str) -> str:
    return _escaped(" ".join(text.split()))


def _paragraphs(text: str) -> list[str]:
    return [line for part in text.split("\n\n") for line in (_escaped(" ".join(part.split())), "")]


def _escaped(text: str) -> str:
    """Write plain text so that Markdown shows it as it is, outside of what stands in backquotes."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*_\[\]<>|$#])", r"\\\1", part) for part in parts)


def main() -> None:
    """Write the page."""
    (DOCS / "reference" / "limits.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
