"""Decisions and bookkeeping of a run: what happens at a gate, when a slot comes free, when a transfer ends.

The simulated engine and the torch runtime of `validation` both drive this, the one in virtual, the other in real time. So
the same policies are asked the same questions in the same order, whatever carries the answers out: demand fetches,
prefetches and promotions go to a channel, which is the simulated link or a thread that copies.

    picks = reroute(layer)               # a gate's result is known; only where a policy `reroutes`
    asked = gate(layer, keys, tokens_of)
    arrived.popleft() ...                # what has been waited for, as it comes
    fetch_waiting(waiting), unpin(...)   # as experts are computed, where some wait for a slot
    computed(keys); layer_ended()
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from hardware_profiles.errors import InputError
from simulator.cache import ABSENT, IN_FLIGHT, RESIDENT, ExpertCache
from simulator.eviction.protocol import GivesUp, ObservesGates
from simulator.losses import Losses
from simulator.metrics.counters import Counters
from simulator.miss.fetch import Fetch
from simulator.miss.protocol import Miss, MissAction, Reroutes, Shares, StartsEarly
from simulator.order.protocol import Order
from simulator.prefetch.protocol import Prefetch, Touches
from simulator.queue.protocol import Queue
from simulator.resources.transfers import Transfer
from simulator.run_view import RunView


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


_NONE_WAITING: deque[int] = deque()  # never appended to
_NO_KEYS: Sequence[int] = ()
_NO_EARLY: Mapping[int, int] = {}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What decides in a run, beside the eviction policies of its cache. None: there is nothing to decide."""

    miss: Miss
    prefetch: Prefetch | None = None
    order: Order | None = None
    queue: Queue | None = None


Asked = tuple[Sequence[int], int, deque[int], Sequence[int]]
"""What becomes of the experts that a gate has picked: (ready, number arriving, waiting, on the CPU).

The first are resident, in the order of S; the second will arrive over the link, those that wait among them without a slot
as yet. Low-precision copies stand for their experts. `Dispatch.deferred` and `early` name what else the CPU is to begin.
"""


class Dispatch:
    """Ask the policies and keep cache, counters and view.

    `released` and `evicted`, if given, are called with a key that has lost its slot to nobody, or at all.

    `arrived` holds the keys that the current layer waited for and that have become resident, in order of arrival; the
    executor takes them from there. `now_ns` is the executor's clock, for the timeline alone.

    After a `gate`: `deferred` are the keys that the CPU computes until the next layer ends; `early` those of the next layer
    that it begins now, with their numbers of tokens; `in_place` those whose weights the GPU reads where they lie, last of
    all. `in_turn` says that what is computed from slots is computed strictly in its turn; `turns` are then their keys, in
    order, those of low-precision copies among them.

    Its methods raise InputError where an expert has to be fetched for which there can never be a slot.
    """

    def __init__(
        self,
        *,
        view: RunView,
        cache: ExpertCache,
        channel: Channel,
        policies: Policies,
        timeline: Observer | None,
        now_ns: Callable[[], int],
        released: Callable[[int], None] | None = None,
        evicted: Callable[[int], None] | None = None,
    ) -> None:
        view.cache = cache
        view.num_queued = channel.num_queued
        self.counters = Counters(num_layers=view.num_layers)
        self.arrived: deque[int] = deque()
        self.deferred: Sequence[int] = _NO_KEYS
        self.early: Mapping[int, int] = _NO_EARLY
        self.in_place: Sequence[int] = _NO_KEYS
        self.turns: Sequence[int] = _NO_KEYS
        self.cache = cache
        self._view = view
        self._channel = channel
        self._timeline = timeline
        self._now_ns = now_ns
        self._num_keys = view.num_keys
        self._wanted: set[int] = set()  # keys of this visit that are not resident yet
        self._elsewhere: set[int] = set()  # keys of this visit that are not computed from their own slot
        self._reading: int | None = None  # what is being read in place
        self._low_held: list[int] = []  # low-precision copies that stand for keys of this visit
        self._unused_prefetches: set[int] = set()
        miss, prefetch = policies.miss, policies.prefetch
        self._prefetch = prefetch
        self._queue = policies.queue
        self._order = policies.order
        self.in_turn = policies.order is not None and bool(getattr(policies.order, "IN_TURN", False))
        self._miss = miss
        self._only_fetches = isinstance(miss, Fetch)  # asked most often, so not asked at all
        self._take_slot, self._demand, self._held = cache.take_slot, channel.demand, view.held_keys
        self._reroutes = miss if isinstance(miss, Reroutes) else None
        self.reroutes = self._reroutes is not None
        self._shares = miss if isinstance(miss, Shares) else None
        self._starts_early = miss if isinstance(miss, StartsEarly) else None
        self._touches = prefetch is not None and isinstance(prefetch, Touches)
        self._stages_prefetches = cache.staging is not None and not cache.admits
        deciders: Sequence[object] = (prefetch, miss, policies.order, policies.queue)
        self._observers = [policy.at_gate for policy in deciders if isinstance(policy, ObservesGates)]
        self._observing_evictions = any(isinstance(pool.eviction, ObservesGates) for pool in cache.pools)
        self.gives_up = any(isinstance(pool.eviction, GivesUp) for pool in cache.pools)
        self._released, self._evicted = released, evicted
        self._follows_evictions = prefetch is not None or timeline is not None or evicted is not None
        cache.staged_touched = self._staged_touched
        self._losses = Losses(view, self.counters, self._reroutes)
        self._looks_at_gates = bool(self._observers) or self._observing_evictions

    def step_started(self) -> None:
        """Let prefetches be named before the first layer of a step."""
        self._view.is_past_gate = False
        if self._prefetch is not None:
            self._issue(self._prefetch.at_step_start())

    def reroute(self, layer: int) -> Sequence[Sequence[int]]:
        """Enter the next visit, and return what a policy that `reroutes` makes of its gate's picks.

        [n][K], with DROPPED in the place of what is done without. Called before `gate`, whose S are these picks' experts.
        """
        assert self._reroutes is not None
        self._enter(layer)
        picks = self._reroutes.reroute()
        self._losses.rerouted(layer, picks)
        return picks

    def gate(self, layer: int, keys: Sequence[int], tokens_of: Mapping[int, int] | None) -> Asked:
        """Decide for the experts S that a gate has picked, in their order; `tokens_of` is None where each has one token.

        S is pinned, but for what is not computed from a slot of its own; hits and late hits are touched; misses are handled
        as the policy says; then prefetches are named.
        """
        if not self.reroutes:
            self._enter(layer)
        counters, state, touch_of_key = self.counters, self.cache.state, self.cache.touch_of_key
        if self._order is not None:
            keys = self._order.arrange(keys, _counts(keys, tokens_of))
        hits: list[int] = []
        missed: list[int] = []
        num_arriving = 0
        self._held.update(keys)
        for key in keys:
            status = state[key]
            if status == RESIDENT:
                touch_of_key[key](key)
                hits.append(key)
            elif status == IN_FLIGHT:
                touch_of_key[key](key)
                self._channel.promote(key)
                self._wanted.add(key)
                num_arriving += 1
            else:
                missed.append(key)
        counters.accesses[layer] += len(keys)
        counters.hits[layer] += len(hits)
        if self._unused_prefetches:
            self._count_prefetches_used(hits)
        counters.late_hits[layer] += num_arriving
        counters.misses[layer] += len(missed)
        if self._queue is not None:
            self._call_off(self._queue, keys)
        waiting = _NONE_WAITING
        if self._only_fetches:
            if missed:
                waiting = self._fetch_all(missed)
                num_arriving += len(missed)
            ready: Sequence[int] = hits
            on_cpu = _NO_KEYS
        else:
            waiting = deque()
            ready, on_cpu, num_fetched = self._handle(layer, keys, hits, missed, tokens_of, waiting)
            num_arriving += num_fetched
        if self._timeline is not None:
            now_ns = self._now_ns()
            self._timeline.gate(layer, keys, hits, missed, now_ns)
            self._timeline.load(now_ns, queued=self._channel.num_queued(), occupied=self.cache.num_occupied())
        if self.in_turn:
            others = {*on_cpu, *self.deferred, *self.in_place}
            low_of_key = {low - self._num_keys: low for low in self._low_held}
            self.turns = [low_of_key.get(key, key) for key in keys if key not in others]
        if self._prefetch is not None:
            self._issue(self._prefetch.after_gate(keys))
        return ready, num_arriving, waiting, on_cpu

    def computed(self, keys: Sequence[int]) -> None:
        """Hear that all experts of a visit have been computed, `keys` of S: they are no longer pinned."""
        held = self._held
        if self._elsewhere:
            keys = [key for key in keys if key not in self._elsewhere]
            self._elsewhere.clear()
        held.difference_update(keys)
        if self._low_held:
            held.difference_update(self._low_held)
            self._low_held.clear()
        if self.gives_up:
            self._give_up(keys)

    def layer_ended(self) -> None:
        """Let prefetches be named when a layer's last expert has been computed."""
        if self._prefetch is not None:
            self._issue(self._prefetch.at_layer_end())

    def unpin(self, keys: Iterable[int]) -> None:
        """Let experts that have been computed be evicted, before the others of their visit have been."""
        self._view.held_keys.difference_update(keys)

    def fetch_waiting(self, waiting: deque[int]) -> None:
        """Issue the demand fetches that wait for a slot, in order, until one finds none."""
        while waiting and self._fetch(waiting[0]):
            waiting.popleft()

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
        if key in self._wanted:
            self._wanted.discard(key)
            self.arrived.append(key)
            if transfer.is_prefetch:
                self._unused_prefetches.discard(key)
                self.counters.prefetches_late += 1
        else:
            self._view.held_keys.discard(key)

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
        return len(self._unused_prefetches)

    def _enter(self, layer: int) -> None:
        """Go to the next visit, whose gate's result is known, and let policies look at it."""
        view = self._view
        view.visit += 1
        view.is_past_gate = True
        if view.future is not None:
            view.future.advance()
        if self._looks_at_gates:
            for at_gate in self._observers:
                at_gate()
            if self._observing_evictions:
                eviction = self.cache.eviction_of_key(view.first_key(layer))
                if isinstance(eviction, ObservesGates):
                    eviction.at_gate()

    def _fetch_all(self, missed: Sequence[int]) -> deque[int]:
        """Fetch every missing key; return those that wait for a slot."""
        if self._follows_evictions or self.cache.admits:
            waiting = deque([key for key in missed if not self._fetch(key)])
        else:  # the same, for most runs
            waiting = deque()
            take_slot, demand, wanted = self._take_slot, self._demand, self._wanted
            for key in missed:
                if take_slot(key):
                    wanted.add(key)
                    demand(key)
                else:
                    waiting.append(key)
        self.counters.wave_fetches += len(waiting)
        return waiting

    def _handle(
        self,
        layer: int,
        keys: Sequence[int],
        hits: Sequence[int],
        missed: Sequence[int],
        tokens_of: Mapping[int, int] | None,
        waiting: deque[int],
    ) -> tuple[Sequence[int], Sequence[int], int]:
        """Carry out what the policy says of the experts of a visit.

        Returns what is ready to be computed on the GPU, in the order of S; what the CPU computes; and how many of the
        missing experts will arrive over the link.
        """
        self.deferred = self.in_place = _NO_KEYS
        on_cpu: Sequence[int] = _NO_KEYS
        ready: Sequence[int] = hits
        num_arriving = 0
        if missed:
            on_cpu, num_arriving, low_ready = self._handle_misses(layer, missed, tokens_of, waiting)
            if low_ready:
                standing_in = {key - self._num_keys: key for key in low_ready}
                resident = set(hits)
                ready = [standing_in.get(key, key) for key in keys if key in resident or key in standing_in]
        if self._shares is not None and hits:
            shared = set(self._shares.share(hits, _counts(hits, tokens_of)))
            if shared:
                on_cpu = [*on_cpu, *(key for key in hits if key in shared)]
                ready = [key for key in ready if key not in shared]
                self.counters.cpu_experts[layer] += len(shared)
                self._elsewhere.update(shared)
                self.unpin(shared)  # the CPU reads its own weights: a fetch that waits may have the slot
                self.fetch_waiting(waiting)
        if self._starts_early is not None:
            self.early = _NO_EARLY if layer == self._view.num_layers - 1 else self._starts_early.start_early()
        return ready, on_cpu, num_arriving

    def _handle_misses(
        self, layer: int, missed: Sequence[int], tokens_of: Mapping[int, int] | None, waiting: deque[int]
    ) -> tuple[Sequence[int], int, Sequence[int]]:
        """Carry out what the policy says of each missing key.

        Returns the keys that the CPU computes, how many experts will arrive over the link, and the low-precision copies
        that are there already.
        """
        actions = self._miss.decide(missed, _counts(missed, tokens_of))
        on_cpu, deferred, low_ready, low, in_place = [], [], [], [], []
        num_arriving = 0
        is_last = layer == self._view.num_layers - 1
        for key, action in zip(missed, actions, strict=True):
            if action is MissAction.FETCH:
                num_arriving += 1
                if not self._fetch(key):
                    waiting.append(key)
            elif action is MissAction.CPU or (action is MissAction.DEFER and is_last):
                on_cpu.append(key)
            elif action is MissAction.DEFER:
                deferred.append(key)
            elif action is MissAction.LOW:
                low.append(key)
                if self._use_low(key, waiting):
                    low_ready.append(key + self._num_keys)
                else:
                    num_arriving += 1
            else:
                in_place.append(key)
        if waiting:
            self.counters.wave_fetches += len(waiting)
        self.deferred, self.in_place = deferred, in_place
        if on_cpu or deferred or low or in_place:
            elsewhere = [*on_cpu, *deferred, *low, *in_place]
            self._elsewhere.update(elsewhere)
            self._view.held_keys.difference_update(elsewhere)
            counters = self.counters
            counters.cpu_experts[layer] += len(on_cpu) + len(deferred)
            counters.deferred_experts[layer] += len(deferred)
            counters.low_experts[layer] += len(low)
            if deferred:
                self._losses.deferred(layer, deferred)
            if low:
                self._losses.low(layer, low)
        return on_cpu, num_arriving, low_ready

    def _use_low(self, key: int, waiting: deque[int]) -> bool:
        """Have the low-precision copy of a key stand for it; tell whether it is resident."""
        low = key + self._num_keys
        status = self.cache.state[low]
        self._view.held_keys.add(low)
        self._low_held.append(low)
        if status == ABSENT:
            if not self._fetch(low):
                waiting.append(low)
            return False
        self.cache.touch_of_key[low](low)
        if status == RESIDENT:
            if low in self._unused_prefetches:
                self._count_prefetches_used((low,))
            return True
        self._channel.promote(low)
        self._wanted.add(low)
        return False

    def _fetch(self, key: int) -> bool:
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
        self._wanted.add(key)
        self._demand(key)
        return True

    def _issue(self, keys: Sequence[int]) -> None:
        """Queue prefetches for the keys that are absent."""
        state, counters, cache = self.cache.state, self.counters, self.cache
        take_slot = cache.stage if self._stages_prefetches else cache.take_slot
        for key in keys:
            if state[key] != ABSENT:
                if self._touches and key not in cache.staged:  # only a gate lets an expert out of staging
                    cache.touch_of_key[key](key)
                continue
            if not take_slot(key):
                counters.prefetches_dropped += 1
                continue
            if cache.evicted is not None:
                self._note_eviction(cache.evicted)
            counters.prefetches_issued += 1
            self._unused_prefetches.add(key)
            if self._timeline is not None:
                self._timeline.prefetch_issued(key, self._now_ns())
            self._channel.prefetch(key)

    def _call_off(self, queue: Queue, keys: Sequence[int]) -> None:
        """Have prefetches that wait called off, as the discipline says."""
        queued = self._channel.queued_prefetches()
        if not queued:
            return
        for key in queue.stale(queued, keys):
            self._channel.cancel(key)
            self._free(key)
            self._unused_prefetches.discard(key)
            self.counters.prefetches_cancelled += 1

    def _staged_touched(self, key: int) -> None:
        """Let an expert that a gate asks for out of its staging slot into its pool, if there is room."""
        cache = self.cache
        if cache.adopt(key) and cache.evicted is not None:
            self._note_eviction(cache.evicted)
            if self._released is not None:
                self._released(cache.evicted)

    def _give_up(self, keys: Sequence[int]) -> None:
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
        if key in self._unused_prefetches:
            self._unused_prefetches.discard(key)
            self.counters.prefetches_wasted += 1

    def _count_prefetches_used(self, hits: Iterable[int]) -> None:
        for key in hits:
            if key in self._unused_prefetches:
                self._unused_prefetches.discard(key)
                self.counters.prefetches_useful += 1


def _counts(keys: Sequence[int], tokens_of: Mapping[int, int] | None) -> Sequence[int]:
    return [1] * len(keys) if tokens_of is None else [tokens_of[key] for key in keys]
