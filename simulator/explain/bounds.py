"""Idealised runs: what the link, the cache and the policies cost at most, each with what makes it so.

    no link               the same policies; transfers take next to no time, and none waits for another
    everything resident   all experts on the GPU from the start, whether its memory holds them or not
    Belady                the same policies, but the eviction knows what is needed latest
    oracle                a perfect predictor four layers ahead, over Belady's eviction
    on demand             LRU, no prefetch: what policies are held against

Source: design of `simulator.compare.choose`, whose references the second, the fourth and the last are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction

from simulator.compare.choose import ALL_RESIDENT, ON_DEMAND, values_for
from simulator.explain.baseline import Baseline
from simulator.explain.knobs.cache import shares_memory, with_slots
from simulator.explain.knobs.link import with_bandwidth
from simulator.scenario import CacheChoice

NO_LINK, RESIDENT, BELADY, ORACLE, BASE = "no_link", "everything_resident", "belady", "oracle_prefetch", "on_demand"
FASTEST_LINK = Fraction(10**6)
_OF_CACHE = {item.name: item.default for item in fields(CacheChoice)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """An idealised run: what it is, and the settings that make it of the run that is explained."""

    name: str
    words: str
    settings: Mapping[str, object]


def bounds_of(baseline: Baseline) -> list[Bound]:
    """Return the idealised runs; those that a service cannot have say so when they are run."""
    resident = dict(settings_between(baseline.values, values_for(ALL_RESIDENT, dict(baseline.values))))
    if shares_memory(baseline):
        resident["gpu.memory"] = with_slots(baseline, baseline.all_slots)["gpu.memory"]
    found = [
        Bound(name=NO_LINK, words="a link that takes no time", settings=without_link(baseline)),
        Bound(name=RESIDENT, words="every expert resident", settings=resident),
        Bound(name=ORACLE, words="a perfect predictor", settings=_system(baseline, ORACLE)),
        Bound(name=BASE, words="fetching on demand with LRU", settings=_system(baseline, ON_DEMAND)),
    ]
    if baseline.policy("eviction") != BELADY:
        belady = Bound(name=BELADY, words="a perfect eviction (Belady)", settings={"eviction": BELADY})
        found.insert(2, belady)
    return found


def without_link(baseline: Baseline) -> Mapping[str, object]:
    """Return what makes transfers take next to no time."""
    settings = dict(with_bandwidth(baseline, FASTEST_LINK))
    if baseline.profile.durations.transfer is None:
        settings["link.h2d.latency"] = "0 s"
    return settings


def _system(baseline: Baseline, name: str) -> Mapping[str, object]:
    return settings_between(baseline.values, values_for(name, dict(baseline.values)))


def settings_between(values: Mapping[str, object], wanted: Mapping[str, object]) -> Mapping[str, object]:
    """Return the settings that make some plain values of a scenario mean what others do.

    What is to be taken away is set to nothing, of the cache to its default. Both have the same machine.
    """
    settings: dict[str, object] = {}
    for key in dict.fromkeys([*values, *wanted]):
        before, after = values.get(key), wanted.get(key)
        if key == "cache":
            settings |= _of_cache(before, after)
        elif before != after:
            settings[key] = after
    return settings


def _of_cache(before: object, after: object) -> Mapping[str, object]:
    old, new = (dict(one) if isinstance(one, Mapping) else {} for one in (before, after))
    settings = {}
    for key in dict.fromkeys([*old, *new]):
        was, will_be = old.get(key, _OF_CACHE.get(key)), new.get(key, _OF_CACHE.get(key))
        if was != will_be:
            settings[f"cache.{key}"] = will_be
    return settings
