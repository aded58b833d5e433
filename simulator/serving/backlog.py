"""Whether a service keeps up: how fast the number of requests that are in it grows.

The growth is the slope of the least-squares line through the number of requests in the queue and running, over the second
half of the time in which requests arrive, divided by how many arrive meanwhile: 0 where all that arrives is answered sooner
or later, 1 - 1/load where more work arrives than can be done.

Limits: of n requests a growth below about 1 / sqrt(n) may be chance, at loads near 1.
"""

import numpy as np

from simulator.serving.record import Record

_LEAST_BINS = 8


def backlog_growth_frac(record: Record) -> float | None:
    """Return by what share of the arrivals the backlog grows; None of a run that is too short to tell."""
    series = record.series
    if not record.requests:
        return None
    arrivals_ns = np.array([request.arrival.arrival_ns for request in record.requests], np.int64)
    last_ns, width_ns = int(arrivals_ns[-1]), series.width_ns
    first, last = -(-(last_ns // 2) // width_ns), min(last_ns // width_ns, len(series.bins))
    num_arrivals = int(((arrivals_ns >= first * width_ns) & (arrivals_ns < last * width_ns)).sum())
    if last - first < _LEAST_BINS or not num_arrivals:
        return None
    running, waiting = series.names.index("running_ns"), series.names.index("waiting_ns")
    in_system = np.array([(bin_[running] + bin_[waiting]) / width_ns for bin_ in series.bins[first:last]])
    at = np.arange(len(in_system)) - (len(in_system) - 1) / 2
    growth = float((at * in_system).sum() / (at**2).sum()) * len(in_system)
    return growth / num_arrivals
