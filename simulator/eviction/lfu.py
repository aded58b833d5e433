"""Least frequently used, with and without ageing."""

from collections import OrderedDict

from simulator.view import View


class LFU:
    """Evict the key with the fewest accesses since insertion (which counts one), ties to the least recently touched.

    Keys are kept in one recency order per priority, so a decision looks at the lowest priorities alone.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._priority: dict[int, int] = {}
        self._keys: dict[int, OrderedDict[int, None]] = {}  # by priority, least recently touched first

    def touch(self, key: int) -> None:
        """Raise the key's priority by one."""
        priority = self._priority[key]
        self._leave(key, priority)
        self._enter(key, priority + 1)

    def insert(self, key: int) -> None:
        """Enter the key with one access."""
        self._enter(key, 1)

    def remove(self, key: int) -> None:
        """Drop the key and its count."""
        self._leave(key, self._priority.pop(key))

    def victim(self) -> int | None:
        """Return the key of lowest priority that is not held."""
        held = self._view.held
        for priority in sorted(self._keys):
            for key in self._keys[priority]:
                if key not in held:
                    return key
        return None

    def _enter(self, key: int, priority: int) -> None:
        self._priority[key] = priority
        self._keys.setdefault(priority, OrderedDict())[key] = None

    def _leave(self, key: int, priority: int) -> None:
        keys = self._keys[priority]
        del keys[key]
        if not keys:
            del self._keys[priority]


class AgedLFU(LFU):
    """LFU with dynamic ageing: a key's priority is its accesses plus the pool's age when it last changed.

    The age is the highest priority of a key evicted so far, so that experts which were popular long ago give way in time.

    Source: Arlitt, Cherkasova, Dilley, Friedrich, Jin: "Evaluating content management techniques for Web proxy caches",
    SIGMETRICS Performance Evaluation Review 27(4), 2000 (LFU-DA).
    """

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self._age = 0
        self._accesses: dict[int, int] = {}

    def touch(self, key: int) -> None:
        """Count the access and set the priority afresh from the pool's age."""
        self._accesses[key] += 1
        self._leave(key, self._priority[key])
        self._enter(key, self._accesses[key] + self._age)

    def insert(self, key: int) -> None:
        """Enter the key with one access on top of the pool's age."""
        self._accesses[key] = 1
        self._enter(key, 1 + self._age)

    def remove(self, key: int) -> None:
        """Drop the key; the pool's age rises to its priority."""
        del self._accesses[key]
        self._age = max(self._age, self._priority[key])
        super().remove(key)
