"""Rows of a sweep as columns: axes with their levels, metrics, and texts, each text stored once."""

import math
from collections.abc import Iterable, Mapping, Sequence

from hardware_profiles.errors import InputError
from simulator.explorer.names import name_of
from simulator.metrics.counters import ATTRIBUTION

Row = Mapping[str, object]
Column = Sequence[object]

_TOLD = ("status", "reason", "command", "key")
_FAILED_WITHOUT_REASON = "no reason was given"


def columns_of(rows: Sequence[Row], axes: Sequence[str]) -> dict[str, object]:
    """Return what the page shows of rows, as plain values.

    A mapping within a row becomes columns of its own, `tpot_s.p50` for what stands in `tpot_s` under `p50`, so that a run's
    summary may be a row. Columns of numbers that are no axis are metrics; what is the same in all rows and no number that
    differs is said once, in `constants`. Numbers that JSON has not (infinities) count as missing.

    Raises InputError if there are no rows, or an axis is in none of them.
    """
    if not rows:
        raise InputError("rows", "there are none to show; run at least one point")
    flat = [dict(_flat(row)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    missing = [axis for axis in axes if axis not in names]
    if missing:
        known = ", ".join(name for name in names if name not in _TOLD)
        raise InputError("axes", [f"{axis} is in no row; there are {known}" for axis in missing])
    values = {name: [row.get(name) for row in flat] for name in names}
    metrics: dict[str, Column] = {}
    texts: dict[str, Column] = {}
    constants: list[dict[str, object]] = []
    for name in names:
        column = values[name]
        if name in axes or name in _TOLD or all(value is None for value in column):
            continue
        if all(value is None or _is_number(value) for value in column):
            metrics[name] = column
        elif all(value == column[0] for value in column):
            constants.append({"name": name, "label": name_of(name).label, "text": _text(column[0])})
        else:
            texts[name] = column
    failed = [status not in (None, "ok") for status in values.get("status", [None] * len(rows))]
    reasons = values.get("reason", [None] * len(rows))
    return {
        "count": len(rows),
        "axes": [_axis(name, values[name]) for name in axes],
        "metrics": [_metric(name, column) for name, column in metrics.items()],
        "attribution": _attribution(metrics),
        "texts": [_levelled(name, [_text(value) for value in column]) for name, column in texts.items()],
        "constants": constants,
        "failed": [int(is_failed) for is_failed in failed],
        "reason": _levelled(
            "reason",
            [
                _text(reason) or _FAILED_WITHOUT_REASON if is_failed else ""
                for reason, is_failed in zip(reasons, failed, strict=True)
            ],
        ),
        "command": _worded([_text(value) for value in values.get("command", [None] * len(rows))]),
        "key": [_text(value) or str(place) for place, value in enumerate(values.get("key", [None] * len(rows)))],
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


def _attribution(metrics: Mapping[str, Column]) -> list[dict[str, str]]:
    """Return the metrics that divide a run's time by cause: of the same times in two units, the whole numbers."""
    for pattern in ("attribution_ns.{}", "attribution_s.{}", "attribution_{}_ns", "attribution_{}_s", "{}_ns", "{}_s"):
        found = [(cause, pattern.format(cause)) for cause in ATTRIBUTION if pattern.format(cause) in metrics]
        if found:
            return [{"name": name, "label": cause.replace("_", " ")} for cause, name in found]
    return []


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
