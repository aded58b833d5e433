"""Host memory as a cache of experts: its slots laid out in one pool for all of them."""

from collections.abc import Callable, Iterable

from simulator.cache import ExpertCache, Pool
from simulator.eviction.protocol import Eviction
from simulator.host_tier import HostCache
from simulator.host_view import HostView
from simulator.run_view import RunView
from simulator.view import View


def make_host_cache(
    view: RunView,
    *,
    make_eviction: Callable[[View], Eviction],
    num_slots: int,
    read_ahead: int = 0,
    warm: Iterable[int] = (),
) -> HostCache:
    """Make the host's cache of a run, and let the view see it. `warm` is what is there at first, until it is full."""
    seen = HostView(view, num_slots)
    pool = Pool(num_slots=num_slots, free_slots=num_slots, eviction=make_eviction(seen.as_view()))
    seen.cache = view.host = cache = ExpertCache(pool_of_key=[pool] * view.num_keys, held=seen.held_keys)
    cache.warm(warm)
    return HostCache(cache=cache, read_ahead=read_ahead, num_experts=view.num_experts)
