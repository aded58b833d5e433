"""The report of a suite as one self-contained HTML page: plots, tables and the script that draws them.

It is laid out for a telephone as well as for a desk, and follows the reader's choice of light or dark.
"""

from collections.abc import Mapping, Sequence

import yaml

from simulator.html_page import details, drawn, escaped, html_page, sortable_table
from validation.compare.figures import report_figures
from validation.compare.tables import (
    HEADINGS,
    SUMMARY_HEADINGS,
    configuration_cells,
    percent,
    replayed_text,
    summary_rows,
)


def report_page(report: Mapping[str, object]) -> str:
    """Return the page of what `validation.compare.report.build_report` gives."""
    title = f"Simulated and measured: {report['suite']} on {report['device_name']}"
    parts = [f"<p>{escaped(report['description'])}</p>", _headline(report)]
    parts += ["<h2>Errors by group</h2>", _summary_table(_mapping(report["summary"]))]
    figures = report_figures(report)
    parts += [drawn(figure, index, min_width=560) for index, figure in enumerate(figures)]
    parts += ["<h2>Configurations</h2>", _configuration_table(_rows(report["configurations"]))]
    cross = report["cross"]
    if cross is not None:
        rows = _rows(_mapping(cross)["configurations"])
        parts += ["<h2>Predicted with a profile calibrated on the other model</h2>", _cross_table(rows)]
    parts += ["<h2>Profiles</h2>", *(_profile(profile) for profile in _rows(report["profiles"]))]
    return html_page(title, parts)


def _headline(report: Mapping[str, object]) -> str:
    errors = _mapping(_mapping(report["summary"])["all"])
    machine, versions, commit = (_mapping(report[key]) for key in ("machine", "versions", "commit"))
    facts = {
        "Error, steps at the calibrated speed": f"{_quantiles(errors, '')}, over {errors['configurations_steady']} of "
        f"{errors['configurations']} configurations; {percent(errors['steady_frac'])} of the steps ran at the speed at "
        f"which the profile was measured{_without_reference(report)}",
        "Error of TPOT, all steps": f"{_quantiles(errors, 'all_')}, over {errors['configurations']} configurations, "
        "however fast the machine was at the time",
        "Within the measured spread": f"{errors['within_spread']} of {errors['configurations']}; with all steps, "
        f"{errors['all_within_spread']}",
        "Hits, late hits and misses equal": f"{errors['counts_equal']} of {errors['configurations']}; each within "
        f"1 % of the accesses, {errors['counts_within_1_point']}; over all steps, {errors['all_counts_within_1_point']}",
        "Replays": f"{report['repeats']} of each configuration, in random order round by round, and up to as many again "
        "of those with few steps at the calibrated speed",
        "Machine": f"{machine['processor']}, {machine['cores']} cores; {report['device']}: {report['device_name']}",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None),
        "Commit": f"{commit['id']}{' with changes' if commit['is_dirty'] else ''}, {report['date']}",
        "Replayed": replayed_text(report),
    }
    return (
        "<dl>" + "".join(f"<dt>{escaped(key)}</dt><dd>{escaped(value)}</dd>" for key, value in facts.items()) + "</dl>"
    )


def _quantiles(errors: Mapping[str, object], which: str) -> str:
    median, p90, largest = (percent(errors[f"tpot_error_{which}{name}_frac"]) for name in ("median", "p90", "max"))
    return f"median {median}, p90 {p90}, largest {largest}"


def _without_reference(report: Mapping[str, object]) -> str:
    """Say that a speed is unknown where a profile does not tell it: then every step counts."""
    if all(profile["speed_probe_s"] is not None for profile in _rows(report["profiles"])):
        return ""
    return " (a profile that does not tell its speed takes every step)"


def _summary_table(summary: Mapping[str, object]) -> str:
    cells = [[(value, value) for value in row] for row in summary_rows(summary)]
    return sortable_table(("group", *SUMMARY_HEADINGS), cells)


def _configuration_table(rows: Sequence[Mapping[str, object]]) -> str:
    return sortable_table(HEADINGS, [configuration_cells(row) for row in rows])


def _cross_table(rows: Sequence[Mapping[str, object]]) -> str:
    headings = (
        "configuration",
        "profile of",
        "error, steps at the calibrated speed",
        "their share",
        "error, all steps",
        "error of ITL p50",
        "within spread",
    )
    cells = [
        [
            (str(row["id"]), str(row["id"])),
            (str(row["profile_of"]), str(row["profile_of"])),
            (row["tpot_error_frac"], percent(row["tpot_error_frac"], signed=True)),
            (row["steady_frac"], percent(row["steady_frac"])),
            (row["tpot_error_all_frac"], percent(row["tpot_error_all_frac"], signed=True)),
            (row["itl_p50_error_frac"], percent(row["itl_p50_error_frac"], signed=True)),
            (str(row["within_spread"]), "yes" if row["within_spread"] else "no"),
        ]
        for row in rows
    ]
    return sortable_table(headings, cells)


def _profile(profile: Mapping[str, object]) -> str:
    measured_on = profile["measured_on"]
    title = f"{profile['name']}{f', measured on {measured_on}' if measured_on else ''}, SHA-256 {profile['sha256']}"
    text = yaml.safe_dump(profile["profile"], sort_keys=False, allow_unicode=True)
    return details(title, f"<pre>{escaped(text)}</pre>")


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _rows(value: object) -> Sequence[Mapping[str, object]]:
    assert isinstance(value, Sequence)
    return value
