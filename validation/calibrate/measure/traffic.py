"""Transfers that keep the link busy while something else is measured.

Limits: no more than 256 are queued; what takes longer than these is measured beside a link that is idle at the end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from validation.calibrate.subject import Subject, endless
from validation.runtime.link import CopyLink
from validation.runtime.throttle import Throttle

_RING_BYTES = 64 << 20
_MOST_IN_QUEUE = 256


class Traffic:
    """A link that copies experts to the device without pause, while `flowing`; or nothing at all, if it is not on.

    As many transfers are queued as outlast what was measured before; if the link falls idle all the same, `has_lasted` says
    so, and twice as many are queued the next time. `throttle` is that of the link.
    """

    def __init__(self, subject: Subject, *, is_on: bool, throttle: Throttle | None = None) -> None:
        self.has_lasted = True
        self._subject = subject
        self._is_on = is_on
        self._throttle = throttle
        self._in_queue = 2
        layout = subject.offloaded.layout
        num_keys = subject.offloaded.host.num_banks * subject.offloaded.num_experts
        num_targets = max(1, min(num_keys, _RING_BYTES // layout.num_bytes)) if is_on else 0
        self._targets = subject.device.device_tensor((num_targets, layout.numel), layout.dtype) if is_on else None
        self._num_targets = num_targets
        self._keys = endless(num_keys, subject.seed + 1)
        self._link: CopyLink | None = None
        self._turn = 0

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Transfers begin before the body and end after it."""
        if self._link is None:
            yield
            return
        link = self._link
        assert self._targets is not None
        for _ in range(self._in_queue):
            source = self._subject.offloaded.host.flat(next(self._keys))
            self._turn += 1
            link.demand(self._turn, self._targets[self._turn % self._num_targets], source, None)
        left = self._in_queue - len(link.wait())  # the first has ended: the copy thread is at work
        yield
        left -= len(link.completed())
        self.has_lasted = left > 0 or self._in_queue == _MOST_IN_QUEUE
        if left <= 0:
            self._in_queue = min(_MOST_IN_QUEUE, 2 * self._in_queue)
        while left > 0:
            left -= len(link.wait())

    def __enter__(self) -> Self:
        self._link = CopyLink(self._subject.device, throttle=self._throttle) if self._is_on else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
