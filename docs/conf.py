"""The site of the docs: `make docs` writes it to docs/_build/html."""

import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parent

project = "moesim"
author = "the moesim authors"
html_title = "moesim"
html_theme = "furo"
html_show_copyright = False
extensions = ["myst_parser"]
exclude_patterns = ["_build", "measurements", "results"]
myst_heading_anchors = 3
myst_enable_extensions: list[str] = []
myst_url_schemes = ["http", "https", "mailto"]
nitpicky = True
suppress_warnings = [
    "misc.highlighting_failure",  # a block of JSON with dots for what is left out
]
html_static_path: list[str] = []

runpy.run_path(str(DOCS / "make_cli.py"))["main"]()
