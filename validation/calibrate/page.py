"""A calibration as one self-contained HTML page: what was measured, what was fitted to it, what went into the profile."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

from hardware_profiles.figures import describe, resolved_figures
from hardware_profiles.quantity import format_seconds
from simulator.html_page import COLOURS, blank_figure, details, drawn, escaped, html_page, paragraph
from validation.calibrate.evidence import Fitted
from validation.calibrate.facts import Facts
from validation.calibrate.measurement import spreads
from validation.calibrate.profile import Calibrated
from validation.calibrate.reference import speed_in_words
from validation.calibrate.robust import Series
from validation.calibrate.samples import Samples, Taken
from validation.calibrate.speed_plot import speed_plot

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_AXES = {"tokens": "tokens", "bytes": "bytes", "threads": "threads", "kernels": "kernels"}


def calibration_page(calibrated: Calibrated, facts: Facts, samples: Samples, titles: Mapping[str, str]) -> str:
    """Return the page: plots and the script that draws them, nothing to be fetched."""
    parts = [paragraph(_summary(facts, samples)), paragraph(_check(calibrated))]
    parts += [
        "<h2>What went into the profile</h2>",
        _profile_table(calibrated),
        *_sections(calibrated, samples, titles),
    ]
    parts += ["<h2>Machine and versions</h2>", _facts_table(facts, samples)]
    return html_page(f"Calibration of {facts.device_name} for {facts.model}", parts)


def _summary(facts: Facts, samples: Samples) -> str:
    began = sorted(taken.began for taken in samples.taken.values())
    took_s = sum(taken.took_s for taken in samples.taken.values())
    num_samples = sum(
        len(values) for taken in samples.taken.values() for one in taken.series for values in one.samples.values()
    )
    return (
        f"{facts.model} in {facts.dtype}; {len(samples.taken)} measurements, {num_samples} samples in {took_s:.0f} s, "
        f"the first begun {began[0]}, the last {began[-1]}. Points are medians, bars reach from quartile to quartile, lines "
        "are what the profile says. Everything was measured in turns over its points, in random order."
    )


def _check(calibrated: Calibrated) -> str:
    return (
        f"Check: within whole passes, experts of one token took {calibrated.expert_in_pass_frac:.1%} of what the profile "
        "says. Far from 100 %, the machine was disturbed, or does other things in a run than in a measurement."
    )


def _sections(calibrated: Calibrated, samples: Samples, titles: Mapping[str, str]) -> Iterator[str]:
    number = count()
    if samples.reference is not None and calibrated.counted_frac is not None:
        yield "<h2>Speed of the machine</h2>"
        yield paragraph(_speed(samples.reference.speed_ns, calibrated.counted_frac))
        yield drawn(speed_plot(samples, samples.reference), next(number))
    for name, taken in samples.taken.items():
        yield f"<h2>{escaped(titles.get(name, name))}</h2>"
        fits = [fitted for fitted in calibrated.fits if fitted.measurement == name]
        for figure in _figures(name, taken, fits):
            yield drawn(figure, next(number))
        for fitted in fits:
            yield paragraph(_told(fitted))
        yield _samples_table(taken)


def _speed(reference_ns: float, counted_frac: float) -> str:
    return (
        f"Machine speed: {speed_in_words(reference_ns, counted_frac)}. A probe is a fixed piece of work, "
        "timed before and after each sample; the slower of both is shown. Samples taken at the speed chosen at the "
        "beginning count."
    )


def _figures(name: str, taken: Taken, fits: Sequence[Fitted]) -> "Iterator[Figure]":
    """Yield a plot of the times, and one of the residuals where something was fitted; none of a single point."""
    along = next((key for key in _AXES if key in taken.series[0].at), None)
    if along is None or len(taken.series) < 2 or along == "threads":
        return
    quantities = list(taken.series[0].samples)
    if name == "pass.decode":
        quantities = ["layer", "step"]
    yield _times(taken.series, along, quantities, fits)
    if fits:
        yield _residuals(along, fits)


def _times(series: Sequence[Series], along: str, quantities: Sequence[str], fits: Sequence[Fitted]) -> "Figure":
    from plotly.graph_objects import Scatter

    figure = blank_figure(_AXES[along], "time (us)")
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    colour = dict(zip(quantities, COLOURS, strict=False))
    for quantity in quantities:
        known = spreads(series, quantity)
        figure.add_trace(
            Scatter(
                x=[one.at[along] for one in series],
                y=[spread.median_s * 1e6 for spread in known],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [(spread.upper_quartile_s - spread.median_s) * 1e6 for spread in known],
                    "arrayminus": [(spread.median_s - spread.lower_quartile_s) * 1e6 for spread in known],
                },
                text=[_where(one) for one in series],
                mode="markers",
                marker={"color": colour[quantity], "size": 7},
                name=quantity,
            )
        )
    for fitted in fits:
        if fitted.quantity not in colour:
            continue
        drawn = sorted(zip(fitted.series, fitted.fit.predicted_s, strict=True), key=lambda item: item[0].at[along])
        contexts = sorted({one.at.get("context", 0.0) for one in series})
        for context in contexts:
            line = [(one.at[along], value) for one, value in drawn if one.at.get("context", 0.0) == context]
            figure.add_trace(
                Scatter(
                    x=[x for x, _ in line],
                    y=[value * 1e6 for _, value in line],
                    mode="lines",
                    line={"color": colour[fitted.quantity], "width": 1},
                    name=fitted.path + (f", context {context:g}" if len(contexts) > 1 else ""),
                )
            )
    return figure


def _residuals(along: str, fits: Sequence[Fitted]) -> "Figure":
    from plotly.graph_objects import Scatter

    figure = blank_figure(_AXES[along], "fitted less measured (%)", height=280)
    figure.update_xaxes(type="log")
    for fitted, colour in zip(fits, COLOURS, strict=False):
        figure.add_trace(
            Scatter(
                x=[one.at[along] for one in fitted.series],
                y=[100 * residual for residual in fitted.fit.relative_residuals],
                text=[_where(one) for one in fitted.series],
                mode="markers",
                marker={"color": colour, "size": 7},
                name=fitted.path,
            )
        )
    return figure


def _told(fitted: Fitted) -> str:
    values = ", ".join(f"{name} {value:.4g}" for name, value in fitted.fit.parameters.items())
    largest = f"{fitted.fit.largest_relative_residual:.1%}"
    told = f"{fitted.path}, fitted to {fitted.quantity}: largest relative residual {largest}"
    return f"{told}; {values}" if values else told


def _samples_table(taken: Taken) -> str:
    rows = []
    for one in taken.series:
        for quantity, values in one.samples.items():
            (spread,) = spreads([one], quantity)
            quartiles = f"{format_seconds(spread.lower_quartile_s)} to {format_seconds(spread.upper_quartile_s)}"
            error = f"{spread.relative_error:.1%}"
            rows.append(
                [
                    _where(one),
                    quantity,
                    format_seconds(spread.median_s),
                    quartiles,
                    error,
                    _counted(spread.count, len(values)),
                ]
            )
    head = ["point", "timed", "median", "quartiles", "error of the median", "samples"]
    return details("All points", _table(head, rows))


def _profile_table(calibrated: Calibrated) -> str:
    rows = [[path, describe(known), known.source] for path, known in resolved_figures(calibrated.profile)]
    return _table(["figure", "value", "measured how"], rows)


def _facts_table(facts: Facts, samples: Samples) -> str:
    rows = [[key, value] for key, value in samples.identity.items()]
    rows += [[key, value] for key, value in facts.versions.items() if key not in samples.identity]
    return _table(["", ""], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="prose"><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _where(one: Series) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in one.at.items())


def _counted(count: int, taken: int) -> str:
    return str(count) if count == taken else f"{count} of {taken}"
