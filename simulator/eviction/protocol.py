"""The contract of an eviction policy."""

from typing import Protocol


class Eviction(Protocol):
    """Order the experts of one pool of slots. A policy is built as `Policy(view, **parameters)`, one for each pool.

    The executor calls, for each event (the distinct experts S that one layer visit asks for):

        for each key of S that is resident or in flight, in order: touch(key)
        for each key of S that is absent, in order, and for each prefetch:
            if the pool is full:
                key' = victim();  no key' -> the fetch waits (a demand) or is dropped (a prefetch)
                remove(key')
            insert(key)

    A policy holds exactly the keys inserted and not yet removed. It decides and does nothing else.
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
