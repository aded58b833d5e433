"""The device's memory for experts: slots of one expert each, and which key lies in which.

The expert cache of the simulator decides who has a slot; this says where it is, and carries demands and prefetches to
the link with their source and target.
"""

from collections.abc import Mapping

from torch import Tensor

from simulator.cache import ABSENT, ExpertCache
from validation.runtime.device import Device, Mark
from validation.runtime.experts import HostExperts
from validation.runtime.link import CopyLink


class Slots:
    """As many slots as the cache has; `tensors` of a key are views of its slot. All pages have been touched."""

    def __init__(self, device: Device, host: HostExperts, *, num_slots: int) -> None:
        self._flat = device.device_tensor((num_slots, host.layout.numel), host.layout.dtype)
        self._views = [host.layout.views(self._flat[slot]) for slot in range(num_slots)]
        self._last_use: list[Mark | None] = [None] * num_slots
        self._free = list(range(num_slots - 1, -1, -1))
        self._slot_of_key: dict[int, int] = {}

    def take(self, key: int, evicted: int | None) -> None:
        """Give `key` the slot of the expert that was evicted for it, or a free one."""
        self._slot_of_key[key] = self._free.pop() if evicted is None else self._slot_of_key.pop(evicted)

    def clear(self) -> None:
        """Empty all slots."""
        self._free.extend(self._slot_of_key.values())
        self._slot_of_key.clear()

    def flat(self, key: int) -> Tensor:
        """Return the slot of a key as a flat tensor."""
        return self._flat[self._slot_of_key[key]]

    def tensors(self, key: int) -> Mapping[str, Tensor]:
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


class SlotChannel:
    """`simulator.dispatch.Channel` over a copy link: each fetch goes from the host's copy to the key's slot."""

    def __init__(self, *, cache: ExpertCache, slots: Slots, host: HostExperts, link: CopyLink) -> None:
        self._cache = cache
        self._slots = slots
        self._host = host
        self._link = link

    def fill(self) -> None:
        """Copy in, before the run, what the cache holds from the start."""
        for key, state in enumerate(self._cache.state):
            if state != ABSENT:
                self._slots.take(key, None)
                self._slots.flat(key).copy_(self._host.flat(key))

    def demand(self, key: int) -> None:
        """Queue a demand fetch."""
        self._slots.take(key, self._cache.evicted)
        self._link.demand(key, self._slots.flat(key), self._host.flat(key), self._slots.last_use(key))

    def prefetch(self, key: int) -> None:
        """Queue a prefetch."""
        self._slots.take(key, self._cache.evicted)
        self._link.prefetch(key, self._slots.flat(key), self._host.flat(key), self._slots.last_use(key))

    def promote(self, key: int) -> None:
        """Make the prefetch that is under way for `key`, if there is one, a demand."""
        self._link.promote(key)

    def num_queued(self) -> int:
        """Count the transfers that wait."""
        return self._link.num_queued()
