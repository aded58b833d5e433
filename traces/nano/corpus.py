"""Gather and clean the text that moesim-nano is trained on: `python -m traces.nano.corpus --out DIR`.

Every source is a Debian package. Its documents become lines of `DIR/<source>.jsonl`, each with `document` (its name),
`held_out` (whether training must not see it) and `text`. `DIR/corpus.json` says what was taken from where.
"""

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from cyclopts import App
from rich.console import Console

from traces.errors import TraceError
from traces.nano.tokens import CORPUS

HELD_OUT_ONE_IN = 12  # documents
_MIN_CHARACTERS = 200
_DICTIONARY_DOCUMENT_CHARACTERS = 4000

Documents = Iterator[tuple[str, str]]
"""Names and texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One kind of text. `share_frac` is the part of the training tokens that are drawn from it."""

    name: str
    packages: tuple[str, ...]
    licence: str
    share_frac: float
    read: Callable[[Path], Documents]


def _kernel_documents(root: Path) -> Documents:
    documentation = next(root.glob("usr/share/doc/linux-doc-*/Documentation"))
    for path in sorted(documentation.rglob("*.gz")):
        name = path.relative_to(documentation).as_posix()
        if path.name.endswith((".rst.gz", ".txt.gz", ".yaml.gz")) and not name.startswith("translations/"):
            yield name, gzip.decompress(path.read_bytes()).decode("utf-8", "replace")


def _python_documents(root: Path) -> Documents:
    for path in sorted(root.glob("usr/share/doc/python3*/html/_sources/**/*.rst.txt")):
        yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8", errors="replace")


def _dictionary_documents(root: Path) -> Documents:
    """Yield runs of consecutive entries, several thousand characters each."""
    packed = (root / "usr/share/dictd/gcide.dict.dz").read_bytes()
    text = re.sub(
        r"[ \t]*\[(1913 Webster|Webster 1913 Suppl\.|PJC|WordNet 1\.5)\]",
        "",
        gzip.decompress(packed).decode("utf-8", "replace"),
    )
    entries = re.split(r"\n(?=\S)", text.partition("\nA ")[2])
    run: list[str] = []
    for number, entry in enumerate(entries):
        run.append(entry)
        if sum(map(len, run)) >= _DICTIONARY_DOCUMENT_CHARACTERS or number == len(entries) - 1:
            yield f"entry-{number - len(run) + 1:06d}", "\n".join(run)
            run = []


def _source_documents(root: Path) -> Documents:
    for path in sorted(root.glob("usr/lib/python3*/**/*.py")):
        name = path.relative_to(root).as_posix()
        # A symbolic link may point into a package that was not asked for.
        if path.is_file() and not re.search(r"/(encodings|pydoc_data|lib2to3/tests)/", name):
            yield name, path.read_text(encoding="utf-8", errors="replace")


def _user_documents(language: str) -> Callable[[Path], Documents]:
    def read(root: Path) -> Documents:
        for path in sorted((root / "usr/share/help" / language).rglob("*.page")):
            # The name has no language: a page that is held out is held out in all of them.
            yield path.name, mallard_text(path)

    return read


def mallard_text(page: Path) -> str:
    """Return the prose of a Mallard help page: titles, paragraphs, list items."""
    lines: list[str] = []

    def walk(element: ElementTree.Element, bullet: str) -> None:
        tag = element.tag.rpartition("}")[2]
        if tag == "info":
            return
        if tag in ("title", "p", "screen", "code", "desc"):
            text = " ".join("".join(element.itertext()).split())
            if text:
                lines.append({"title": "# ", "p": bullet}.get(tag, "") + text)
            return
        for child in element:
            walk(child, "- " if tag in ("item", "tr") else bullet)

    try:
        walk(ElementTree.parse(page).getroot(), "")
    except ElementTree.ParseError:
        return ""
    return "\n\n".join(lines)


_USER_LICENCE = "CC-BY-SA-3.0"
_PYTHON_LICENCE = "Python-2.0"

SOURCES = (
    Source(name="kernel-docs", packages=("linux-doc-6.1",), licence="GPL-2.0", share_frac=0.28, read=_kernel_documents),
    Source(
        name="python-docs",
        packages=("python3.11-doc",),
        licence=_PYTHON_LICENCE,
        share_frac=0.17,
        read=_python_documents,
    ),
    Source(
        name="dictionary",
        packages=("dict-gcide",),
        licence="GPL-2.0-or-later",
        share_frac=0.22,
        read=_dictionary_documents,
    ),
    Source(
        name="python-source",
        packages=("libpython3.11-minimal", "libpython3.11-stdlib"),
        licence=_PYTHON_LICENCE,
        share_frac=0.18,
        read=_source_documents,
    ),
    *(
        Source(
            name=f"user-docs-{name}",
            packages=("gnome-user-docs",),
            licence=_USER_LICENCE,
            share_frac=0.03,
            read=_user_documents(language),
        )
        for name, language in (("en", "C"), ("de", "de"), ("es", "es"), ("fr", "fr"), ("ru", "ru"))
    ),
)

app = App(name="traces.nano.corpus", help="Gather and clean the text that moesim-nano is trained on.")


@app.default
def gather(*, out: Path, packages: Path | None = None) -> None:
    """Write the corpus.

    Parameters
    ----------
    out
        Folder to write `<source>.jsonl` and `corpus.json` into.
    packages
        Folder that holds the .deb files already; by default `apt-get download` fetches them into OUT/packages.
    """
    console = Console(stderr=True)
    out.mkdir(parents=True, exist_ok=True)
    names = sorted({package for source in SOURCES for package in source.packages})
    if packages is None:
        packages = out / "packages"
        packages.mkdir(exist_ok=True)
        _download([name for name in names if not list(packages.glob(f"{name}_*.deb"))], packages)
    versions: dict[str, str] = {}
    report: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            versions[name] = _unpack(name, packages, Path(temporary) / name)
        for source in SOURCES:
            rows = list(_clean_rows(source, Path(temporary)))
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (out / f"{source.name}.jsonl").write_text(lines, encoding="utf-8")
            report.append(
                {
                    "source": source.name,
                    "packages": {package: versions[package] for package in source.packages},
                    "licence": source.licence,
                    "share_frac": source.share_frac,
                    "num_documents": len(rows),
                    "num_held_out": sum(bool(row["held_out"]) for row in rows),
                    "num_characters": sum(len(str(row["text"])) for row in rows),
                }
            )
            console.print(f"{source.name}: {len(rows)} documents, {len(lines) / 1e6:.1f} MB")
    (out / CORPUS).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def clean(text: str) -> str:
    """Return a text without licence tags, mail addresses, trailing blanks and runs of empty lines."""
    text = text.replace("\r\n", "\n").replace("\x0c", "\n").replace("\t", "    ")
    text = re.sub(r"^.*SPDX-License-Identifier.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r" ?<?[\w.+-]+@[\w-]+\.[\w.-]+>?", "", text)
    text = re.sub(r"[ ]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def is_held_out(document: str) -> bool:
    """Return whether training must not see a document: one in twelve, by the hash of its name."""
    return hashlib.sha256(document.encode()).digest()[0] % HELD_OUT_ONE_IN == 0


def _clean_rows(source: Source, root: Path) -> Iterator[dict[str, object]]:
    seen: set[str] = set()
    for package in source.packages:
        for name, text in source.read(root / package):
            text = clean(text)
            if len(text) >= _MIN_CHARACTERS and text not in seen:
                seen.add(text)
                yield {"document": name, "held_out": is_held_out(name), "text": text}


def _download(names: list[str], folder: Path) -> None:
    if not names:
        return
    if shutil.which("apt-get") is None:
        raise TraceError(folder, f"apt-get is not here to fetch {', '.join(names)}; put the .deb files into --packages")
    done = subprocess.run(["apt-get", "download", *names], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TraceError(folder, f"apt-get download failed: {done.stderr.strip()[-400:]}; run apt-get update first?")


def _unpack(name: str, packages: Path, folder: Path) -> str:
    """Unpack a package and return its version."""
    found = sorted(packages.glob(f"{name}_*.deb"))
    if not found:
        raise TraceError(packages, f"holds no {name}_*.deb; leave --packages away to download it")
    folder.mkdir()
    subprocess.run(["dpkg-deb", "-x", found[-1].resolve(), folder], check=True)
    return found[-1].name.split("_")[1].replace("%3a", ":")


if __name__ == "__main__":
    try:
        app()
    except TraceError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        sys.exit(2)
