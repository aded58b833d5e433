"""Decisions and bookkeeping of a run: what happens at a gate, when a slot comes free, when a transfer ends.

The simulated engine and the torch runtime of `validation` both drive this, the one in virtual, the other in real time. So
the same policies are asked the same questions in the same order, whatever carries the answers out: demand fetches,
prefetches and promotions go to a channel, which is the simulated link or a thread that copies.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from simulator.cache import ABSENT, IN_FLIGHT, RESIDENT, ExpertCache
from simulator.metrics.counters import Counters
from simulator.miss.protocol import Miss, MissAction
from simulator.prefetch.protocol import Prefetch
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


_NONE_WAITING: deque[int] = deque()  # never appended to
_NONE_ON_CPU: Sequence[int] = ()


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


Asked = tuple[Sequence[int], int, deque[int], Sequence[int]]
"""What becomes of the experts that a gate has picked: (hits, number arriving, waiting, on the CPU).

Hits are resident, in the order of S; the second will arrive over the link, those that wait among them without a slot as yet.
"""


class Dispatch:
    """Ask the policies and keep cache, counters and view.

    `arrived` holds the keys that the current layer waited for and that have become resident, in order of arrival; the
    executor takes them from there. `now_ns` is the executor's clock, for the timeline alone.
    """

    def __init__(
        self,
        *,
        view: RunView,
        cache: ExpertCache,
        channel: Channel,
        prefetch: Prefetch | None,
        miss: Miss,
        timeline: Observer | None,
        now_ns: Callable[[], int],
    ) -> None:
        view.cache = cache
        self.counters = Counters(num_layers=view.num_layers)
        self.arrived: deque[int] = deque()
        self._view = view
        self.cache = cache
        self._channel = channel
        self._prefetch = prefetch
        self._timeline = timeline
        self._now_ns = now_ns
        self._wanted: set[int] = set()  # keys of this visit that are not resident yet
        self._unused_prefetches: set[int] = set()
        self._take_slot, self._demand, self._decide = cache.take_slot, channel.demand, miss.decide  # asked most often
        self._follows_evictions = prefetch is not None or timeline is not None

    def step_started(self) -> None:
        """Let prefetches be named before the first layer of a step."""
        if self._prefetch is not None:
            self._issue(self._prefetch.at_step_start())

    def gate(self, layer: int, keys: Sequence[int], tokens_of: Mapping[int, int] | None) -> Asked:
        """Decide for the experts S that a gate has picked, in their order; `tokens_of` is None where each has one token.

        S is pinned, but for what the CPU computes; hits and late hits are touched; misses are handled as the policy says;
        then prefetches are named.
        """
        view, counters, cache, channel = self._view, self.counters, self.cache, self._channel
        state, touch_of_key = cache.state, cache.touch_of_key
        hits, missed = [], []
        num_late = 0
        view.visit += 1
        if view.future is not None:
            view.future.advance()
        view.held_keys.update(keys)
        for key in keys:
            status = state[key]
            if status == RESIDENT:
                touch_of_key[key](key)
                hits.append(key)
            elif status == IN_FLIGHT:
                touch_of_key[key](key)
                channel.promote(key)
                self._wanted.add(key)
                num_late += 1
            else:
                missed.append(key)
        counters.accesses[layer] += len(keys)
        counters.hits[layer] += len(hits)
        if self._unused_prefetches:
            self._count_prefetches_used(hits)
        counters.late_hits[layer] += num_late
        counters.misses[layer] += len(missed)
        waiting, on_cpu = _NONE_WAITING, _NONE_ON_CPU
        if missed:
            waiting = deque()
            on_cpu = self._handle_misses(layer, missed, tokens_of, waiting)
        if self._timeline is not None:
            now_ns = self._now_ns()
            self._timeline.gate(layer, keys, hits, missed, now_ns)
            self._timeline.load(now_ns, queued=channel.num_queued(), occupied=cache.num_occupied())
        if self._prefetch is not None:
            self._issue(self._prefetch.after_gate(keys))
        return hits, num_late + len(missed) - len(on_cpu), waiting, on_cpu

    def layer_ended(self) -> None:
        """Let prefetches be named when a layer's last expert has been computed."""
        if self._prefetch is not None:
            self._issue(self._prefetch.at_layer_end())

    def unpin(self, keys: Iterable[int]) -> None:
        """Let experts that have been computed be evicted."""
        self._view.held_keys.difference_update(keys)

    def fetch_waiting(self, waiting: deque[int]) -> None:
        """Issue the demand fetches that wait for a slot, in order, until one finds none."""
        while waiting and self._fetch(waiting[0]):
            waiting.popleft()

    def deliver(self, transfer: Transfer) -> None:
        """Take over an expert that the link has brought."""
        key = transfer.key
        self.cache.state[key] = RESIDENT
        if transfer.is_prefetch:
            self.counters.prefetch_transfers += 1
        else:
            self.counters.demand_transfers += 1
        if key in self._wanted:
            self._wanted.discard(key)
            self.arrived.append(key)
            if transfer.is_prefetch:
                self._unused_prefetches.discard(key)
                self.counters.prefetches_late += 1
        else:
            self._view.held_keys.discard(key)

    def num_unused_prefetches(self) -> int:
        """Count the prefetched experts that no gate has asked for yet and that nothing has evicted."""
        return len(self._unused_prefetches)

    def _handle_misses(
        self, layer: int, missed: Sequence[int], tokens_of: Mapping[int, int] | None, waiting: deque[int]
    ) -> Sequence[int]:
        """Carry out what the policy says of each missing key; return those that the CPU computes."""
        on_cpu: list[int] = []
        counts = [1] * len(missed) if tokens_of is None else [tokens_of[key] for key in missed]
        for key, action in zip(missed, self._decide(missed, counts), strict=True):
            if action is MissAction.CPU:
                on_cpu.append(key)
            elif not self._fetch(key):
                waiting.append(key)
        if waiting:
            self.counters.wave_fetches += len(waiting)
        if on_cpu:
            self.counters.cpu_experts[layer] += len(on_cpu)
            self._view.held_keys.difference_update(on_cpu)
        return on_cpu

    def _fetch(self, key: int) -> bool:
        """Issue a demand fetch; False if no slot can be had for it."""
        if not self._take_slot(key):
            return False
        if self._follows_evictions and self.cache.evicted is not None:
            self._note_eviction(self.cache.evicted)
        self._wanted.add(key)
        self._demand(key)
        return True

    def _issue(self, keys: Sequence[int]) -> None:
        """Queue prefetches for the keys that are absent."""
        state, counters = self.cache.state, self.counters
        for key in keys:
            if state[key] != ABSENT:
                continue
            if not self.cache.take_slot(key):
                counters.prefetches_dropped += 1
                continue
            if self.cache.evicted is not None:
                self._note_eviction(self.cache.evicted)
            counters.prefetches_issued += 1
            self._unused_prefetches.add(key)
            if self._timeline is not None:
                self._timeline.prefetch_issued(key, self._now_ns())
            self._channel.prefetch(key)

    def _note_eviction(self, key: int) -> None:
        if self._timeline is not None:
            self._timeline.evicted(key)
        if key in self._unused_prefetches:
            self._unused_prefetches.discard(key)
            self.counters.prefetches_wasted += 1

    def _count_prefetches_used(self, hits: Iterable[int]) -> None:
        for key in hits:
            if key in self._unused_prefetches:
                self._unused_prefetches.discard(key)
                self.counters.prefetches_useful += 1
