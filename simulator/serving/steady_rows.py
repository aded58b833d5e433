"""How the settled metrics of a service are told: rows of text that a table, or a page, lays out."""

from collections.abc import Callable, Mapping, Sequence

from simulator.durations import format_duration

HEADINGS = ("", "mean", "± (95 %)", "p50", "p90", "p99")
TOO_NARROW = "* too narrow: its batches still depend on each other; run longer, or use --replications"
_LATENCIES = {"queueing_s": "queueing", "ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "E2E"}
_RATES = {
    "throughput_tokens_per_s": "tokens/s",
    "throughput_requests_per_s": "requests/s",
    "goodput_requests_per_s": "goodput, requests/s",
}


def steady_title(steady: Mapping[str, object]) -> str:
    """Say what was left out, and whether the run was long enough to tell."""
    cut = _mapping(steady["warmup"])
    said = f"without the {cut['requests']} requests of the first {format_duration(cut['until_s'])}"
    if cut["method"] == "none" or not cut["requests"]:
        said = "nothing left out as warm-up"
    elif cut["found_in"]:
        said += f", warm-up by MSER-5 on {str(cut['found_in']).upper()}"
    unsettled = "" if cut["is_settled"] else "; too short, or overloaded, to tell warm-up from the rest"
    return f"Settled: {steady['requests']} requests, {said}{unsettled}"


def steady_rows(steady: Mapping[str, object]) -> Sequence[Sequence[str]]:
    """Return the rows below `HEADINGS`; a `*` marks what `TOO_NARROW` explains."""
    rows = []
    for key, name in _LATENCIES.items():
        found = _mapping(steady[key])
        if found["mean"] is not None:
            percentiles = [format_duration(found[one]) for one in ("p50", "p90", "p99")]
            rows.append((name, format_duration(found["mean"]), _interval(found, format_duration), *percentiles))
    for key, name in _RATES.items():
        found = _mapping(steady[key])
        if found["mean"] is not None:
            rows.append((name, _rate(found["mean"]), _interval(found, _rate), "", "", ""))
    kept = _mapping(steady["kept_slo_frac"])
    if kept["mean"] is not None:
        rows.append(("kept their SLO", _share(kept["mean"]), _interval(kept, _share), "", "", ""))
    return rows


def _interval(found: Mapping[str, object], written: Callable[[object], str]) -> str:
    low, high = found["low"], found["high"]
    if not isinstance(low, float) or not isinstance(high, float):
        return "-"
    return f"{written((high - low) / 2)}{'' if found['are_independent'] else ' *'}"


def _rate(value: object) -> str:
    assert isinstance(value, float)
    return f"{value:.4g}"


def _share(value: object) -> str:
    assert isinstance(value, float)
    return f"{value:.1%}"


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value
