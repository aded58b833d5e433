"""Which of a service's requests are warm-up: those that arrived before the service had settled.

    mser5     as MSER-5 finds in the requests' TTFT and in their TPOT, in the order of arrival; the later of the two
    none      none
    "30 s"    those that arrived before that time

TTFT shows how the queue fills, TPOT how the expert cache does. What is cut off is cut off for all metrics.

Source: see `simulator.metrics.mser`.
Limits: only answered requests are looked at. A service that cannot keep up never settles; then what is cut off means
nothing, and `is_settled` is false.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.metrics.mser import mser_truncation
from simulator.serving.served import Served
from simulator.workload.quantities import parse_span_ns

MSER5 = "mser5"
NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """Requests that arrived before `until_ns` are warm-up, so many. `found_in` is the series that said so, if any did.

    `is_settled` is false where the run is too short, or too unsteady, to tell.
    """

    method: str
    until_ns: int
    num_requests: int
    is_settled: bool
    found_in: str | None = None


def find_warmup(requests: Sequence[Served], asked: str) -> Warmup:
    """Return what of a run is warm-up; `requests` are all that arrived, in that order."""
    if asked not in (MSER5, NONE):
        return _before(requests, parse_span_ns(asked), asked, is_settled=True)
    if asked == NONE:
        return _before(requests, 0, asked, is_settled=True)
    answered = [request for request in requests if request.finished]
    several = [request for request in answered if request.output_tokens > 1]
    series = {
        "ttft": (answered, [_ttft_ns(one) for one in answered]),
        "tpot": (several, [tpot_ns(one) for one in several]),
    }
    until_ns, found_in, is_settled = 0, None, True
    for name, (of_whom, values) in series.items():
        if not values:
            continue
        found = mser_truncation(values)
        is_settled = is_settled and found.is_settled
        at_ns = of_whom[found.num_dropped].arrival.arrival_ns
        if found.num_dropped and at_ns > until_ns:
            until_ns, found_in = at_ns, name
    return _before(requests, until_ns, MSER5, is_settled=is_settled and bool(answered), found_in=found_in)


def _before(
    requests: Sequence[Served], until_ns: int, method: str, *, is_settled: bool, found_in: str | None = None
) -> Warmup:
    count = sum(request.arrival.arrival_ns < until_ns for request in requests)
    return Warmup(method=method, until_ns=until_ns, num_requests=count, is_settled=is_settled, found_in=found_in)


def _ttft_ns(request: Served) -> int:
    return request.first_token_ns - request.arrival.arrival_ns


def tpot_ns(request: Served) -> int:
    """Return the mean time between the output tokens of an answered request, which has two at least."""
    return round((request.last_token_ns - request.first_token_ns) / (request.output_tokens - 1))
