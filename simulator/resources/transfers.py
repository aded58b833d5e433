"""The transfers of a link and the order in which they are served: demand before prefetch, first come first served.

The queue has no clock: the simulated link and the copy thread of the torch runtime serve one and the same queue.

Limits: a key has at most one transfer under way.
"""

from collections import deque
from typing import NamedTuple


class Stretch(NamedTuple):
    """A time for which a transfer was served without interruption.

    `served_ns` is what it was served in it, as the time that this takes at full speed.
    """

    start_ns: int
    end_ns: int
    served_ns: int


class Transfer:
    """One expert on its way: `is_prefetch` says why it was issued, `is_demanded` whether a gate has asked for it.

    Its link notes `started_ns`, when the latest stretch of service began, and `served_ns`, what it was served before, as the
    time that this takes at full speed; a link that is told to keeps all its `stretches`, up to the latest that has ended.
    """

    __slots__ = ("is_demanded", "is_prefetch", "key", "served_ns", "started_ns", "stretches")
    is_read = False
    """Whether it is on its way from NVMe to host memory."""

    def __init__(self, key: int, is_prefetch: bool) -> None:
        self.key = key
        self.is_prefetch = is_prefetch
        self.is_demanded = not is_prefetch
        self.served_ns = 0
        self.started_ns = 0
        self.stretches: list[Stretch] | None = None


class Read(Transfer):
    """One expert on its way from NVMe to host memory."""

    __slots__ = ()
    is_read = True


class TransferQueue:
    """What a link serves, and what waits for it.

        transfer = demand(key) | prefetch(key)    # in service at once where nothing is
        cancel(key)                               # of what waits
        if must_give_way(): give_way()            # asked where the service can be interrupted
        finish()                                  # the transfer in service is over, and the next in service

    `demands` and `prefetches` hold what waits, in the order in which it will be served.
    """

    __slots__ = ("_prefetch_of_key", "demands", "prefetches", "serving")

    def __init__(self) -> None:
        self.demands: deque[Transfer] = deque()
        self.prefetches: deque[Transfer] = deque()
        self.serving: Transfer | None = None
        self._prefetch_of_key: dict[int, Transfer] = {}

    def demand(self, key: int) -> Transfer:
        """Queue a demand fetch; it is in service at once where nothing else is."""
        transfer = Transfer(key, False)
        if self.serving is None:
            self.serving = transfer
        else:
            self.demands.append(transfer)
        return transfer

    def prefetch(self, key: int) -> Transfer:
        """Queue a prefetch behind all demands and the prefetches before it; it is in service at once where nothing is."""
        self._prefetch_of_key[key] = transfer = Transfer(key, True)
        if self.serving is None:
            self.serving = transfer
        else:
            self.prefetches.append(transfer)
        return transfer

    def promote(self, key: int) -> Transfer | None:
        """Make the prefetch that is under way for `key` a demand and return it: if it is queued, it joins the demands.

        Does nothing, and returns None, if there is none or if it is a demand already.
        """
        transfer = self._prefetch_of_key.get(key)
        if transfer is None or transfer.is_demanded:
            return None
        transfer.is_demanded = True
        if transfer is not self.serving:
            self.prefetches.remove(transfer)
            self.demands.append(transfer)
        return transfer

    def cancel(self, key: int) -> Transfer | None:
        """Take the prefetch of `key` out of the queue and return it.

        Does nothing, and returns None, if there is none, if it is in service, or if a gate has asked for it. One that has
        given way waits as the others do: it can be cancelled, and what it has been served was in vain.
        """
        transfer = self._prefetch_of_key.get(key)
        if transfer is None or transfer.is_demanded or transfer is self.serving:
            return None
        self.prefetches.remove(transfer)
        del self._prefetch_of_key[key]
        return transfer

    def queued_prefetches(self) -> list[int]:
        """Return the keys of the prefetches that wait and that no gate has asked for, in the order of their turns."""
        return [transfer.key for transfer in self.prefetches]

    def must_give_way(self) -> bool:
        """Tell whether a demand waits while the link serves what no gate has asked for."""
        return bool(self.demands) and self.serving is not None and not self.serving.is_demanded

    def give_way(self) -> Transfer:
        """Interrupt the prefetch in service, which waits again, ahead of the others; return the demand served instead."""
        assert self.must_give_way(), "nothing gives way, or to nothing"
        assert self.serving is not None
        self.prefetches.appendleft(self.serving)
        self.serving = following = self.demands.popleft()
        return following

    def finish(self) -> Transfer | None:
        """End the transfer in service; return what is in service now, None where nothing waits."""
        transfer = self.serving
        assert transfer is not None, "nothing is in service"
        if transfer.is_prefetch:
            del self._prefetch_of_key[transfer.key]
        following = None
        if self.demands:
            following = self.demands.popleft()
        elif self.prefetches:
            following = self.prefetches.popleft()
        self.serving = following
        return following

    def num_queued(self) -> int:
        """Count the transfers that wait."""
        return len(self.demands) + len(self.prefetches)
