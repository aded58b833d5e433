"""Sentences that a person can act on, ranked by gain: each with its numbers and what is to be set."""

from collections.abc import Iterator, Mapping, Sequence

from simulator.explain.bounds import BASE
from simulator.explain.metrics import METRIC, THROUGHPUT, Metric, gain_frac
from simulator.explain.told import Told

_BOUNDS = ("no_link", "everything_resident", "belady", "oracle_prefetch")

Facts = Mapping[str, object]
Row = Mapping[str, object]


def advice_of(facts: Facts) -> list[dict[str, object]]:
    """Return the sentences: what helps by falling gain, what bounds that, then what helps too little to matter."""
    objective = METRIC[str(_mapping(facts["objective"])["name"])]
    share = _number(facts["share"])
    now = _mapping(_mapping(facts["as_it_is"])["metrics"])
    changes = _rows(facts["sensitivities"])
    helping = [*_changes(changes, objective, now, share), *_knees(_rows(facts["knees"]), objective, now, share)]
    helping.sort(key=lambda item: -_number(item["gain_frac"]))
    return [
        *helping,
        *_trades(changes, objective, now, share),
        *_bounds(_rows(facts["bounds"]), objective, now, share),
        *_useless(changes, objective, share),
    ]


def _changes(rows: Sequence[Row], objective: Metric, now: Row, share: float) -> Iterator[dict[str, object]]:
    """Tell of each knob its changes that are worth it."""
    for row in rows:
        gain = row["gain_frac"]
        if not isinstance(gain, float) or gain < share:
            continue
        told = Told()
        told.figures |= _numbers(row["figures"])
        most = "at most " if row["is_ideal"] else ""
        text = (
            f"{_capital(row['name'])}: {objective.words} {most}{told.share('gain', gain)} {_better(objective)}, "
            f"{_from_to(told, objective, now, row)}"
        )
        yield _item("change", text + _other(told, objective, now, row) + _price(row) + ".", gain, row, told)


def _trades(rows: Sequence[Row], objective: Metric, now: Row, share: float) -> Iterator[dict[str, object]]:
    """Tell of changes that cost the objective and win throughput."""
    if objective == THROUGHPUT:
        return
    for row in rows:
        gain, other = row["gain_frac"], _gain(THROUGHPUT, now, row)
        if not isinstance(gain, float) or other is None or gain > 0 or other < share:
            continue
        told = Told()
        told.figures |= _numbers(row["figures"])
        text = (
            f"{_capital(row['name'])}: {told.share('throughput_gain', other)} more tokens/s, "
            f"{_from_to(told, THROUGHPUT, now, row)}, and {objective.words} {told.share('gain', gain)} "
            f"{_worse(objective)}{_price(row)}."
        )
        yield _item("trade", text, gain, row, told)


def _knees(rows: Sequence[Row], objective: Metric, now: Row, share: float) -> Iterator[dict[str, object]]:
    """Tell how much is enough, and what that would win."""
    for row in rows:
        if row["status"] != "ok":
            continue
        told = Told()
        at, gain = _mapping(row["at"]), row["gain_frac"]
        limit = told.share("share", share)
        size = _size(told, "at", at)
        gain = gain if isinstance(gain, float) else 0.0
        work = row["work_frac"]
        bound = ""
        if isinstance(work, float):
            what = "compute-bound from there" if work > 0.5 else "still waiting most of the time there"
            bound = f" ({what}: {told.share('work', work)} of the time is work)"
        if row["is_beyond"]:
            unit = "cache" if row["knee"] == "cache" else "link"
            text = (
                f"The {unit} is large enough: {size} would do, and all beyond it wins less than {limit}{bound}."
                if unit == "cache"
                else f"The link is fast enough: {size} would do, and all beyond it wins less than {limit}{bound}."
            )
        else:
            what = "cache" if row["knee"] == "cache" else "link bandwidth"
            text = (
                f"More than {size} of {what} buys nothing, less than {limit}{bound}; up to there {objective.words} gets "
                f"{told.share('gain', gain)} {_better(objective)}, {_from_to(told, objective, now, row)}."
            )
        yield _item("knee", text, 0.0 if row["is_beyond"] else gain, row, told)


def _bounds(rows: Sequence[Row], objective: Metric, now: Row, share: float) -> Iterator[dict[str, object]]:
    """Tell what idealised runs would win, and how far the policies have come."""
    for row in rows:
        gain = row["gain_frac"]
        if row["bound"] == BASE or not isinstance(gain, float):
            continue
        told = Told()
        closed = row["gap_closed_frac"]
        text = f"With {row['words']} {objective.words} would be "
        if gain < share:
            text += f"no better than now, within {told.share('share', share)}"
        else:
            text += f"{told.share('gain', gain)} {_better(objective)}, {_from_to(told, objective, now, row)}"
        if isinstance(closed, float) and closed < 0:
            text += f"; fetching on demand with LRU is nearer to it than this run, by {told.share('gap_closed', closed)} of the gap"
        elif isinstance(closed, float):
            text += f"; of the gap between fetching on demand and that, this run closes {told.share('gap_closed', closed)}"
        yield _item("bound", text + ".", gain, row, told)


def _useless(rows: Sequence[Row], objective: Metric, share: float) -> Iterator[dict[str, object]]:
    """Tell which knobs change the objective by less than what matters, whichever way they are turned."""
    knobs = dict.fromkeys(str(row["knob"]) for row in rows)
    idle = []
    for knob in knobs:
        gains = [row["gain_frac"] for row in rows if row["knob"] == knob and row["status"] == "ok"]
        if gains and all(isinstance(gain, float) and abs(gain) < share for gain in gains):
            idle.append(knob)
    if not idle:
        return
    told = Told()
    text = f"Leave alone: {', '.join(idle)}; each of their changes moves {objective.words} by less than {told.share('share', share)}."
    yield {"kind": "leave", "text": text, "gain_frac": 0.0, "figures": told.figures, "set": [], "command": ""}


def _item(kind: str, text: str, gain: float, row: Row, told: Told) -> dict[str, object]:
    return {
        "kind": kind,
        "text": text,
        "gain_frac": gain,
        "figures": told.figures,
        "set": row["set"],
        "command": row["command"],
    }


def _from_to(told: Told, metric: Metric, now: Row, row: Row) -> str:
    before, after = now[metric.name], _mapping(row["metrics"])[metric.name]
    return f"from {told.metric(metric, 'before', _number(before))} to {told.metric(metric, 'after', _number(after))}"


def _other(told: Told, objective: Metric, now: Row, row: Row) -> str:
    """Tell of the p99 where it moves another way than the mean, or far less."""
    if objective.name != "tpot_mean_s":
        return ""
    p99 = METRIC["tpot_p99_s"]
    gain = _gain(p99, now, row)
    if gain is None:
        return ""
    return f"; {p99.words} {told.share('p99_gain', gain)} {_better(p99) if gain >= 0 else _worse(p99)}"


def _gain(metric: Metric, now: Row, row: Row) -> float | None:
    metrics = _mapping(row["metrics"])
    before, after = now[metric.name], metrics.get(metric.name)
    if not isinstance(before, float) or not isinstance(after, float):
        return None
    return gain_frac(metric, before, after)


def _size(told: Told, name: str, at: Row) -> str:
    if "experts" in at:
        num_bytes = told.num_bytes(name, _number(at["bytes"]))
        return f"{num_bytes} ({told.count(f'{name}_experts', _number(at['experts']))} experts)"
    factor = told.number(f"{name}_factor", _number(at["factor"]), "{:.3g}")
    if "bandwidth_bytes_per_s" not in at:
        return f"{factor} times the speed of now"
    bandwidth = told.number(f"{name}_bandwidth_bytes_per_s", _number(at["bandwidth_bytes_per_s"]), "{:.4g}")
    gigabytes = f"{_number(at['bandwidth_bytes_per_s']) / 1e9:.4g} GB/s"
    del bandwidth
    return f"{gigabytes} ({factor} times that of now)"


def _better(metric: Metric) -> str:
    return "higher" if metric.is_rate else "shorter"


def _worse(metric: Metric) -> str:
    return "lower" if metric.is_rate else "longer"


def _price(row: Row) -> str:
    return f" ({row['price']})" if row.get("price") else ""


def _capital(text: object) -> str:
    return f"{str(text)[0].upper()}{str(text)[1:]}"


def _mapping(value: object) -> Row:
    assert isinstance(value, Mapping)
    return value


def _numbers(value: object) -> dict[str, float]:
    return {str(name): _number(number) for name, number in _mapping(value).items()}


def _rows(value: object) -> Sequence[Row]:
    assert isinstance(value, Sequence)
    return value


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value
