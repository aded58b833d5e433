"""S3-FIFO: a small queue that sifts what is new, a main one, and a memory of what the small one let go."""

from collections import OrderedDict

from simulator.eviction.ring import Ring
from simulator.view import View


class S3FIFO:
    """Let new keys prove themselves in a small queue before they enter the main one.

    A key enters the small queue, or the main one if it is still remembered as a ghost. While the small queue has its
    share of the pool, its oldest keys leave it: those touched `promote_after` times or more since insertion to the main
    queue, with their touches forgotten; the first other is evicted and becomes a ghost. Else the main queue evicts, as
    a clock with two bits. As many ghosts are remembered as the main queue has slots, first in, first out.

    Source: J. Yang, Y. Zhang, Z. Qiu, Y. Yue, K. V. Rashmi: "FIFO queues are all you need for cache eviction", SOSP
    2023, algorithm 1: a tenth for the small queue, two touches.

    Limits: a policy learns how many slots its pool has when the pool is full, at its first eviction.
    """

    def __init__(self, view: View, *, small_frac: float = 0.1, promote_after: int = 2) -> None:
        if not 0 < small_frac < 1:
            raise ValueError(f"small_frac is {small_frac}; it should be a share between 0 and 1")
        if not 1 <= promote_after <= 3:
            raise ValueError(f"promote_after is {promote_after}; it should be from 1 to 3 touches")
        self._view = view
        self._small_frac = small_frac
        self._promote_after = promote_after
        self._small: OrderedDict[int, int] = OrderedDict()  # touches, the oldest key first
        self._main = Ring(3)
        self._ghosts: OrderedDict[int, None] = OrderedDict()
        self._num_slots = 0

    def touch(self, key: int) -> None:
        """Count the access, up to three."""
        if key in self._small:
            self._small[key] = min(self._small[key] + 1, 3)
        else:
            self._main.use(key)

    def insert(self, key: int) -> None:
        """Enter the small queue, or the main one if the key is a ghost."""
        if key in self._ghosts:
            del self._ghosts[key]
            self._main.add(key)
        else:
            self._small[key] = 0
        while len(self._ghosts) > int(self._num_slots * (1 - self._small_frac)):
            self._ghosts.popitem(last=False)

    def remove(self, key: int) -> None:
        """Drop the key; if it is the victim, promote what was passed, and remember it if it was in the small queue."""
        victim, promoted, turns = self._look()
        if key == victim:
            self._num_slots = len(self._small) + len(self._main)
            for passed in promoted:
                del self._small[passed]
                self._main.add(passed)
            if key in self._small:
                self._ghosts[key] = None
            else:
                self._main.turn(key, turns, self._view.held)
        if key in self._small:
            del self._small[key]
        else:
            self._main.drop(key)

    def victim(self) -> int | None:
        """Return the key that the small queue lets go, or the main one."""
        return self._look()[0]

    def _look(self) -> tuple[int | None, list[int], int]:
        """Return the victim, what leaves the small queue for the main one before, and the main queue's full turns."""
        held = self._view.held
        num_slots = len(self._small) + len(self._main)
        promoted: list[int] = []
        if len(self._main) <= num_slots - int(num_slots * self._small_frac):
            for key, touches in self._small.items():
                if key in held:
                    continue
                if touches < self._promote_after:
                    return key, promoted, 0
                promoted.append(key)
        found = self._main.first_without_credit(held, promoted)
        if found is not None:
            return found[0], promoted, found[1]
        return next((key for key in self._small if key not in held), None), [], 0
