"""Write docs/reference/cli.md: what `--help` says of each command. Sphinx does so with each build (docs/conf.py).

It is not kept with the other pages: lines are divided as the installed cyclopts and rich divide them.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from cyclopts import App
from rich.console import Console

from simulator.cli import app

PAGE = Path(__file__).resolve().parent / "reference" / "cli.md"
_WIDTH = 100


def commands(of: App = app, path: Sequence[str] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command, groups before what they hold."""
    for name in of:
        if not name.startswith("-"):
            words = (*path, name)
            yield words
            yield from commands(of[name], words)


def help_of(words: Sequence[str]) -> str:
    """Return what a command says with `--help`."""
    text = io.StringIO()
    app.help_print(list(words), console=Console(file=text, width=_WIDTH, no_color=True, force_terminal=False))
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def page() -> str:
    """Return the page."""
    lines = ["# Commands", "", "What `moesim COMMAND --help` says.", ""]
    for words in [(), *commands()]:
        title = " ".join(("moesim", *words))
        lines += [f"{'###' if len(words) > 1 else '##'} {title}", "", "```text", help_of(words), "```", ""]
    return "\n".join(lines)


def main() -> None:
    """Write the page, if it is another than that which is there."""
    text = page()
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
