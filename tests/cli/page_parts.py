"""What stands in a written page: its plots as plain values, its tables, lists and preformatted texts."""

import html
import json
import re
from typing import Any

_PLOT = re.compile(r'aria-label="([^"]*)"[^>]*><script type="application/json">(.*?)</script>', re.DOTALL)


def plots_of(page: str) -> dict[str, Any]:
    """Return the traces of each plot by its label."""
    return {html.unescape(label): json.loads(text)["data"] for label, text in _PLOT.findall(page)}


def plot_of(page: str, label: str) -> Any:  # noqa: ANN401
    """Return the traces of the plot whose label begins so."""
    (found,) = [traces for name, traces in plots_of(page).items() if name.startswith(label)]
    return found


def texts_of(page: str, tag: str) -> list[str]:
    """Return the texts of elements that hold nothing but text."""
    return [html.unescape(text) for text in re.findall(rf"<{tag}(?: [^>]*)?>([^<]*)</{tag}>", page)]


def own_length(page: str) -> int:
    """Return how many characters a page has beside the library that draws it."""
    return len(re.sub(r'<script type="application/gzip".*?</script>', "", page, flags=re.DOTALL))
