"""Least frequent recently used: a recency list whose losers compete by frequency."""

from collections import OrderedDict

from simulator.view import View


class LFRU:
    """Keep the recently used in a privileged part; evict the least frequently used of the others.

    What is inserted or touched enters the privileged part. When that is larger than its share of the pool, its least
    recently used key joins the others. Frequency is accesses since insertion (which counts one), ties to the least
    recent.

    Source: M. Bilal, S.-G. Kang: "A cache management scheme for efficient content eviction and replication in cache
    networks", IEEE Access 5, 2017, arXiv 1702.04078. Its shares follow the network; `privileged_frac` is our default.

    Limits: the published frequency is counted over a window of time; here the window is the key's stay in the pool. The
    share is of the keys that the pool holds when it evicts.
    """

    def __init__(self, view: View, *, privileged_frac: float = 0.5) -> None:
        if not 0 <= privileged_frac <= 1:
            raise ValueError(f"privileged_frac is {privileged_frac}; it should be a share from 0 to 1")
        self._view = view
        self._privileged_frac = privileged_frac
        self._num_privileged = 0
        self._order: OrderedDict[int, None] = OrderedDict()  # all keys, least recently used first
        self._accesses: dict[int, int] = {}

    def touch(self, key: int) -> None:
        """Count the access and make the key the most recent."""
        self._accesses[key] += 1
        self._order.move_to_end(key)

    def insert(self, key: int) -> None:
        """Add the key as the most recent, with one access."""
        self._accesses[key] = 1
        self._order[key] = None

    def remove(self, key: int) -> None:
        """Drop the key and its count."""
        del self._accesses[key], self._order[key]

    def victim(self) -> int | None:
        """Return the least frequent key outside the privileged part, or of that one's if all others are held."""
        held = self._view.held
        num_others = len(self._order) - int(len(self._order) * self._privileged_frac)
        others, privileged = [], None
        for at, key in enumerate(self._order):
            if key in held:
                continue
            if at < num_others:
                others.append(key)
            else:
                privileged = key
                break
        return min(others, key=self._accesses.__getitem__, default=privileged)
