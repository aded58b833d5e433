"""Decisions and bookkeeping of a run: what happens at a gate, when a slot comes free, when a transfer ends.

The simulated engine and the torch runtime of `validation` both drive this, the one in virtual, the other in real time. So
the same policies are asked the same questions in the same order, whatever carries the answers out. What follows for slots
and transfers is in `simulator.fetching`.

    picks = reroute(layer)               # a gate's result is known; only where a policy `reroutes`
    asked = gate(layer, keys, tokens_of)
    arrived.popleft() ...                # what has been waited for, as it comes
    fetch_waiting(waiting), unpin(...)   # as experts are computed, where some wait for a slot
    computed(keys); layer_ended()
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from simulator.cache import ABSENT, IN_FLIGHT, RESIDENT, ExpertCache
from simulator.eviction.protocol import Eviction, GivesUp, ObservesGates
from simulator.fetching import NONE_WAITING, Channel, Fetching, Observer
from simulator.losses import Losses
from simulator.metrics.counters import Counters
from simulator.miss.fetch import Fetch
from simulator.miss.protocol import Miss, MissAction, Reroutes, Shares, StartsEarly
from simulator.order.protocol import Order
from simulator.prefetch.protocol import Prefetch, Touches
from simulator.queue.protocol import Queue
from simulator.run_view import RunView

_NO_KEYS: Sequence[int] = ()
_NO_EARLY: Mapping[int, int] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What decides in a run, beside the eviction policies of its cache. None: there is nothing to decide.

    `host` is what decides who leaves host memory, where that does not hold all experts.
    """

    miss: Miss
    prefetch: Prefetch | None = None
    order: Order | None = None
    queue: Queue | None = None
    host: Eviction | None = None


Asked = tuple[Sequence[int], int, deque[int], Sequence[int]]
"""What becomes of the experts that a gate has picked: (ready, number arriving, waiting, on the CPU).

The first are resident, in the order of S; the second will arrive over the link, those that wait among them without a slot
as yet. Low-precision copies stand for their experts. `Dispatch.deferred` and `early` name what else the CPU is to begin.
"""


class Dispatch:
    """Ask the policies, gate by gate. Parameters and `arrived` are those of `Fetching`.

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
        miss, prefetch, order = policies.miss, policies.prefetch, policies.order
        self.counters = Counters(num_layers=view.num_layers)
        self._fetching = fetching = Fetching(
            view=view,
            cache=cache,
            channel=channel,
            counters=self.counters,
            has_prefetch=prefetch is not None,
            touches=isinstance(prefetch, Touches),
            timeline=timeline,
            now_ns=now_ns,
            released=released,
            evicted=evicted,
        )
        self.arrived, self.deliver, self.fetch_waiting = fetching.arrived, fetching.deliver, fetching.fetch_waiting
        self.read_in_place, self.num_unused_prefetches = fetching.read_in_place, fetching.num_unused_prefetches
        self.give_up_slot, self.awaited = fetching.give_up_slot, fetching.awaited
        self.deferred: Sequence[int] = _NO_KEYS
        self.early: Mapping[int, int] = _NO_EARLY
        self.in_place: Sequence[int] = _NO_KEYS
        self.turns: Sequence[int] = _NO_KEYS
        self.in_turn = order is not None and bool(getattr(order, "IN_TURN", False))
        self.reroutes = isinstance(miss, Reroutes)
        self.gives_up = any(isinstance(pool.eviction, GivesUp) for pool in cache.pools)
        self.cache = cache
        self._view = view
        self._held = view.held_keys
        self._wanted = fetching.wanted
        self._channel = channel
        self._timeline = timeline
        self._now_ns = now_ns
        self._num_keys = view.num_keys
        self._elsewhere: set[int] = set()  # keys of this visit that are not computed from their own slot
        self._low_held: list[int] = []  # low-precision copies that stand for keys of this visit
        self._prefetch, self._queue, self._order, self._miss = prefetch, policies.queue, order, miss
        self._only_fetches = isinstance(miss, Fetch)  # asked most often, so not asked at all
        self._rerouting = miss if isinstance(miss, Reroutes) else None
        self._shares = miss if isinstance(miss, Shares) else None
        self._starts_early = miss if isinstance(miss, StartsEarly) else None
        self.whole_layers = bool(getattr(prefetch, "WHOLE_LAYERS", False))
        deciders: Sequence[object] = (prefetch, miss, order, policies.queue, policies.host)
        self._observers = [policy.at_gate for policy in deciders if isinstance(policy, ObservesGates)]
        self._observing_evictions = any(isinstance(pool.eviction, ObservesGates) for pool in cache.pools)
        self._looks_at_gates = bool(self._observers) or self._observing_evictions
        self._losses = Losses(view, self.counters, self._rerouting)

    def step_started(self) -> None:
        """Let prefetches be named before the first layer of a step."""
        self._view.is_past_gate = False
        if self._prefetch is not None:
            self._fetching.issue(self._prefetch.at_step_start())

    def reroute(self, layer: int) -> Sequence[Sequence[int]]:
        """Enter the next visit, and return what a policy that `reroutes` makes of its gate's picks.

        [n][K], with DROPPED in the place of what is done without. Called before `gate`, whose S are these picks' experts.
        """
        assert self._rerouting is not None
        self._enter(layer)
        picks = self._rerouting.reroute()
        self._losses.rerouted(layer, picks)
        return picks

    def whole_layer(
        self, layer: int, keys: Sequence[int], tokens_of: Mapping[int, int] | None
    ) -> tuple[Sequence[int], Mapping[int, int]]:
        """Return S with all that its layer draws from behind it, and the tokens of each, 0 of those that none uses.

        Called before `gate` where `whole_layers` is true: what is returned is S then.
        """
        first_key = self._view.first_key(layer)
        counted = dict.fromkeys(keys, 1) if tokens_of is None else dict(tokens_of)
        whole = counted | {key: 0 for key in range(first_key, first_key + self._view.num_experts) if key not in counted}
        return list(whole), whole

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
        if self._fetching.unused_prefetches:
            self._fetching.count_used(hits)
        counters.late_hits[layer] += num_arriving
        counters.misses[layer] += len(missed)
        if self._queue is not None:
            self._fetching.call_off(self._queue, keys)
        waiting = NONE_WAITING
        if self._only_fetches:
            if missed:
                waiting = self._fetching.fetch_all(missed)
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
            self._fetching.issue(self._prefetch.after_gate(keys), waiting)
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
            self._fetching.give_up(keys)

    def layer_ended(self) -> None:
        """Let prefetches be named when a layer's last expert has been computed."""
        if self._prefetch is not None:
            self._fetching.issue(self._prefetch.at_layer_end())

    def unpin(self, keys: Iterable[int]) -> None:
        """Let experts that have been computed be evicted, before the others of their visit have been."""
        self._view.held_keys.difference_update(keys)

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
                if not self._fetching.fetch(key):
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
            if not self._fetching.fetch(low):
                waiting.append(low)
            return False
        self.cache.touch_of_key[low](low)
        if status == RESIDENT:
            if low in self._fetching.unused_prefetches:
                self._fetching.count_used((low,))
            return True
        self._channel.promote(low)
        self._wanted.add(low)
        return False


def _counts(keys: Sequence[int], tokens_of: Mapping[int, int] | None) -> Sequence[int]:
    return [1] * len(keys) if tokens_of is None else [tokens_of[key] for key in keys]
