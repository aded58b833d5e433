"""Rows of a sweep as columns: axes with their levels, metrics, and texts, each text stored once."""

import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence

from hardware_profiles.errors import InputError
from simulator.explorer.names import name_of
from simulator.metrics.counters import ATTRIBUTION

Row = Mapping[str, object]
Column = Sequence[object]

_TOLD = ("point", "status", "reason", "command", "key")
_NEEDED = ("tokens",)  # by plots, even where they are the same everywhere
_CAUSE = re.compile(r"attribution_(?:n?s\.)?(.+?)(?:_n?s)?")
_FAILED_WITHOUT_REASON = "no reason was given"


def columns_of(rows: Sequence[Row], axes: Sequence[str]) -> dict[str, object]:
    """Return what the page shows of rows, as plain values.

    A mapping within a row becomes columns of its own, `tpot_s.p50` for what stands in `tpot_s` under `p50`, so that a run's
    summary may be a row. Columns of numbers that are no axis are metrics; what all rows say alike is said once, in
    `constants`, and of a time that stands there in s and in ns the whole number is taken. Numbers that JSON has not
    (infinities) count as missing.

    Raises InputError if there are no rows or no axes, or an axis is in none of the rows.
    """
    if not rows:
        raise InputError("rows", "there are none to show; run at least one point")
    if not axes:
        raise InputError("axes", "there are none to show rows along; name at least one column")
    flat = [dict(_flat(row)) | {name: row[name] for name in axes if name in row} for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    missing = [axis for axis in axes if axis not in names]
    if missing:
        known = ", ".join(name for name in names if name not in _TOLD)
        raise InputError("axes", [f"{axis} is in no row; there are {known}" for axis in missing])
    values = {name: [row.get(name) for row in flat] for name in names}
    shown = [name for name in names if name not in axes and name not in _TOLD and not _is_twin(name, values)]
    shown = [name for name in shown if any(value is not None for value in values[name])]
    causes = dict(_causes(shown))
    metrics, texts, constants = [], [], []
    for name in shown:
        column = values[name]
        is_constant = all(value == column[0] for value in column) and name not in causes and name not in _NEEDED
        if is_constant and (len(rows) > 1 or not _is_number(column[0])):
            constants.append(name)
        elif all(value is None or _is_number(value) for value in column):
            metrics.append(name)
        else:
            texts.append(name)
    failed = [status not in (None, "ok") for status in values.get("status", [None] * len(rows))]
    reasons = values.get("reason", [None] * len(rows))
    return {
        "count": len(rows),
        "axes": [_axis(name, values[name]) for name in axes],
        "metrics": [_metric(name, values[name]) for name in metrics],
        "attribution": [{"name": name, "label": label} for name, label in causes.items()],
        "texts": [_levelled(name, [_text(value) for value in values[name]]) for name in texts],
        "constants": [_constant(name, values[name][0]) for name in constants],
        "failed": [int(is_failed) for is_failed in failed],
        "reason": _levelled(
            "reason",
            [
                _text(reason) or _FAILED_WITHOUT_REASON if is_failed else ""
                for reason, is_failed in zip(reasons, failed, strict=True)
            ],
        ),
        "command": _worded([_text(value) for value in values.get("command", [None] * len(rows))]),
        "key": _distinct([_text(value) for value in values.get("key", [None] * len(rows))]),
    }


def _flat(row: Row, prefix: str = "") -> Iterable[tuple[str, object]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "; ".join(map(str, value))
    return str(value)


def _axis(name: str, column: Column) -> dict[str, object]:
    """Return an axis: its levels, numbers in rising order, others in order of appearance, and each row's place in them."""
    known = name_of(name)
    levels: list[object]
    if all(_is_number(value) and _finite(value) is not None for value in column):
        levels, kind = sorted(set(column), key=_as_float), "number"
        column_of = column
    else:
        column_of = [_text(value) or "none" for value in column]
        levels, kind = list(dict.fromkeys(column_of)), "category"
    place = {level: index for index, level in enumerate(levels)}
    return {
        "name": name,
        "label": name,
        "unit": "" if known.unit == "frac" else known.unit,  # as it was asked for
        "kind": kind,
        "levels": levels,
        "at": [place[value] for value in column_of],
    }


def _as_float(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _metric(name: str, column: Column) -> dict[str, object]:
    known = name_of(name)
    return {
        "name": name,
        "label": known.label,
        "unit": known.unit,
        "less_is_better": known.less_is_better,
        "values": [_finite(value) for value in column],
    }


def _constant(name: str, value: object) -> dict[str, object]:
    known = name_of(name)
    is_number = _is_number(value) and _finite(value) is not None
    return {"label": known.label, "unit": known.unit, "value": value if is_number else _text(value)}


def _is_twin(name: str, names: Container[str]) -> bool:
    """Tell whether a time in s also stands there in ns: `attribution_s.idle`, `attribution_idle_s`."""
    in_ns = name.replace("_s.", "_ns.") if "_s." in name else f"{name.removesuffix('_s')}_ns"
    return in_ns != name and in_ns in names


def _causes(names: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Yield the columns that divide a run's time by cause, and the causes' names."""
    for name in names:
        if match := _CAUSE.fullmatch(name):
            yield name, match[1].replace("_", " ")
        elif name.removesuffix("_ns") in ATTRIBUTION:
            yield name, name.removesuffix("_ns").replace("_", " ")


def _levelled(name: str, texts: Sequence[str]) -> dict[str, object]:
    levels = list(dict.fromkeys(texts))
    place = {level: index for index, level in enumerate(levels)}
    return {"name": name, "label": name_of(name).label, "levels": levels, "at": [place[text] for text in texts]}


def _worded(texts: Sequence[str]) -> dict[str, object]:
    """Return texts as words and the places of each text's words: commands of a sweep share nearly all of them."""
    words = {
        word: index for index, word in enumerate(dict.fromkeys(word for text in texts for word in text.split(" ")))
    }
    return {"words": list(words), "rows": [[words[word] for word in text.split(" ")] for text in texts]}


def _distinct(keys: Sequence[str]) -> list[str]:
    """Return keys by which rows are found: those that rows have not, or share, with the row's place added."""
    seen: set[str] = set()
    found = []
    for place, key in enumerate(keys):
        found.append(f"{key}.{place}".removeprefix(".") if not key or key in seen else key)
        seen.add(key)
    return found
