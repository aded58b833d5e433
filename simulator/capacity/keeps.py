"""Whether a service sustains the rate at which a run's requests arrived.

    something is promised   of every class with an objective, at least a share of the requests keep to it; refused requests
                            do not, nor do unanswered ones that are too late already
    nothing is promised     the backlog grows by no more than the rest of the share of what arrives, refused requests counted

Requests of the warm-up are left out. Several replications are judged as one.

Source: goodput as the rate at which a share of requests meets the SLO, DistServe (arXiv 2401.09670), section 2; for the
backlog see `simulator.serving.backlog`.
"""

from collections.abc import Mapping, Sequence

from hardware_profiles.errors import InputError

Summary = Mapping[str, object]


def criterion(promised: Sequence[str], share: float) -> str:
    """Say in a sentence when a rate is sustained."""
    if promised:
        of_all = " of " + ", ".join(promised) if len(promised) > 1 or promised != ["default"] else ""
        return f"at least {share:.4g} of the requests{of_all} that arrive after the warm-up keep to their SLO"
    return f"the backlog, with what is refused, grows by at most {1 - share:.4g} of what arrives"


def kept_share(summaries: Sequence[Summary], promised: Sequence[str], source: str) -> float:
    """Return what is held against the share: of the worst class that is promised something, or 1 less the growth.

    Raises InputError where too few requests arrived to tell.
    """
    if not promised:
        return 1 - sum(_behind(summary, source) for summary in summaries) / len(summaries)
    shares = []
    for name in promised:
        counts = [_mapping(_mapping(_steady(one)["kept_by_class"]).get(name, {})) for one in summaries]
        judged = sum(_number(one.get("judged", 0)) for one in counts)
        if judged:
            shares.append(sum(_number(one.get("kept", 0)) for one in counts) / judged)
    if not shares:
        raise InputError(source, f"slo: no request of {', '.join(promised)} is left to judge; name more requests")
    return min(shares)


def _behind(summary: Summary, source: str) -> float:
    service, growth = _mapping(summary["service"]), _steady(summary)["backlog_growth_frac"]
    if growth is None:
        raise InputError(source, "workload: too few requests to see whether the backlog grows; name 1000 or more")
    refused = sum(_number(count) for count in _mapping(service["refused"]).values())
    return _number(growth) + refused / _number(service["arrived"])


def _steady(summary: Summary) -> Mapping[str, object]:
    return _mapping(_mapping(summary["service"])["steady"])


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
