"""Who may import whom, read off the source: the house stands as it was drawn."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("simulator", "traces", "hardware_profiles", "validation")
ALLOWED = {
    "traces": {"traces"},
    "hardware_profiles": {"hardware_profiles"},
    "simulator": {"simulator", "traces", "hardware_profiles"},
    "validation": {"validation", "simulator", "traces", "hardware_profiles"},
}
NEEDS_TORCH = ("validation", "traces.capture", "traces.nano")
TORCH = {"torch", "transformers"}


def module_name(path: Path) -> str:
    """Return the dotted name of a module's file."""
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, name: str, *, is_package: bool) -> Iterator[str]:
    """Yield the dotted names that a module imports, wherever it does, with what `from` takes out of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")
            if node.level:
                base = base[: len(base) - node.level + is_package]
            prefix = ".".join([*(base if node.level else []), *([node.module] if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


MODULES = {
    module_name(path): (path.read_text(encoding="utf-8"), path.name == "__init__.py")
    for package in PACKAGES
    for path in sorted((REPOSITORY / package).rglob("*.py"))
}


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_modules_are_found() -> None:
    """The tests below look at something."""
    assert {"simulator.engine", "simulator.cli", "traces.format", "hardware_profiles.load", "validation"} <= set(
        MODULES
    )


def test_imports_are_seen() -> None:
    """All forms of import are, at the top, inside a function and under TYPE_CHECKING."""
    source = (
        "import a.b\nfrom c import d\nfrom . import e\nfrom ..f import g\ndef h():\n    import i\nif 0:\n    import j\n"
    )
    assert sorted(imports(source, "p.q.r", is_package=False)) == ["a.b", "c.d", "i", "j", "p.f.g", "p.q.e"]
    assert list(imports("from .e import f", "p.q", is_package=True)) == ["p.q.e.f"]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_it_may(module: str) -> None:
    """Packages import downwards alone; nothing imports the command line; torch stays where tensors are."""
    source, is_package = MODULES[module]
    imported = set(imports(source, module, is_package=is_package))
    package = module.partition(".")[0]
    inside = {name for name in imported if name.partition(".")[0] in PACKAGES}
    assert {name for name in inside if name.partition(".")[0] not in ALLOWED[package]} == set()
    if not any(_is_in(module, command_line) for command_line in ("simulator.cli", "validation.cli")):
        assert {name for name in inside if _is_in(name, "simulator.cli")} == set()
    if not any(module.startswith(allowed) for allowed in NEEDS_TORCH):
        assert {name for name in imported if name.partition(".")[0] in TORCH} == set()
    assert {name for name in imported if name.partition(".")[0] in ("tests", "examples", "bench")} == set()
