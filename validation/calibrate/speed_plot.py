"""The speed of the machine over a calibration, as a plot: each probe, by whether its sample counted.

Limits: of more than some thousand probes only every so manieth is drawn.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from simulator.html_page import COLOURS, blank_figure
from validation.calibrate.reference import Reference
from validation.calibrate.robust import which_count
from validation.calibrate.samples import Samples

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_MOST_POINTS = 4000
_APART_S = 0.005  # of the probes at the beginning, whose times are not kept: about
_COLOURS = {"at the beginning": COLOURS[2], "counted": COLOURS[0], "did not count": COLOURS[1]}


def speed_plot(samples: Samples, reference: Reference) -> "Figure":
    """Return the plot, with the reference as a line."""
    from plotly.graph_objects import Scatter

    began = datetime.fromisoformat(reference.began)
    figure = blank_figure(f"minutes after {began.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", "probe (us)", height=280)
    probes = _probes(samples, reference)
    every = -(-len(probes) // _MOST_POINTS)
    for kind, colour in _COLOURS.items():
        drawn = [(when, probe_ns) for when, probe_ns, which in probes[::every] if which == kind]
        figure.add_trace(
            Scatter(
                x=[(when - began) / timedelta(minutes=1) for when, _ in drawn],
                y=[probe_ns / 1e3 for _, probe_ns in drawn],
                mode="markers",
                marker={"color": colour, "size": 4},
                name=kind,
            )
        )
    figure.add_hline(y=reference.speed_ns / 1e3, line_width=1)
    return figure


def _probes(samples: Samples, reference: Reference) -> list[tuple[datetime, float, str]]:
    """Return all probes in the order of time: when, ns, and what became of the sample."""
    began = datetime.fromisoformat(reference.began)
    found = [
        (began + timedelta(seconds=index * _APART_S), probe_ns, "at the beginning")
        for index, probe_ns in enumerate(reference.probes_ns)
    ]
    for taken in samples.taken.values():
        began = datetime.fromisoformat(taken.began)
        for one in taken.series:
            for ended_s, probe_ns, counts in zip(one.ended_s, one.probes_ns, which_count(one), strict=True):
                when = began + timedelta(seconds=ended_s)
                found.append((when, probe_ns, "counted" if counts else "did not count"))
    return sorted(found)
