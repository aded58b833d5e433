"""GPU memory that KV cache may have: a fixed part, or one that expert slots make room for and take back.

    fixed      KV cache has its own bytes
    dynamic    KV cache and expert slots share; a slot is given up when KV cache grows into it, down to the fewest that a
               run needs, and taken back when KV cache leaves so much room that it will not be wanted again at once

Source: vLLM and llama.cpp divide once, at the start; that the two compete while they serve is design.md, section 4.

Limits: bytes are bytes, wherever they lie: no fragmentation; a slot changes hands in no time, between two steps.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertSlots:
    """Slots that can make room: how large each is, and how one is given up or taken back (False if it can't)."""

    bytes_each: int
    most_to_give: int
    give_up: Callable[[], bool]
    take_back: Callable[[], bool]


class KvMemory:
    """Count the bytes of KV cache, `used_bytes` of `capacity_bytes`; `most_bytes` is what it could ever have."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.peak_bytes = 0
        self.slots_given = 0
        self.num_given_up = 0
        self.num_taken_back = 0
        self._slots: ExpertSlots | None = None
        self._spare_frac = 0.0

    def share_with(self, slots: ExpertSlots, *, spare_frac: float) -> None:
        """Let expert slots make room. They come back once that leaves `spare_frac` of what is used free."""
        self._slots = slots
        self._spare_frac = spare_frac

    @property
    def most_bytes(self) -> int:
        """What it could have if all slots that can be given up were."""
        slots = self._slots
        if slots is None:
            return self.capacity_bytes
        return self.capacity_bytes + (slots.most_to_give - self.slots_given) * slots.bytes_each

    def has(self, num_bytes: int) -> bool:
        """Tell whether there is so much room, or could be."""
        return self.used_bytes + num_bytes <= self.most_bytes

    def take(self, num_bytes: int) -> bool:
        """Take bytes; False, and nothing taken, where there is no room for them."""
        used = self.used_bytes + num_bytes
        while used > self.capacity_bytes:
            slots = self._slots
            if slots is None or used > self.most_bytes or not slots.give_up():
                return False
            self.capacity_bytes += slots.bytes_each
            self.slots_given += 1
            self.num_given_up += 1
        self.used_bytes = used
        if used > self.peak_bytes:
            self.peak_bytes = used
        return True

    def free(self, num_bytes: int) -> None:
        """Give bytes back."""
        assert num_bytes <= self.used_bytes, "more is given back than was taken"
        self.used_bytes -= num_bytes

    def give_slots_back(self) -> None:
        """Give the slots back that are not wanted."""
        slots = self._slots
        while slots is not None and self.slots_given:
            left = self.capacity_bytes - slots.bytes_each
            if left < self.used_bytes * (1 + self._spare_frac) or not slots.take_back():
                return
            self.capacity_bytes = left
            self.slots_given -= 1
            self.num_taken_back += 1
