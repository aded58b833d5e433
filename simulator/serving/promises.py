"""Whether a request got what its class was promised."""

from collections.abc import Mapping
from typing import Literal

from simulator.metrics.goodput import Served as Outcome
from simulator.metrics.goodput import Slo, missed_promises
from simulator.serving.served import Served

Judgement = Literal["kept", "missed", "open"]
NO_PROMISE = Slo()


def missed_by(request: Served, slo: Slo) -> list[str]:
    """Name the promises that an answered request did not get."""
    return missed_promises(_outcome(request, request.first_token_ns, request.finished_ns), slo)


def judged(request: Served, slos: Mapping[str, Slo], end_ns: int) -> Judgement:
    """Judge a request at the end of a run: refused is missed; unanswered is open, unless it is too late already."""
    slo = slos.get(request.class_name, NO_PROMISE)
    if request.is_refused:
        return "missed"
    if request.finished:
        return "missed" if missed_by(request, slo) else "kept"
    waited_ns = end_ns - request.arrival.arrival_ns
    first_ns = waited_ns if request.first_token_ns < 0 else request.first_token_ns - request.arrival.arrival_ns
    is_late = (slo.ttft_ns is not None and first_ns > slo.ttft_ns) or (
        slo.e2e_ns is not None and waited_ns > slo.e2e_ns
    )
    return "missed" if is_late else "open"


def _outcome(request: Served, first_ns: int, finished_ns: int) -> Outcome:
    return Outcome(
        class_name=request.class_name,
        arrival_ns=request.arrival.arrival_ns,
        first_token_ns=first_ns,
        finished_ns=finished_ns,
        output_tokens=request.output_tokens,
        max_itl_ns=request.max_itl_ns if request.output_tokens > 1 else None,
    )
