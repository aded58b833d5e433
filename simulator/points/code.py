"""Digests of code: of moesim itself, and of a policy that somebody else wrote.

Limits: of a policy's code, what it imports by a name that is computed, and the data files that it reads, do not count; nor
do changes of installed packages that keep their version.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("simulator", "traces", "hardware_profiles")
_COUNTED = (".py", ".yaml", ".json")
_LIBRARIES = ("numpy", "pydantic", "PyYAML", "safetensors", "simpy")


@cache
def moesim_digest() -> str:
    """Return the SHA-256 of moesim's source and data, with the versions of Python and of the libraries that it runs on.

    It is that of the files as they are now: code that was changed since this process imported it is told by none.
    """
    sha = hashlib.sha256(f"python {sys.version_info.major}.{sys.version_info.minor}\n".encode())
    for library in _LIBRARIES:
        sha.update(f"{library} {version(library)}\n".encode())
    root = Path(__file__).parents[2]
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in _COUNTED and path.is_file():
                sha.update(f"{path.relative_to(root).as_posix()}\n".encode())
                sha.update(hashlib.sha256(path.read_bytes()).digest())
    return sha.hexdigest()


@cache
def code_digest(module: str) -> str:
    """Return the SHA-256 of a module's source and of all that it imports outside Python and moesim.

    Of installed packages their versions count, of other modules their source. Raises ImportError for a module that is not
    there.
    """
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}")
    parts: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if name in parts or top in (*_PACKAGES, *sys.stdlib_module_names):
            continue
        if _source_of(top) is None:
            parts[top] = _installed(top)
        elif (source := _source_of(name)) is not None:
            parts[name] = hashlib.sha256(source.read_bytes()).hexdigest()
            waiting += _imports(source, name)
    listed = "".join(f"{name} {parts[name]}\n" for name in sorted(parts))
    return hashlib.sha256(listed.encode()).hexdigest()


def _source_of(name: str) -> Path | None:
    """Return the file of a module that is somebody's own; None for what is installed, built in, or no module."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # of a package that is not there, or an attribute of a module
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None  # a folder without __init__.py is none either, its modules are
    path = Path(spec.origin)
    return None if {"site-packages", "dist-packages"} & set(path.parts) else path


def _installed(top: str) -> str:
    """Return the installed packages that a top-level module comes from, with their versions."""
    found = []
    for distribution in sorted(set(_distributions().get(top, ()))):
        try:
            found.append(f"{distribution} {version(distribution)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _imports(path: Path, name: str) -> Iterator[str]:
    """Yield the modules that a module may import: those that it names, and what it takes out of them."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = [part for part in [*base, node.module or ""] if part]
            if base:
                yield ".".join(base)
                yield from (".".join([*base, alias.name]) for alias in node.names)
    while "." in name:  # the packages around it are run as well
        name = name.rpartition(".")[0]
        yield name
