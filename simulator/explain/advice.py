"""Sentences that a person can act on, ranked by gain: each with its numbers and what is to be set."""

from collections.abc import Iterator, Mapping, Sequence

from simulator.explain.bounds import BASE
from simulator.explain.metrics import METRIC, THROUGHPUT, Metric, gain_frac
from simulator.explain.told import Told

_COMPUTE_BOUND = 0.9
"""The share of the time from which on a run counts as compute-bound."""

_WORTH_TELLING = 0.001
"""How much more, or less, of the gates' mass has to be lost to be told."""

Facts = Mapping[str, object]
Row = Mapping[str, object]


def advice_of(facts: Facts) -> list[dict[str, object]]:
    """Return the sentences: what helps by falling gain, what bounds that, then what helps too little to matter."""
    objective = METRIC[str(_mapping(facts["objective"])["name"])]
    share = _number(facts["share"])
    run = _mapping(facts["as_it_is"])
    now = {**_mapping(run["metrics"]), "lost_mass_frac": run["lost_mass_frac"]}
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
    """Tell of each change that is worth it."""
    for row in rows:
        gain = row["gain_frac"]
        if not isinstance(gain, float) or gain < share:
            continue
        told = Told()
        told.figures |= _numbers(row["figures"])
        most = "at most " if row["is_ideal"] else ""
        text = (
            f"{_capital(row['name'])}: {objective.words} {most}{told.share('gain', gain)} {_better(objective)}, "
            f"{_from_to(told, objective, now, row)}{_others(told, objective, now, row, share)}"
            f"{_loss(told, now, row)}.{_price(row)}"
        )
        yield _item("change", text, gain, row, told)


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
            f"{_worse(objective)}{_loss(told, now, row)}.{_price(row)}"
        )
        yield _item("trade", text, gain, row, told)


def _knees(rows: Sequence[Row], objective: Metric, now: Row, share: float) -> Iterator[dict[str, object]]:
    """Tell how much is enough, and what that would win."""
    for row in rows:
        if row["status"] != "ok":
            continue
        told = Told()
        size, limit = _size(told, _mapping(row["at"])), told.share("share", share)
        what = "cache" if row["knee"] == "cache" else "link bandwidth"
        gain = row["gain_frac"] if isinstance(row["gain_frac"], float) else 0.0
        won = f"{objective.words} {told.share('gain', gain)} {_better(objective)}"
        if row["is_beyond"]:
            gain = 0.0
            told.figures.pop("gain_frac")
            text = f"There is enough {what}: {size} would do, and all beyond it wins less than {limit}"
        elif row["at"] == row["most"]:
            text = f"There is no knee of {what}: up to {size} more of it helps, in all {won}"
        else:
            text = f"More than {size} of {what} buys next to nothing, less than {limit}; that much makes {won}"
        if not row["is_beyond"]:
            text += f", {_from_to(told, objective, now, row)}"
        yield _item("knee", f"{text}{_bound_by(told, row)}{_loss(told, now, row)}.", gain, row, told)


def _bound_by(told: Told, row: Row) -> str:
    """Say whether computing sets the pace at a knee."""
    work = row["work_frac"]
    if not isinstance(work, float):
        return ""
    what = "compute-bound from there" if work > _COMPUTE_BOUND else "waiting is still part of it there"
    return f" ({what}: the GPU works {told.share('work', work)} of the time)"


def _bounds(rows: Sequence[Row], objective: Metric, now: Row, share: float) -> Iterator[dict[str, object]]:
    """Tell what idealised runs would win, and how far the policies have come."""
    for row in rows:
        gain = row["gain_frac"]
        if row["bound"] == BASE or not isinstance(gain, float):
            continue
        told = Told()
        text = f"With {row['words']} {objective.words} would be "
        if abs(gain) < share:
            text += f"as now, within {told.share('share', share)}"
        else:
            how = _better(objective) if gain > 0 else _worse(objective)
            text += f"{told.share('gain', gain)} {how}, {_from_to(told, objective, now, row)}"
        closed = row["gap_closed_frac"]
        if isinstance(closed, float) and gain >= share:
            told_share = told.share("gap_closed", closed)
            text += (
                f"; of the way there from fetching on demand with LRU, this run's policies have gone {told_share}"
                if closed >= 0
                else f"; this run's policies are {told_share} of the way there behind fetching on demand with LRU"
            )
        yield _item("bound", f"{text}.", gain, row, told)


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
    text = (
        f"Leave alone: {', '.join(idle)}; each of their changes moves {objective.words} by less than "
        f"{told.share('share', share)}."
    )
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


def _others(told: Told, objective: Metric, now: Row, row: Row, share: float) -> str:
    """Tell of the p99 beside a mean TPOT, and of what is lost for the gain: a longer TPOT, or tokens per second."""
    text = ""
    mean, p99 = METRIC["tpot_mean_s"], METRIC["tpot_p99_s"]
    if objective == mean and (gain := _gain(p99, now, row)) is not None:
        text += f"; {p99.words} {told.share('p99_gain', gain)} {_better(p99) if gain >= 0 else _worse(p99)}"
    if objective.is_rate and (gain := _gain(mean, now, row)) is not None and gain <= -share:
        text += f"; {mean.words} {told.share('tpot_gain', gain)} {_worse(mean)}"
    if objective != THROUGHPUT and (gain := _gain(THROUGHPUT, now, row)) is not None and gain <= -share:
        text += f"; {told.share('throughput_gain', gain)} fewer tokens/s"
    return text


def _loss(told: Told, now: Row, row: Row) -> str:
    """Tell what becomes of the output where that is not as now."""
    before, after = _number(now["lost_mass_frac"]), _number(row["lost_mass_frac"])
    if abs(after - before) < _WORTH_TELLING:
        return ""
    lost, was = told.share("lost_mass", after), told.share("lost_mass_before", before)
    return f"; {lost} of the gates' mass is lost or in low precision, now {was}"


def _gain(metric: Metric, now: Row, row: Row) -> float | None:
    metrics = _mapping(row["metrics"])
    before, after = now[metric.name], metrics.get(metric.name)
    if not isinstance(before, float) or not isinstance(after, float):
        return None
    return gain_frac(metric, before, after)


def _size(told: Told, at: Row) -> str:
    if "experts" in at:
        num_bytes = told.num_bytes("at", _number(at["bytes"]))
        return f"{num_bytes} ({told.count('at_experts', _number(at['experts']))} experts)"
    factor = told.number("at_factor", _number(at["factor"]), "{:.3g}")
    if "bandwidth_bytes_per_s" not in at:
        return f"{factor} times that of now"
    return f"{told.bandwidth('at', _number(at['bandwidth_bytes_per_s']))} ({factor} times that of now)"


def _better(metric: Metric) -> str:
    return "higher" if metric.is_rate else "shorter"


def _worse(metric: Metric) -> str:
    return "lower" if metric.is_rate else "longer"


def _price(row: Row) -> str:
    return f" {_capital(row['price'])}." if row.get("price") else ""


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
