"""Goodput: requests and tokens per second of those requests that got what was promised to their class.

Source: the term, and that a request counts only if it meets both its TTFT and its TPOT, from DistServe (arXiv 2401.09670),
section 1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

NS_PER_S = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """What a class is promised, from arrival on; None is no promise. A latency that is equal to its bound meets it."""

    ttft_ns: int | None = None
    tpot_ns: int | None = None
    itl_ns: int | None = None
    e2e_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What became of a request: times in ns, None for what has not happened (rejected, or cut off by the end of the run).

    `max_itl_ns` is its longest time between two output tokens, None if it had fewer than two.
    """

    class_name: str
    arrival_ns: int
    first_token_ns: int | None
    finished_ns: int | None
    output_tokens: int
    max_itl_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """Of `requests`, `met` got all that was promised; `missed` counts by promise, and unfinished ones, so a request may
    count several times. `met_frac` is None of no requests; rates are per second of the time that was asked for.
    """

    requests: int
    met: int
    met_frac: float | None
    missed: Mapping[str, int]
    requests_per_s: float
    tokens_per_s: float


PROMISES = ("ttft", "tpot", "itl", "e2e", "unfinished")


def missed_promises(served: Served, slo: Slo) -> list[str]:
    """Name the promises that a request did not get; `unfinished` for one without an end, whatever was promised."""
    missed = []
    first_ns, finished_ns = served.first_token_ns, served.finished_ns
    if first_ns is not None and slo.ttft_ns is not None and first_ns - served.arrival_ns > slo.ttft_ns:
        missed.append("ttft")
    if first_ns is not None and finished_ns is not None and slo.tpot_ns is not None:
        allowed_ns = slo.tpot_ns * max(0, served.output_tokens - 1)  # so that whole ns are compared
        missed += ["tpot"] if finished_ns - first_ns > allowed_ns else []
    if slo.itl_ns is not None and served.max_itl_ns is not None and served.max_itl_ns > slo.itl_ns:
        missed.append("itl")
    if finished_ns is None:
        missed.append("unfinished")
    elif slo.e2e_ns is not None and finished_ns - served.arrival_ns > slo.e2e_ns:
        missed.append("e2e")
    return missed


def goodput(requests: Iterable[Served], slos: Mapping[str, Slo], span_ns: int) -> dict[str, Goodput]:
    """Return the goodput of each class over `span_ns`, in alphabetical order, and of `all`.

    A class without an entry in `slos` is promised no more than to be finished. Unfinished requests count as not met, so
    that nobody gains by starving them; leave out those that came too late to be judged. Raises ValueError for a class
    called `all`, and for no time.
    """
    if span_ns <= 0:
        raise ValueError(f"span_ns is {span_ns}; it should be above 0")
    tallies: dict[str, _Tally] = {}
    whole = _Tally()
    for served in requests:
        if served.class_name == "all":
            raise ValueError("a class is called 'all', which is the name of all of them; call it otherwise")
        missed = missed_promises(served, slos.get(served.class_name, _NO_PROMISE))
        for tally in (tallies.setdefault(served.class_name, _Tally()), whole):
            tally.add(served, missed)
    return {name: tallies[name].result(span_ns) for name in sorted(tallies)} | {"all": whole.result(span_ns)}


_NO_PROMISE = Slo()


class _Tally:
    def __init__(self) -> None:
        self.requests, self.met, self.tokens = 0, 0, 0
        self.missed = dict.fromkeys(PROMISES, 0)

    def add(self, served: Served, missed: list[str]) -> None:
        self.requests += 1
        if not missed:
            self.met += 1
            self.tokens += served.output_tokens
        for promise in missed:
            self.missed[promise] += 1

    def result(self, span_ns: int) -> Goodput:
        return Goodput(
            requests=self.requests,
            met=self.met,
            met_frac=self.met / self.requests if self.requests else None,
            missed=self.missed,
            requests_per_s=self.met * NS_PER_S / span_ns,
            tokens_per_s=self.tokens * NS_PER_S / span_ns,
        )
