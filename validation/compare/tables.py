"""A report's numbers as rows of text, for the terminal, the page and the documentation."""

from collections.abc import Mapping, Sequence

Cell = tuple[object, str]
"""A value to sort by, and how it is shown."""

HEADINGS = (
    "configuration",
    "TPOT measured",
    "TPOT simulated",
    "error, steps at the calibrated speed",
    "their spread",
    "their share",
    "error, all steps",
    "spread, all steps",
    "ITL p50",
    "ITL p90",
    "ITL p99",
    "hits",
    "late hits",
    "misses",
    "demand GB",
    "prefetch GB",
    "counts equal",
    "off by",
    "off by, all steps",
)
SUMMARY_HEADINGS = (
    "configurations",
    "steps at the calibrated speed",
    "median",
    "p90",
    "max",
    "signed mean",
    "within spread",
    "all steps: median",
    "p90",
    "max",
    "signed mean",
    "within spread",
    "counts equal",
    "within 1 point",
    "within 1 point, all steps",
)
"""What `summary_rows` gives after the group's name: errors of the steps at the calibrated speed, then of all."""
_GROUPS = {
    "by_model": "model",
    "by_eviction": "eviction",
    "by_prefetch": "prefetch",
    "by_miss": "miss",
    "by_batch": "batch",
}


def configuration_cells(row: Mapping[str, object]) -> list[Cell]:
    """Return the cells under `HEADINGS` of one configuration; pairs are measured / simulated."""
    measured, simulated, spread = (_mapping(row[key]) for key in ("measured", "simulated", "spread"))
    steady = _mapping(row["steady"])
    name = str(row["id"])
    cells: list[Cell] = [(name, name)]
    cells += [(side["tpot_s"], milliseconds(side["tpot_s"])) for side in (measured, simulated)]
    cells += _error_cells(row["tpot_error_frac"], steady)
    cells.append((row["steady_frac"], percent(row["steady_frac"])))
    cells += _error_cells(row["tpot_error_all_frac"], spread)
    for key in ("itl_p50_s", "itl_p90_s", "itl_p99_s"):
        cells.append((measured[key], f"{milliseconds(measured[key])} / {milliseconds(simulated[key])}"))
    for key in ("hits", "late_hits", "misses"):
        cells.append((measured[key], f"{measured[key]} / {simulated[key]}"))
    for key in ("h2d_demand_bytes", "h2d_prefetch_bytes"):
        cells.append((measured[key], f"{_number(measured[key]) / 1e9:.2f} / {_number(simulated[key]) / 1e9:.2f}"))
    cells.append((str(row["counts_equal"]), "yes" if row["counts_equal"] else "no"))
    cells += [(row[key], percent(row[key])) for key in ("counts_off_frac", "counts_off_all_frac")]
    return cells


def summary_rows(summary: Mapping[str, object]) -> list[list[str]]:
    """Return the errors over all and of each group: its name, and what is under `SUMMARY_HEADINGS`."""
    groups = {"all": _mapping(summary["all"])}
    for key, word in _GROUPS.items():
        members = _mapping(summary[key])
        if len(members) > 1:
            groups |= {f"{word} {name}": _mapping(errors) for name, errors in members.items()}
    return [[name, *_errors(errors)] for name, errors in groups.items() if errors["configurations"]]


def _error_cells(error: object, spread: Mapping[str, object]) -> list[Cell]:
    return [(error, percent(error, signed=True)), (spread["max_frac"], range_text(spread))]


def _errors(errors: Mapping[str, object]) -> list[str]:
    cells = [str(errors["configurations"]), percent(errors["steady_frac"])]
    for which in ("", "all_"):
        cells += [percent(errors[f"tpot_error_{which}{name}_frac"]) for name in ("median", "p90", "max")]
        cells += [
            percent(errors[f"tpot_error_{which}signed_mean_frac"], signed=True),
            str(errors[f"{which}within_spread"]),
        ]
    counts = ("counts_equal", "counts_within_1_point", "all_counts_within_1_point")
    return [*cells, *(str(errors[key]) for key in counts)]


def replayed_text(report: Mapping[str, object]) -> str:
    """Say when the replays of a report were made, and of which commits: it may have been written later."""
    told = []
    entries = report["replays_of"]
    assert isinstance(entries, Sequence)
    for entry in entries:
        commit, first, last = entry["commit"], str(entry["first"]), str(entry["last"])
        when = f"{first[:16].replace('T', ' ')} to {last[11:16] if first[:10] == last[:10] else last[:16].replace('T', ' ')}"
        changed = " with changes" if commit["is_dirty"] else ""
        told.append(f"{entry['replays']} replays, {when}, commit {str(commit['id'])[:12]}{changed}")
    return "; ".join(told)


def percent(value: object, *, signed: bool = False) -> str:
    """Write a share as a percentage; a dash for none."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value:+.1%}" if signed else f"{value:.1%}"


def range_text(spread: Mapping[str, object]) -> str:
    """Write the range of the repeats around their median; a dash for none."""
    if spread["min_frac"] is None:
        return "-"
    return f"{percent(spread['min_frac'], signed=True)} to {percent(spread['max_frac'], signed=True)}"


def milliseconds(seconds: object) -> str:
    """Write a duration; a dash for none."""
    return f"{seconds * 1e3:.4g} ms" if isinstance(seconds, int | float) else "-"


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
