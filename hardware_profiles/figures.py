"""Walk the figures of a profile, its links resolved: all of them, those that are assumed, and a digest over them.

`measured` makes a figure in code, as calibration does.
"""

import hashlib
import json
from functools import reduce

from hardware_profiles.link_presets import resolve_link
from hardware_profiles.profile import Constant, DurationTable, Figure, HardwareProfile
from hardware_profiles.quantity import Dimension, format_decimal_bytes, format_quantity, format_seconds
from hardware_profiles.schema import places

Known = Figure | Constant | DurationTable


def measured(value: float, dimension: Dimension, source: str) -> Figure:
    """Make a measured figure of a value in the base unit of its dimension; its text reads back as that very float."""
    return Figure(value=float(value), text=format_quantity(value, dimension), kind="measured", source=source)


def resolved_figures(profile: HardwareProfile) -> list[tuple[str, Known]]:
    """Return every figure and duration of `profile` with its dotted path; the links have their presets filled in."""
    resolved = {
        direction: resolve_link(getattr(profile.link, direction), f"link.{direction}") for direction in ("h2d", "d2h")
    }
    found: list[tuple[str, Known]] = []
    for path, place in places().items():
        if place.form == "text":
            continue
        *parents, name = path.split(".")
        link = resolved.get(parents[-1]) if parents else None
        value = getattr(link, name) if link is not None else _at(profile, path)
        if isinstance(value, dict):
            found += [(f"{path}.{dtype}", figure) for dtype, figure in value.items()]
        elif isinstance(value, Known):
            found.append((path, value))
    return found


def _at(profile: HardwareProfile, path: str) -> object:
    return reduce(getattr, path.split("."), profile)


def assumed_figures(profile: HardwareProfile) -> list[tuple[str, Known]]:
    """Return the figures and durations of kind `assumed`, links included, with their dotted paths."""
    return [(path, known) for path, known in resolved_figures(profile) if known.kind == "assumed"]


def describe(known: Known) -> str:
    """Write a figure as its profile has it, a duration as a constant or as the span of its table."""
    match known:
        case Figure(text=text):
            return text
        case Constant(seconds=seconds):
            return format_seconds(seconds) + _weighed(known)
        case DurationTable(amounts=amounts, seconds=seconds):
            first, last = (f"{format_seconds(seconds[i])} at {amounts[i]:g}" for i in (0, -1))
            return f"{len(amounts)} points, {first} to {last}" + _weighed(known)


def _weighed(known: Constant | DurationTable) -> str:
    if known.weights_bytes is None:
        return ""
    others = [format_decimal_bytes(other.weights_bytes or 0) for other in known.other_weights]
    also = f", also for {', '.join(others)}" if others else ""
    return f", for weights of {format_decimal_bytes(known.weights_bytes)}{also}"


def digest(profile: HardwareProfile) -> str:
    """Return the SHA-256 of the resolved profile as canonical JSON: names, values in base units, kinds and sources.

    How a quantity was written ("0.5 GB/s" or "500 MB/s") does not count.
    """
    texts = {path: _at(profile, path) for path, place in places().items() if place.form == "text"}
    figures = {path: _plain(known) for path, known in resolved_figures(profile)}
    canonical = json.dumps({"texts": texts, "figures": figures}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _plain(known: Known) -> dict[str, object]:
    provenance: dict[str, object] = {"kind": known.kind, "source": known.source}
    if not isinstance(known, Figure) and known.weights_bytes is not None:
        provenance["weights"] = known.weights_bytes
        if known.other_weights:
            provenance["other_weights"] = [_plain(other) for other in known.other_weights]
    match known:
        case Figure(value=value):
            return {"value": value, **provenance}
        case Constant(seconds=seconds):
            return {"constant": seconds, **provenance}
        case DurationTable(amounts=amounts, seconds=seconds):
            return {"amounts": amounts, "seconds": seconds, **provenance}
