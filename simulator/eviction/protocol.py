"""The contract of an eviction policy."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable


class Eviction(Protocol):
    """Order the experts of one pool of slots. A policy is built as `Policy(view, **parameters)`, one for each pool.

    The executor calls, for each event (the distinct experts S that one layer visit asks for):

        for each key of S that is resident or in flight, in order: touch(key)
        for each key of S that is absent, in order, and for each prefetch:
            if the pool is full:
                key' = victim();  no key' -> the fetch waits (a demand) or is dropped (a prefetch)
                remove(key')
            insert(key)

    A policy holds exactly the keys inserted and not yet removed. It decides and does nothing else. It may have methods of
    `ObservesGates`, `Admits` and `GivesUp` as well.
    """

    def touch(self, key: int) -> None:
        """Note an access to a key that the pool holds."""

    def insert(self, key: int) -> None:
        """Note that a key has taken a slot; this is also its first access."""

    def remove(self, key: int) -> None:
        """Forget a key that has lost its slot."""

    def victim(self) -> int | None:
        """Choose the key to evict, one that the pool holds and `view.held` does not; None if there is none.

        Changes nothing: the executor calls `remove` if it evicts.
        """


@runtime_checkable
class ObservesGates(Protocol):
    """A policy of any kind that follows every gate, not only what becomes of it."""

    def at_gate(self) -> None:
        """See the gate's result in the view (`picks`, `weights`, `requests`), before anything is decided.

        An eviction policy is told of the gates whose experts compete for its pool.
        """


@runtime_checkable
class Admits(Protocol):
    """An eviction policy that lets some missed experts pass through a staging slot without entering its pool.

    Needs a cache with staging slots (`cache.staging`). Without one every expert is admitted.
    """

    def admits(self, key: int) -> bool:
        """Tell whether a missed expert takes a slot of the pool, which is full. Changes nothing."""


@runtime_checkable
class GivesUp(Protocol):
    """An eviction policy that frees slots before anyone wants them."""

    def gives_up(self, keys: Iterable[int]) -> Sequence[int]:
        """Name those of `keys` that are given up now that they have been computed; the executor calls `remove` for each.

        Only keys that the pool holds are asked about.
        """
