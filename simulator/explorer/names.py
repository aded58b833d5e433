"""What a column is called and counted in, from its name: units are suffixes, as everywhere."""

from dataclasses import dataclass

_UNITS = {
    "_tokens_per_s": "tokens/s",
    "_requests_per_s": "requests/s",
    "_bytes_per_s": "bytes/s",
    "_usd_per_hour": "USD/h",
    "_usd_per_million_output_tokens": "USD/1M output tokens",
    "_usd_per_million_tokens": "USD/1M tokens",
    "_tokens_per_joule": "tokens/J",
    "_tokens_per_j": "tokens/J",
    "_joules_per_token": "J/token",
    "_j_per_token": "J/token",
    "_joules": "J",
    "_watts": "W",
    "_usd": "USD",
    "_bytes": "bytes",
    "_frac": "frac",
    "_ns": "ns",
    "_s": "s",
    "_j": "J",
    "_w": "W",
}
"""Suffixes of names and what they mean; the longer ones first."""

_MORE_IS_BETTER = (
    "throughput",
    "goodput",
    "hit_frac",
    "in_slo_frac",
    "finished",
    "useful",
    "place",
    "per_joule",
    "per_j",
)
_UPPER = {"tpot", "itl", "ttft", "e2e", "gpu", "cpu", "h2d", "d2h", "kv", "slo", "usd", "vram", "pcie", "nvme", "lru"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A column's label and unit, and whether less of it is better. `unit` is empty for plain numbers."""

    label: str
    unit: str
    less_is_better: bool


def name_of(column: str) -> Name:
    """Return what a column is: `tpot_s.p50` is called TPOT p50 and is in seconds.

    A unit may stand at the end of any part of a name; the last one counts.
    """
    unit, parts = "", []
    for part in column.split("."):
        suffix = next((suffix for suffix in _UNITS if f"_{part}".endswith(suffix)), "")
        unit = _UNITS[suffix] if suffix else unit
        parts += f"_{part}".removesuffix(suffix).split("_")
    words = [word.upper() if word in _UPPER else word for word in parts if word]
    less = not any(sign in column for sign in _MORE_IS_BETTER)
    return Name(label=" ".join(words), unit=unit, less_is_better=less)
