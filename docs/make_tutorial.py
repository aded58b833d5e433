"""Write into pages what the commands that they show print: below each `sh` block the `text` block that follows it.

python docs/make_tutorial.py

The commands of a page run one after the other in a folder of their own that holds `examples/` and `traces/`. A code block
below a comment `<!-- save as NAME -->` is saved there first.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from simulator.cli import main as moesim

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGES = ("tutorial", "running", "comparing", "add_a_machine", "add_a_model")
_WIDTH = 92

_PART = re.compile(
    r"^<!-- save as (?P<name>\S+) -->\n+```\w+\n(?P<saved>.*?)^```$"
    r"|^```sh\n(?P<commands>.*?)^```\n(?P<shown>\n```text\n.*?^```\n)?",
    flags=re.MULTILINE | re.DOTALL,
)


def with_outputs(text: str) -> str:
    """Return a page with what its commands print now. Raises RuntimeError for a command that fails."""
    with _folder():
        return _PART.sub(_replaced, text)


def commands_of(text: str) -> list[list[str]]:
    """Return the words of each moesim command of a page, without comments."""
    blocks = [match["commands"] for match in _PART.finditer(text) if match["commands"] is not None]
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [words[1:] for words in lines if words[:1] == ["moesim"]]


def _replaced(match: re.Match[str]) -> str:
    """Save a file, or run a block's commands and write what they print below it; commands of others stand as they are."""
    if match["name"]:
        path = Path(match["name"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(match["saved"], encoding="utf-8")
        return match[0]
    words = commands_of(match[0])
    if not words:
        return match[0]
    printed = "".join(_run(each) for each in words)
    block = f"```sh\n{match['commands']}```\n"
    return f"{block}\n```text\n{printed}```\n" if printed.strip() else block


def _run(words: list[str]) -> str:
    """Run one command in this process and return what it prints, or write it to the file behind `>`."""
    words, file = (words[:-2], words[-1]) if words[-2:-1] == [">"] else (words, "")
    printed, complaints = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["moesim", *words]),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(complaints),
    ):
        try:
            moesim()
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"moesim {shlex.join(words)}: {complaints.getvalue()}") from end
    if file:
        Path(file).write_text(printed.getvalue(), encoding="utf-8")
        return ""
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


@contextlib.contextmanager
def _folder() -> Iterator[None]:
    """Work in a folder that has what the pages use, at a fixed width of lines."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, {"COLUMNS": str(_WIDTH), "TERM": "dumb"}),
    ):
        shutil.copytree(ROOT / "examples", "examples")
        Path("traces").symlink_to(ROOT / "traces")
        yield


def main() -> None:
    """Write all pages."""
    for name in PAGES:
        path = DOCS / f"{name}.md"
        path.write_text(with_outputs(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
