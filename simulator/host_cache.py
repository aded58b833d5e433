"""Host memory as a cache of experts: its slots laid out in one pool for all of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from simulator.cache import RESIDENT, ExpertCache, Pool
from simulator.eviction.protocol import Eviction
from simulator.host_view import HostView
from simulator.run_view import RunView
from simulator.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCache:
    """The slots of host memory, one pool for all experts, and how many more are read behind one that has to be.

    `num_experts` is how many a bank has.
    """

    cache: ExpertCache
    read_ahead: int
    num_experts: int

    @property
    def holds_all(self) -> bool:
        """Whether all experts are there: as there is a slot for each, none ever leaves, and nothing is read."""
        return self.cache.state.count(RESIDENT) == len(self.cache.state)


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
