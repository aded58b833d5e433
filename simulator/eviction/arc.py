"""ARC: recency and frequency, in a balance that ghosts adjust."""

from collections import OrderedDict
from collections.abc import Iterable

from simulator.view import View

_Queue = OrderedDict[int, None]  # least recently used first


class ARC:
    """Keep keys used once and keys used more often in two LRU lists, and learn how long the first should be.

    Each list remembers as ghosts what it has lost. An expert that comes back while it is a ghost of the first list
    makes that list's target longer, of the second shorter. The victim is the least recent of the first list if that is
    longer than its target (or as long, and a ghost of the second list comes back), else of the second.

    Which expert a victim makes room for is not said; it is taken to be the gate's first pick that the pool has not got.
    So the target moves before the victim is chosen, as published. Where that guess is wrong (prefetches), it moves on
    insertion.

    Source: N. Megiddo, D. S. Modha: "ARC: a self-tuning, low overhead replacement cache", FAST 2003, figure 4.

    Limits: the pool's size is what it holds at its latest eviction. Where all of the list in turn is held, the other gives.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._once: _Queue = OrderedDict()
        self._often: _Queue = OrderedDict()
        self._once_ghosts: _Queue = OrderedDict()
        self._often_ghosts: _Queue = OrderedDict()
        self._target = 0.0
        self._num_slots = 0
        self._expected: _Queue = OrderedDict()  # the gate's picks that the pool has not got
        self._moved_for: int | None = None

    def at_gate(self) -> None:
        """Note which experts will have to come."""
        picks = (key for token in self._view.picks() for key in token)
        self._expected = OrderedDict.fromkeys(key for key in picks if key not in self._once and key not in self._often)

    def touch(self, key: int) -> None:
        """Move the key to the recent end of the second list."""
        self._once.pop(key, None)
        self._often[key] = None
        self._often.move_to_end(key)

    def insert(self, key: int) -> None:
        """Enter the first list, or the second if the key is a ghost."""
        self._expected.pop(key, None)
        if self._moved_for != key:
            self._target = self._target_for(key)
        self._moved_for = None
        is_ghost = key in self._once_ghosts or key in self._often_ghosts
        self._once_ghosts.pop(key, None)
        self._often_ghosts.pop(key, None)
        (self._often if is_ghost else self._once)[key] = None
        if not is_ghost:
            while self._once_ghosts and len(self._once) + len(self._once_ghosts) > self._num_slots:
                self._once_ghosts.popitem(last=False)
            while self._often_ghosts and self._num_known() > 2 * self._num_slots:
                self._often_ghosts.popitem(last=False)

    def remove(self, key: int) -> None:
        """Drop the key; if it is the victim, it becomes a ghost, and the target moves for the key it makes room for."""
        if key == self.victim():
            self._num_slots = len(self._once) + len(self._often)
            incoming = next(iter(self._expected), None)
            if incoming is not None:
                self._target = self._target_for(incoming)
                self._moved_for = incoming
            (self._once_ghosts if key in self._once else self._often_ghosts)[key] = None
        (self._once if key in self._once else self._often).pop(key)

    def victim(self) -> int | None:
        """Return the least recent key of the list that is too long."""
        incoming = next(iter(self._expected), None)
        target = self._target if incoming is None else self._target_for(incoming)
        excess = len(self._once) - target
        lists = [self._often, self._once]
        if self._once and (excess > 0 or (excess == 0 and incoming in self._often_ghosts)):
            lists.reverse()
        return next((key for keys in lists for key in self._free(keys)), None)

    def _free(self, keys: _Queue) -> Iterable[int]:
        held = self._view.held
        return (key for key in keys if key not in held)

    def _target_for(self, key: int) -> float:
        """Return the first list's target once `key` has been asked for."""
        once, often = len(self._once_ghosts), len(self._often_ghosts)
        if key in self._once_ghosts:
            num_slots = max(self._num_slots, len(self._once) + len(self._often))
            return min(self._target + max(1.0, often / once), num_slots)
        if key in self._often_ghosts:
            return max(self._target - max(1.0, once / often), 0.0)
        return self._target

    def _num_known(self) -> int:
        return len(self._once) + len(self._often) + len(self._once_ghosts) + len(self._often_ghosts)
