"""The knees of a run: how much cache, and how fast a link, is enough."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from simulator.explain.attribution import work_frac
from simulator.explain.baseline import Baseline
from simulator.explain.command import command_of, set_texts
from simulator.explain.knee import Knee, Ladder, find_knee
from simulator.explain.knobs.cache import with_slots
from simulator.explain.knobs.link import bandwidth_of, with_bandwidth
from simulator.explain.metrics import Metric, figures_of, gain_frac, lost_mass_frac
from simulator.explain.runner import Runner
from simulator.lay_out import smallest_cache

_PER_OCTAVE = 16
_OCTAVES_UP, _OCTAVES_DOWN = 20, 6

_GUESSED_RUNS = 14  # for the bar alone

Row = dict[str, object]
Settings = Callable[[int], Mapping[str, object]]


def cache_knee(
    baseline: Baseline, runner: Runner, *, objective: Metric, share: float, scenario: str, given: Sequence[str]
) -> Row:
    """Find the least cache beyond which holding all experts wins less than a share."""
    trace, choice = baseline.inputs.trace, baseline.scenario.cache
    least = smallest_cache(num_banks=trace.num_banks, top_k=trace.top_k, scope=choice.scope) + choice.staging

    now = min(baseline.num_slots, baseline.all_slots)

    def settings(slots: int) -> Mapping[str, object]:
        return {} if slots == now else with_slots(baseline, slots)

    ladder = Ladder(
        now=now,
        least=min(least, now),
        most=baseline.all_slots,
        up=lambda slots: 2 * slots,
        down=lambda slots: slots // 2,
    )
    search = _Search(runner, "knee of the cache", settings, objective, share)
    found = find_knee(ladder, search.values, search.is_enough)
    row = search.row(found, ladder, scenario, given)
    size = baseline.expert_bytes
    row |= {
        "knee": "cache",
        "now": {"experts": ladder.now, "bytes": ladder.now * size},
        "most": {"experts": ladder.most, "bytes": ladder.most * size},
        "at": None if found.at is None else {"experts": found.at, "bytes": found.at * size},
        "tried": [{"experts": at, "bytes": at * size, objective.name: value} for at, value in found.tried],
    }
    return row


def link_knee(
    baseline: Baseline, runner: Runner, *, objective: Metric, share: float, scenario: str, given: Sequence[str]
) -> Row:
    """Find the least bandwidth of the H2D link beyond which a link a million times as fast wins less than a share."""

    def settings(step: int) -> Mapping[str, object]:
        return {} if step == 0 else with_bandwidth(baseline, Fraction(_factor(step)))

    ladder = Ladder(
        now=0,
        least=-_OCTAVES_DOWN * _PER_OCTAVE,
        most=_OCTAVES_UP * _PER_OCTAVE,
        up=lambda step: step + _PER_OCTAVE,
        down=lambda step: step - _PER_OCTAVE,
        resolution=1,
    )
    search = _Search(runner, "knee of the link", settings, objective, share)
    found = find_knee(ladder, search.values, search.is_enough)
    row = search.row(found, ladder, scenario, given)
    bandwidth = bandwidth_of(baseline)

    def point(step: int) -> dict[str, float]:
        factor = _factor(step)
        return {"factor": factor} | ({} if bandwidth is None else {"bandwidth_bytes_per_s": bandwidth * factor})

    row |= {
        "knee": "link bandwidth",
        "now": point(0),
        "most": point(ladder.most),
        "at": None if found.at is None else point(found.at),
        "tried": [{**point(at), objective.name: value} for at, value in found.tried],
    }
    return row


def _factor(step: int) -> float:
    return float(f"{2 ** (step / _PER_OCTAVE):.6g}")


class _Search:
    """Runs sizes and judges them."""

    def __init__(self, runner: Runner, what: str, settings: Settings, objective: Metric, share: float) -> None:
        self._runner, self._what, self._settings = runner, what, settings
        self._objective, self._share = objective, share

    def values(self, sizes: Sequence[int]) -> list[float | None]:
        """Return the objective at some sizes."""
        results = self._runner.run(self._what, [self._settings(size) for size in sizes], _GUESSED_RUNS)
        return [
            None if result.summary is None else figures_of(result.summary)[self._objective.name] for result in results
        ]

    def is_enough(self, value: float | None, limit: float | None) -> bool:
        """Tell whether what lies beyond is below the share."""
        gain = gain_frac(self._objective, value, limit)
        return value == limit if gain is None else gain < self._share

    def row(self, found: Knee, ladder: Ladder, scenario: str, given: Sequence[str]) -> Row:
        """Return what is told of a knee, whatever it is of."""
        values = dict(found.tried)
        (limit,) = self._runner.run(self._what, [self._settings(ladder.most)])
        row: Row = {
            "status": "failed" if found.at is None else "ok",
            "reason": limit.reason,
            "share": self._share,
            "is_beyond": found.is_beyond,
            "gain_at_most_frac": gain_frac(self._objective, values[ladder.now], values[ladder.most]),
        }
        if found.at is None:
            return row
        settings = self._settings(found.at)
        (there,) = self._runner.run(self._what, [settings])
        assert there.summary is not None
        return row | {
            "gain_frac": gain_frac(self._objective, values[ladder.now], values[found.at]),
            "metrics": figures_of(there.summary),
            "lost_mass_frac": lost_mass_frac(there.summary),
            "work_frac": work_frac(there.summary),
            "set": set_texts(settings),
            "command": command_of(scenario, given, settings),
        }
