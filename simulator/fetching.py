"""Fetches and slots: what is on its way to the GPU, what has come, and what has had to go.

Demand fetches, prefetches and promotions go to a channel, which is the simulated link or a thread that copies.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NoReturn, Protocol

from hardware_profiles.errors import InputError
from simulator.cache import ABSENT, RESIDENT, ExpertCache
from simulator.eviction.protocol import GivesUp
from simulator.metrics.counters import Counters
from simulator.queue.protocol import Queue
from simulator.resources.transfers import Transfer
from simulator.run_view import RunView

NONE_WAITING: deque[int] = deque()
"""No demands without a slot; never appended to."""


class Channel(Protocol):
    """Where fetches go: a link, simulated or real."""

    def demand(self, key: int) -> None:
        """Queue a demand fetch."""

    def prefetch(self, key: int) -> None:
        """Queue a prefetch."""

    def promote(self, key: int) -> None:
        """Make the prefetch that is under way for `key`, if there is one, a demand."""

    def num_queued(self) -> int:
        """Count the transfers that wait."""

    def queued_prefetches(self) -> Sequence[int]:
        """Return the keys of the prefetches that wait, in their order."""

    def cancel(self, key: int) -> object:
        """Call off a prefetch that waits."""


class Observer(Protocol):
    """What is told of decisions, for a timeline."""

    def gate(self, layer: int, keys: Sequence[int], hits: Sequence[int], missed: Sequence[int], now_ns: int) -> None:
        """Note a gate's result."""

    def load(self, now_ns: int, *, queued: int, occupied: int) -> None:
        """Note the transfers that wait and the slots that are taken."""

    def prefetch_issued(self, key: int, now_ns: int) -> None:
        """Note a prefetch that has got a slot."""

    def evicted(self, key: int) -> None:
        """Note an eviction."""


class Fetching:
    """Take slots and fetch experts into them, keeping cache, counters and view.

    `arrived` holds the keys that the current layer waited for, `wanted`, as they become resident; the executor takes them
    from there. With `touches`, prefetches refresh experts that are there already. `released` and `evicted`, if given, are
    called with a key that has lost its slot to nobody, or at all. `now_ns` is the executor's clock, for the timeline alone.

    Methods that fetch raise InputError where there can never be a slot for an expert.
    """

    def __init__(
        self,
        *,
        view: RunView,
        cache: ExpertCache,
        channel: Channel,
        counters: Counters,
        has_prefetch: bool,
        touches: bool,
        timeline: Observer | None,
        now_ns: Callable[[], int],
        released: Callable[[int], None] | None,
        evicted: Callable[[int], None] | None,
    ) -> None:
        self.arrived: deque[int] = deque()
        self.wanted: set[int] = set()  # keys of this visit that are not resident yet
        self.counters = counters
        self.cache = cache
        self._view = view
        self._channel = channel
        self._touches = touches
        self._timeline = timeline
        self._now_ns = now_ns
        self._num_keys = view.num_keys
        self._reading: int | None = None  # what is being read in place
        self.unused_prefetches: set[int] = set()
        self._take_slot, self._demand, self._held = cache.take_slot, channel.demand, view.held_keys
        self._stages_prefetches = cache.staging is not None and not cache.admits
        self._released, self._evicted = released, evicted
        self._follows_evictions = has_prefetch or timeline is not None or evicted is not None
        cache.staged_touched = self._staged_touched

    def fetch(self, key: int) -> bool:
        """Issue a demand fetch; False if no slot can be had for it."""
        if self.cache.admits and self.cache.is_refused(key):
            if not self.cache.stage(key):
                return False
        elif not self._take_slot(key):
            if not self.cache.has_slot_for(key):
                self._refuse(key)
            return False
        if self._follows_evictions and self.cache.evicted is not None:
            self._note_eviction(self.cache.evicted)
        self.wanted.add(key)
        self._demand(key)
        return True

    def fetch_all(self, missed: Sequence[int]) -> deque[int]:
        """Fetch every missing key; return those that wait for a slot."""
        if self._follows_evictions or self.cache.admits:
            waiting = deque([key for key in missed if not self.fetch(key)])
        else:  # the same, for most runs
            waiting = deque()
            take_slot, demand, wanted = self._take_slot, self._demand, self.wanted
            for key in missed:
                if take_slot(key):
                    wanted.add(key)
                    demand(key)
                else:
                    waiting.append(key)
        self.counters.wave_fetches += len(waiting)
        return waiting

    def fetch_waiting(self, waiting: deque[int]) -> None:
        """Issue the demand fetches that wait for a slot, in order, until one finds none."""
        while waiting and self.fetch(waiting[0]):
            waiting.popleft()

    def awaited(self) -> Collection[int]:
        """Return the keys that are on their way to the current layer, which waits for them."""
        return self.wanted if self._reading is None else (self._reading,)

    def read_in_place(self, key: int) -> None:
        """Queue the transfer of weights that the GPU reads where they lie, with no slot."""
        self._reading = key
        self._demand(key)

    def deliver(self, transfer: Transfer) -> None:
        """Take over an expert that the link has brought."""
        key, counters = transfer.key, self.counters
        if key == self._reading and not transfer.is_prefetch:
            counters.in_place_transfers += 1
            self._reading = None
            self.arrived.append(key)
            return
        self.cache.state[key] = RESIDENT
        if key >= self._num_keys:
            counters.low_transfers += 1
        elif transfer.is_prefetch:
            counters.prefetch_transfers += 1
        else:
            counters.demand_transfers += 1
        if key in self.wanted:
            self.wanted.discard(key)
            self.arrived.append(key)
            if transfer.is_prefetch:
                self.unused_prefetches.discard(key)
                self.counters.prefetches_late += 1
        else:
            self._held.discard(key)

    def issue(self, keys: Sequence[int], waiting: deque[int] = NONE_WAITING) -> None:
        """Queue prefetches for the keys that are absent and not among those that wait for a slot as demands."""
        state, counters, cache = self.cache.state, self.counters, self.cache
        take_slot = cache.stage if self._stages_prefetches else cache.take_slot
        for key in keys:
            if state[key] != ABSENT:
                if self._touches and key not in cache.staged:  # only a gate lets an expert out of staging
                    cache.touch_of_key[key](key)
                continue
            if key in waiting:
                continue
            if not take_slot(key):
                counters.prefetches_dropped += 1
                continue
            if cache.evicted is not None:
                self._note_eviction(cache.evicted)
            counters.prefetches_issued += 1
            self.unused_prefetches.add(key)
            if self._timeline is not None:
                self._timeline.prefetch_issued(key, self._now_ns())
            self._channel.prefetch(key)

    def call_off(self, queue: Queue, keys: Sequence[int]) -> None:
        """Have prefetches that wait called off, as the discipline says."""
        queued = self._channel.queued_prefetches()
        if not queued:
            return
        for key in queue.stale(queued, keys):
            self._channel.cancel(key)
            self._free(key)
            self.unused_prefetches.discard(key)
            self.counters.prefetches_cancelled += 1

    def give_up(self, keys: Sequence[int]) -> None:
        """Free the slots of experts that their policy gives up now that they have been computed."""
        cache = self.cache
        by_policy: dict[int, list[int]] = {}
        for key in keys:
            if cache.state[key] == RESIDENT and cache.is_in_pool(key):
                by_policy.setdefault(id(cache.eviction_of_key(key)), []).append(key)
        for held in by_policy.values():
            eviction = cache.eviction_of_key(held[0])
            assert isinstance(eviction, GivesUp)
            for key in eviction.gives_up(held):
                if self._follows_evictions:
                    self._note_eviction(key)
                self._free(key)

    def give_up_slot(self, *, smallest_pool: int) -> bool:
        """Give the memory of an expert slot to something else, between two steps; False if none can be had."""
        victim = self.cache.shrink(smallest_pool=smallest_pool)
        if victim is None:
            return False
        if victim >= 0:
            self._note_eviction(victim)
            if self._released is not None:
                self._released(victim)
        return True

    def num_unused_prefetches(self) -> int:
        """Count the prefetched experts that no gate has asked for yet and that nothing has evicted."""
        return len(self.unused_prefetches)

    def count_used(self, hits: Iterable[int]) -> None:
        for key in hits:
            if key in self.unused_prefetches:
                self.unused_prefetches.discard(key)
                self.counters.prefetches_useful += 1

    def _staged_touched(self, key: int) -> None:
        """Let an expert that a gate asks for out of its staging slot into its pool, if there is room."""
        cache = self.cache
        if cache.adopt(key) and cache.evicted is not None:
            self._note_eviction(cache.evicted)
            if self._released is not None:
                self._released(cache.evicted)

    def _refuse(self, key: int) -> NoReturn:
        """Say of a key that it has to be fetched and never can be."""
        bank, expert = divmod(key % self._num_keys, self._view.num_experts)
        if key < self._num_keys:
            what, remedy = "has", "have the placement leave slots (its parameter staging), or use a larger cache"
        else:
            what, remedy = "has a low-precision copy that has", "use a larger low_precision.frac, or a larger cache"
        raise InputError(
            "cache",
            f"expert {expert} of bank {bank} {what} to be fetched, and no slot is left that it could take; {remedy}, or "
            "scope: global, or a miss policy that fetches nothing",
        )

    def _free(self, key: int) -> None:
        """Take the slot of a key away for nobody."""
        self.cache.release(key)
        if self._released is not None:
            self._released(key)

    def _note_eviction(self, key: int) -> None:
        if self._timeline is not None:
            self._timeline.evicted(key)
        if self._evicted is not None:
            self._evicted(key)
        if key in self.unused_prefetches:
            self.unused_prefetches.discard(key)
            self.counters.prefetches_wasted += 1
