"""The link of the runtime: a thread that copies experts to the device, in the order in which the simulated link serves them.

    main thread                      copy thread
    demand / prefetch / promote ->   TransferQueue -> copy, chunk by chunk -> ended -> completed / wait

The order is that of `simulator.resources.transfers.TransferQueue`, the simulator's own: one transfer at a time, demand
before prefetch, first come first served within a class. With a chunk size a prefetch in flight gives way to a demand at its
next chunk boundary; one that has not begun gives way in any case.

A stretch of service begins when the transfer was queued, or when the one before it ended, whichever is later: what the
thread takes to wake up counts as service, as it does for whoever waits for the bytes.

The two threads share one interpreter. The copies release it, but between them the thread has to get it back from Python
code that runs in the main thread, which gives it up only after `sys.getswitchinterval()`: the runtime that owns the link
sets that to well under a transfer's time; this module leaves it alone.

A replay stops its clock between two steps. The link is paused for as long: it begins no piece, and a throttle's clock stands
still as well, so that nothing is brought in time that does not count.

Limits: one direction; with chunks or a throttle the link stands still for some microseconds between one piece and the next.
Without a throttle, what is being copied when a pause begins goes on to the end of its chunk.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType

import torch
from torch import Tensor

from simulator.resources.transfers import Transfer, TransferQueue
from validation.runtime.device import Device, Mark
from validation.runtime.throttle import PIECE_BYTES, Throttle, sleep_towards, sleep_until, tighten_timer_slack

CLOSE_TIMEOUT_S = 10.0


class _Copy:
    """The bytes of one transfer, and how many elements of them have been copied."""

    __slots__ = ("after", "copied", "queued_ns", "queued_unpaused_ns", "source", "target")

    def __init__(
        self, target: Tensor, source: Tensor, after: Mark | None, queued_ns: int, queued_unpaused_ns: int
    ) -> None:
        self.target = target
        self.source = source
        self.after = after
        self.queued_ns = queued_ns
        self.queued_unpaused_ns = queued_unpaused_ns
        self.copied = 0


class CopyLink(AbstractContextManager["CopyLink"]):
    """A serial server of copies to `device`, in a thread of its own.

    `chunk_bytes` is how much of a prefetch is copied before a demand may overtake it; None means that a prefetch which has
    begun runs to its end. `throttle` makes the link no faster than stated. `services` holds each stretch of service that has
    ended as (transfer, start_ns, end_ns), on `device.now_ns`'s scale, in order and without overlaps.

    All methods are for one thread, the one that made the link. Raises ValueError if `chunk_bytes` is not positive.
    """

    def __init__(self, device: Device, *, chunk_bytes: int | None = None, throttle: Throttle | None = None) -> None:
        if chunk_bytes is not None and chunk_bytes < 1:
            raise ValueError(f"chunk_bytes is {chunk_bytes}; it should be 1 or more, or None for whole transfers")
        self.services: list[tuple[Transfer, int, int]] = []
        self.max_late_ns = 0
        """The furthest that a throttled transfer ended after it was due."""
        self._device = device
        self._chunk_bytes = chunk_bytes
        self._throttle = throttle
        self._lock = threading.Lock()  # guards all that follows, and the conditions
        self._changed = threading.Condition(self._lock)  # there is something to serve, or the link closes
        self._ended = threading.Condition(self._lock)  # a transfer has ended, or the thread has
        self._queue = TransferQueue()
        self._copies: dict[int, _Copy] = {}
        self._done: list[Transfer] = []
        self._in_stretch: Transfer | None = None
        self._last_end_ns = 0
        self._busy_ns = 0
        self._failure: BaseException | None = None
        self._failure_is_known = False
        self._is_closing = False
        self._is_held = False
        self._pause: tuple[int | None, int] = (None, 0)  # when the one under way began, ns of those before it
        self._thread = threading.Thread(target=self._run, name="moesim copy link", daemon=True)
        self._start_thread()

    def demand(self, key: int, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Queue a demand fetch: `source` goes to `target` once the compute stream has passed `after`.

        Raises ValueError if the two differ in shape or dtype or are not flat, or if `key` is under way already, and
        RuntimeError if the link is closed.
        """
        with self._lock:
            self._admit(key, target, source, after)
            self._queue.demand(key)
            self._changed.notify()

    def prefetch(self, key: int, target: Tensor, source: Tensor, after: Mark | None) -> None:
        """Queue a prefetch behind all demands and the prefetches before it. Raises as `demand` does."""
        with self._lock:
            self._admit(key, target, source, after)
            self._queue.prefetch(key)
            self._changed.notify()

    def promote(self, key: int) -> None:
        """Make the prefetch that is under way for `key` a demand; do nothing if it is one, or has ended."""
        with self._lock:
            self._queue.promote(key)

    def cancel(self, key: int) -> Transfer | None:
        """Take the prefetch of `key` out of the queue and return it; None if no prefetch waits for `key`."""
        with self._lock:
            transfer = self._queue.cancel(key)
            if transfer is not None:
                del self._copies[key]
            return transfer

    def queued_prefetches(self) -> list[int]:
        """Return the keys of the prefetches that wait and that no gate has asked for, in the order of their turns."""
        with self._lock:
            return self._queue.queued_prefetches()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Begin no prefetch that waits within the context, so that those which `queued_prefetches` names can be cancelled.

        What is in service goes on, and demands are served.
        """
        with self._lock:
            self._is_held = True
        try:
            yield
        finally:
            with self._lock:
                self._is_held = False
                self._changed.notify()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Begin no piece within the context, and let no time of the throttle pass. Not entered within itself."""
        began_ns, lost_ns = self._device.now_ns(), self._pause[1]
        self._pause = (began_ns, lost_ns)
        try:
            yield
        finally:
            with self._lock:
                self._pause = (None, lost_ns + self._device.now_ns() - began_ns)
                self._changed.notify()

    @property
    def serving(self) -> Transfer | None:
        """The transfer in service, or about to be."""
        with self._lock:
            return self._queue.serving

    def num_queued(self) -> int:
        """Count the transfers that wait."""
        with self._lock:
            return self._queue.num_queued()

    def busy_ns(self) -> int:
        """Return the time for which the link has been serving, up to now."""
        with self._lock:
            in_stretch = self._in_stretch
            going_on_ns = self._device.now_ns() - in_stretch.started_ns if in_stretch is not None else 0
            return self._busy_ns + going_on_ns

    def completed(self) -> list[Transfer]:
        """Return the transfers that have ended since the last call, in order, without waiting.

        Raises RuntimeError, from its cause, if a copy has failed: nothing is copied after that.
        """
        with self._lock:
            self._raise_failure()
            return self._take_done()

    def wait(self) -> list[Transfer]:
        """Wait until at least one more transfer has ended, and return those that have since the last call, in order.

        Raises RuntimeError, from its cause, if a copy has failed, and if nothing is under way or the link is closed.
        """
        with self._lock:
            while not self._done:
                self._raise_failure()
                if self._is_closing or self._queue.serving is None:
                    state = "the link is closed" if self._is_closing else "no transfer is under way"
                    raise RuntimeError(f"{state}: there is nothing to wait for")
                self._ended.wait()
            self._raise_failure()
            return self._take_done()

    def close(self) -> None:
        """Stop at the next piece, drop what is queued, and end the thread.

        Raises RuntimeError if a copy had failed and no call has told so, or if one has not ended after 10 s.
        """
        self._stop()
        with self._lock:
            if not self._failure_is_known:
                self._raise_failure()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; a fault of the link does not hide the error that ends the block."""
        if error is None:
            self.close()
        else:
            self._stop()

    def _start_thread(self) -> None:
        """Start the thread, which confines torch to one thread for its own copies, and restore what that changed.

        torch keeps the number of threads both for each thread and, as the default of new ones, for the process.
        """
        num_threads = torch.get_num_threads()
        with self._lock:
            self._thread.start()
            self._ended.wait()
        torch.set_num_threads(num_threads)

    def _stop(self) -> None:
        with self._lock:
            self._is_closing = True
            self._changed.notify()
            self._ended.notify_all()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            raise RuntimeError(
                f"the copy of {self._what()} has not ended within {CLOSE_TIMEOUT_S:g} s; its thread is left"
            )

    def _admit(self, key: int, target: Tensor, source: Tensor, after: Mark | None) -> None:
        if self._is_closing:
            raise RuntimeError(f"the link is closed; the transfer of key {key} cannot be queued")
        if key in self._copies:
            raise ValueError(f"key {key} is under way already; it can be promoted")
        if target.ndim != 1 or target.shape != source.shape or target.dtype != source.dtype or not target.numel():
            raise ValueError(
                f"key {key}: target is {target.dtype} {tuple(target.shape)}, source {source.dtype} {tuple(source.shape)}; "
                f"they should be flat, alike and not empty"
            )
        self._copies[key] = _Copy(target, source, after, self._device.now_ns(), self._unpaused_ns())

    def _take_done(self) -> list[Transfer]:
        done, self._done = self._done, []
        return done

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._failure_is_known = True
            raise RuntimeError(f"the copy of {self._what()} failed") from self._failure

    def _what(self) -> str:
        serving = self._queue.serving
        return f"key {serving.key}" if serving is not None else "no transfer"

    def _unpaused_ns(self) -> int:
        """Return the time of the device's clock less the pauses: that of the throttle."""
        began_ns, lost_ns = self._pause
        return (self._device.now_ns() if began_ns is None else began_ns) - lost_ns

    # The copy thread.

    def _run(self) -> None:
        try:
            torch.set_num_threads(1)
            tighten_timer_slack()
            with self._lock:
                self._ended.notify_all()
            while (following := self._next()) is not None:
                self._copy_chunk(*following)
        except BaseException as error:
            with self._lock:  # raised in the thread that waits
                self._end_stretch()
                self._failure = error
                self._ended.notify_all()

    def _next(self) -> tuple[Transfer, _Copy] | None:
        """Wait for something to serve, give way if need be, and return what to go on with; None if the link closes."""
        with self._lock:
            queue = self._queue
            while (queue.serving is None or self._is_paused()) and not self._is_closing:
                self._changed.wait()
            if queue.must_give_way():
                self._end_stretch()
                queue.give_way()
            transfer = queue.serving
            if transfer is None or self._is_closing:
                self._end_stretch()
                return None
            copy = self._copies[transfer.key]
            if self._in_stretch is None:
                self._begin_stretch(transfer, copy)
            return transfer, copy

    def _copy_chunk(self, transfer: Transfer, copy: _Copy) -> None:
        """Copy on to the next chunk's end, in pieces if there is a throttle; take the transfer out if that was the last."""
        itemsize, total = copy.source.element_size(), copy.source.numel()
        chunk = max(1, self._chunk_bytes // itemsize) if self._chunk_bytes is not None else total
        piece = max(1, PIECE_BYTES // itemsize) if self._throttle is not None else chunk
        chunk_end, due_ns = min(total, copy.copied + chunk), None
        while copy.copied < chunk_end and not self._stops():
            piece_end = min(chunk_end, copy.copied + piece)
            part = slice(copy.copied, piece_end)
            self._device.copy(copy.target[part], copy.source[part], copy.after)
            copy.after = None  # the pieces that follow come later still
            copy.copied = piece_end
            if self._throttle is not None:
                due_ns = self._throttle.advance((part.stop - part.start) * itemsize)
                sleep = sleep_until if piece_end == chunk_end else sleep_towards
                sleep(due_ns, self._unpaused_ns, self._stops)
        if self._is_closing:
            return
        if copy.copied == total:
            self._finish(transfer, due_ns)

    def _begin_stretch(self, transfer: Transfer, copy: _Copy) -> None:
        transfer.started_ns = max(copy.queued_ns, self._last_end_ns)
        self._in_stretch = transfer
        if self._throttle is not None:
            self._throttle.start(copy.queued_unpaused_ns, is_resumed=copy.copied > 0)

    def _end_stretch(self) -> None:
        transfer = self._in_stretch
        if transfer is None:
            return
        now_ns, started_ns = self._device.now_ns(), transfer.started_ns
        self.services.append((transfer, started_ns, now_ns))
        transfer.served_ns += now_ns - started_ns
        self._busy_ns += now_ns - started_ns
        self._last_end_ns = now_ns
        self._in_stretch = None

    def _finish(self, transfer: Transfer, due_ns: int | None) -> None:
        with self._lock:
            self._end_stretch()
            if due_ns is not None:
                self.max_late_ns = max(self.max_late_ns, self._unpaused_ns() - due_ns)
            del self._copies[transfer.key]
            self._done.append(transfer)
            self._ended.notify()
            while self._is_held and not self._queue.demands and not self._is_closing:
                self._changed.wait()
            self._queue.finish()

    def _is_paused(self) -> bool:
        return self._pause[0] is not None

    def _stops(self) -> bool:
        """Tell whether the link closes; in a pause, at the pause's end."""
        if self._is_paused():
            with self._lock:
                while self._is_paused() and not self._is_closing:
                    self._changed.wait()
        return self._is_closing
