"""The device's memory for experts: slots of one expert each, and which key lies in which.

The expert cache of the simulator decides who has a slot; this says where it is, and carries demands and prefetches to
the link with their source and target. Low-precision copies have slots of their own size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from simulator.cache import ABSENT, ExpertCache
from simulator.resources.transfers import Transfer
from validation.runtime.device import Device, Mark
from validation.runtime.experts import HostExperts
from validation.runtime.low_precision import LowExperts, PackedExpert
from validation.runtime.serving import Link

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)
_ALIGNMENT_BYTES = 16


class _Layout(Protocol[V_co]):
    """What one slot holds."""

    @property
    def numel(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def views(self, flat: Tensor) -> V_co: ...


class SlotsOf(Generic[V]):
    """As many slots as the cache has; `tensors` of a key are views of its slot. All pages have been touched."""

    def __init__(self, device: Device, layout: _Layout[V], *, num_slots: int) -> None:
        itemsize = int(layout.dtype.itemsize)
        aligned = -(-layout.numel * itemsize // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES // itemsize
        memory = device.device_tensor((num_slots, aligned), layout.dtype)
        self._flat = [memory[slot, : layout.numel] for slot in range(num_slots)]
        self._views = [layout.views(flat) for flat in self._flat]
        self._last_use: list[Mark | None] = [None] * num_slots
        self._free = list(range(num_slots - 1, -1, -1))
        self._slot_of_key: dict[int, int] = {}

    def take(self, key: int, evicted: int | None) -> None:
        """Give `key` the slot of the expert that was evicted for it, or a free one."""
        self._slot_of_key[key] = self._free.pop() if evicted is None else self._slot_of_key.pop(evicted)

    def release(self, key: int) -> None:
        """Take a key's slot away; it is the next to be taken."""
        self._free.append(self._slot_of_key.pop(key))

    def clear(self) -> None:
        """Empty all slots."""
        self._free.extend(self._slot_of_key.values())
        self._slot_of_key.clear()

    def flat(self, key: int) -> Tensor:
        """Return the slot of a key as a flat tensor."""
        return self._flat[self._slot_of_key[key]]

    def tensors(self, key: int) -> V:
        """Return an expert's tensors by name: views of its slot."""
        return self._views[self._slot_of_key[key]]

    def used(self, key: int, mark: Mark) -> None:
        """Note up to when the compute stream reads a key's slot."""
        self._last_use[self._slot_of_key[key]] = mark

    def last_use(self, key: int) -> Mark | None:
        """Return up to when the compute stream reads the slot, whichever expert it was for; None before any use."""
        return self._last_use[self._slot_of_key[key]]

    @property
    def num_slots(self) -> int:
        """Slots in all."""
        return len(self._views)


class Slots(SlotsOf[Mapping[str, Tensor]]):
    """Slots for experts as the model has them."""

    def __init__(self, device: Device, host: HostExperts, *, num_slots: int) -> None:
        super().__init__(device, host.layout, num_slots=num_slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Low:
    """Low-precision copies on both sides of the link."""

    host: LowExperts
    slots: SlotsOf[PackedExpert]

    @classmethod
    def on(cls, device: Device, host: LowExperts, *, num_slots: int) -> "Low":
        """Make slots for copies."""
        return cls(host=host, slots=SlotsOf(device, host.layout, num_slots=num_slots))

    def dequantised(self, key: int) -> Mapping[str, Tensor]:
        """Return the tensors of a copy that has a slot as they are computed with."""
        return self.host.layout.dequantised(self.slots.tensors(key))


class SlotChannel:
    """`simulator.dispatch.Channel` over a copy link: each fetch goes from the host's copy to the key's slot.

    `released` is for the dispatch to call with a key that has lost its slot to nobody.
    """

    def __init__(
        self,
        *,
        cache: ExpertCache,
        slots: Slots,
        host: HostExperts,
        link: Link,
        low: Low | None = None,
    ) -> None:
        self._cache = cache
        self._slots = slots
        self._host = host
        self._link = link
        self._low = low
        self._num_keys = host.num_banks * host.num_experts

    def fill(self) -> None:
        """Copy in, before the run, what the cache holds from the start."""
        for key, state in enumerate(self._cache.state):
            if state != ABSENT:
                slots = self.slots_of(key)
                slots.take(key, None)
                slots.flat(key).copy_(self._source(key))

    def demand(self, key: int) -> None:
        """Queue a demand fetch."""
        self._fetch(key, self._link.demand)

    def prefetch(self, key: int) -> None:
        """Queue a prefetch."""
        self._fetch(key, self._link.prefetch)

    def promote(self, key: int) -> None:
        """Make the prefetch that is under way for `key`, if there is one, a demand."""
        self._link.promote(key)

    def num_queued(self) -> int:
        """Count the transfers that wait."""
        return self._link.num_queued()

    def queued_prefetches(self) -> Sequence[int]:
        """Return the keys of the prefetches that wait, in their order."""
        return self._link.queued_prefetches()

    def cancel(self, key: int) -> Transfer | None:
        """Call off a prefetch that waits; its slot is released by the dispatch."""
        cancelled = self._link.cancel(key)
        assert cancelled is not None, (
            f"the prefetch of key {key} is called off, but does not wait; hold the link meanwhile"
        )
        return cancelled

    def released(self, key: int) -> None:
        """Put the slot of a key back among the free ones."""
        self.slots_of(key).release(key)

    def slots_of(self, key: int) -> SlotsOf[Mapping[str, Tensor]] | SlotsOf[PackedExpert]:
        """Return the slots among which the key has one."""
        if key < self._num_keys:
            return self._slots
        assert self._low is not None, "there are no low-precision copies"
        return self._low.slots

    def _fetch(self, key: int, queue: Callable[[int, Tensor, Tensor, Mark | None], None]) -> None:
        evicted = self._cache.evicted
        if evicted is not None:  # of the other size, maybe, where both are staged
            self.released(evicted)
        slots = self.slots_of(key)
        slots.take(key, None)
        queue(key, slots.flat(key), self._source(key), slots.last_use(key))

    def _source(self, key: int) -> Tensor:
        if key < self._num_keys:
            return self._host.flat(key)
        assert self._low is not None, "there are no low-precision copies"
        return self._low.host.flat(key)


def num_low_slots(cache: ExpertCache, *, num_keys: int, num_experts: int) -> int:
    """Count the slots for low-precision copies in the pools of a cache."""
    of_low = {id(cache.eviction_of_key(key)) for key in range(num_keys, len(cache.state), num_experts)}
    return sum(pool.num_slots for pool in cache.pools if id(pool.eviction) in of_low)
