"""Host memory as a cache of experts that lie on NVMe: the way of a fetch where the host does not hold all of them.

A fetch whose expert is in host memory goes to the link, as ever. One whose expert is not there is read from NVMe first; when
it has been read it joins the link's queue, as what it is by then: a demand, a prefetch, or a prefetch that a gate has asked
for. An expert for the CPU joins the CPU's queue when it is there. What is in use stays: experts that are being read, that
wait for the link or are on it, that wait for the CPU or are computed by it, or that are being copied back.

The host's cache goes its own way: it keeps an expert that the GPU has as long as its own policy does, and hears of the GPU's
hits nothing. So it is neither inclusive nor exclusive, like a page cache under a model that is mapped into memory.

Source: read-ahead in the order of the file, Linux's page cache (mm/readahead.c; Wu, Xi, Xu: "On the design of a new Linux
readahead framework", SIGOPS Operating Systems Review 42(5), 2008), under a GGUF file, whose tensors hold the experts of a
layer one behind the other. What is predicted instead (MoE-Infinity, arXiv 2401.14361, whose prefetches go from SSD to host
memory and on to the GPU) is a prefetch policy's to name.

Limits: an expert is one read, wherever in a file its matrices lie; the copy from the page cache to pinned memory costs
nothing; low-precision copies are all in host memory; weights never change, so nothing is written to NVMe.
"""

from collections.abc import Callable, Collection

import simpy

from simulator.cache import ABSENT, IN_FLIGHT, RESIDENT
from simulator.host_cache import HostCache
from simulator.metrics.counters import Counters
from simulator.resources.link import Deliver, Link
from simulator.resources.nvme import Nvme
from simulator.resources.transfers import Read, Transfer
from simulator.resources.write_back import WriteBack
from simulator.timeline import Timeline


class HostTier:
    """`simulator.fetching.Channel` of a host that does not hold all experts, over its link to the GPU.

    `deliver` is called with what has come to the GPU. `awaited` names the keys that the current layer waits for. What the
    stream waits for is `serving`, until `end_of_service`: NVMe while none of the awaited is in host memory, else the link.
    """

    def __init__(self, host: HostCache, *, num_keys: int, link: Link) -> None:
        self.link = link
        self.nvme: Nvme
        self.write_back: WriteBack | None = None
        self.deliver: Deliver = _nobody
        self.awaited: Callable[[], Collection[int]] = tuple
        self._cache, self._num_ahead = host.cache, host.read_ahead
        self._num_keys = num_keys
        self._num_experts = host.num_experts
        self._wanted: dict[int, list[Transfer]] = {}  # what goes on to the GPU when it has been read
        self._starts: dict[int, list[Callable[[], None]]] = {}  # what begins on the CPU then
        self._reads: set[int] = set()  # what is queued for NVMe or being read
        self._ahead: set[int] = set()  # read ahead, and not asked for since
        self._uses: dict[int, int] = {}  # how often each key in host memory is in use, if it is
        self._hits = self._late_hits = self._misses = self._evictions = 0
        self._num_read = self._num_ahead_asked = self._num_ahead_used = 0
        link.deliver = self._came

    def demand(self, key: int) -> None:
        """Queue a demand fetch, behind a read where the host has not got the expert."""
        if key < self._num_keys:
            self._get(Transfer(key, False))
        else:
            self.link.demand(key)

    def prefetch(self, key: int) -> None:
        """Queue a prefetch likewise."""
        if key < self._num_keys:
            self._get(Transfer(key, True))
        else:
            self.link.prefetch(key)

    def promote(self, key: int) -> None:
        """Make the prefetch that is under way for `key` a demand, wherever it is."""
        if key not in self._wanted:
            self.link.promote(key)
            return
        for fetch in self._wanted[key]:
            fetch.is_demanded = True
        self.nvme.promote(key)

    def need(self, key: int, start: Callable[[], None]) -> None:
        """Call `start` when the expert is in host memory, now if it is. It stays there until it is `released`."""
        if self._is_there(key):
            self._use(key)
            start()
        else:
            self._starts.setdefault(key, []).append(start)
            self._ask(key, is_demanded=True)

    def release(self, key: int) -> None:
        """Hear that one use of an expert in host memory has ended."""
        left = self._uses[key] - 1
        if left:
            self._uses[key] = left
            return
        del self._uses[key]
        self._cache.held.discard(key)
        self.nvme.slot_freed()

    def evict(self, key: int) -> None:
        """Copy an expert that the GPU gives up back over what the host has of it; where it has nothing, do nothing."""
        assert self.write_back is not None
        if key >= self._num_keys:
            self.write_back.evict(key)
        elif self._cache.state[key] == RESIDENT:
            self._use(key)
            self.write_back.evict(key)

    def copied_back(self, key: int) -> None:
        """Hear that an expert has been copied back."""
        if key < self._num_keys:
            self.release(key)

    def num_queued(self) -> int:
        """Count the transfers that wait for the link, those that NVMe has yet to read among them."""
        return self.link.num_queued() + sum(map(len, self._wanted.values()))

    def queued_prefetches(self) -> list[int]:
        """Return the keys of the prefetches that wait for the link in their order, then of those that wait for NVMe."""
        reads = [key for key in self.nvme.queued_prefetches() if key in self._wanted]
        return self.link.queued_prefetches() + reads

    def cancel(self, key: int) -> None:
        """Call off a prefetch that waits."""
        if key not in self._wanted:
            self.link.cancel(key)
            self.release(key)
            return
        del self._wanted[key]
        if self.nvme.cancel(key) is not None:
            self._reads.discard(key)
            self._ahead.discard(key)
            if self._cache.state[key] == IN_FLIGHT:  # it has given way
                self._cache.release(key)
                self.nvme.slot_freed()

    @property
    def serving(self) -> Transfer | None:
        """What the stream waits for: a read, or the transfer that the link serves."""
        if not self._waits_for_nvme():
            return self.link.serving
        read = self.nvme.serving
        return None if read is None else Read(read.key, read.is_prefetch)

    @property
    def end_of_service(self) -> simpy.Event | None:
        """When to look again."""
        return self.nvme.end_of_service if self._waits_for_nvme() else self.link.end_of_service

    def take_slot(self, key: int) -> bool:
        """Give a key a slot of host memory to be read into, unless it has one; False if none can be had."""
        cache = self._cache
        if cache.state[key] == IN_FLIGHT:
            return True
        if not cache.take_slot(key):
            return False
        if cache.evicted is not None:
            self._evictions += 1
            self._ahead.discard(cache.evicted)
        return True

    def has_read(self, read: Transfer) -> None:
        """Take over an expert that NVMe has read, and send it on."""
        key = read.key
        self._num_read += 1
        self._reads.discard(key)
        self._cache.state[key] = RESIDENT
        fetches, starts = self._wanted.pop(key, ()), self._starts.pop(key, ())
        if not fetches and not starts:
            self._cache.held.discard(key)
            return
        for fetch in fetches:
            self._send(fetch)
        for start in starts:
            self._use(key)
            start()

    def close(self, timeline: Timeline) -> None:
        """Note the read that the end of the run cuts short."""
        reading = self.nvme.reading()
        if reading is not None and reading[1] < reading[2]:
            timeline.read(*reading)

    def count(self, counters: Counters) -> None:
        """Bring counters up to date."""
        counters.host_hits, counters.host_late_hits, counters.host_misses = self._hits, self._late_hits, self._misses
        counters.host_evictions, counters.nvme_reads = self._evictions, self._num_read
        counters.reads_ahead, counters.reads_ahead_used = self._num_ahead_asked, self._num_ahead_used
        counters.nvme_busy_ns = self.nvme.busy_ns()

    def _get(self, fetch: Transfer) -> None:
        if self._is_there(fetch.key):
            self._send(fetch)
        else:
            self._wanted.setdefault(fetch.key, []).append(fetch)
            self._ask(fetch.key, is_demanded=fetch.is_demanded)

    def _is_there(self, key: int) -> bool:
        """Count an access of the host's cache, and tell whether it has the expert."""
        if key in self._ahead:
            self._ahead.discard(key)
            self._num_ahead_used += 1
        state = self._cache.state[key]
        if state != ABSENT:
            self._cache.touch_of_key[key](key)
        if state == RESIDENT:
            self._hits += 1
            return True
        if key in self._reads:
            self._late_hits += 1
        else:
            self._misses += 1
        return False

    def _ask(self, key: int, *, is_demanded: bool) -> None:
        """Have an expert read that is not there."""
        if key in self._reads:
            if is_demanded:
                self.nvme.promote(key)
            return
        self._reads.add(key)
        if not is_demanded:
            self.nvme.prefetch(key)
            return
        self.nvme.demand(key)
        last_of_bank = key - key % self._num_experts + self._num_experts - 1
        for behind in range(key + 1, min(key + self._num_ahead, last_of_bank) + 1):
            if self._cache.state[behind] != RESIDENT and behind not in self._reads:
                self._reads.add(behind)
                self._ahead.add(behind)
                self._num_ahead_asked += 1
                self.nvme.prefetch(behind)

    def _send(self, fetch: Transfer) -> None:
        """Queue a fetch for the link, whose expert is in host memory."""
        key = fetch.key
        self._use(key)
        if not fetch.is_prefetch:
            self.link.demand(key)
            return
        self.link.prefetch(key)
        if fetch.is_demanded:
            self.link.promote(key)

    def _came(self, transfer: Transfer) -> None:
        if transfer.key < self._num_keys:
            self.release(transfer.key)
        self.deliver(transfer)

    def _use(self, key: int) -> None:
        self._uses[key] = self._uses.get(key, 0) + 1
        self._cache.held.add(key)

    def _waits_for_nvme(self) -> bool:
        awaited = self.awaited()
        if awaited:
            return all(key in self._wanted for key in awaited)
        return self.link.serving is None


def _nobody(transfer: Transfer) -> None:
    raise AssertionError(f"expert {transfer.key} arrived before anyone asked")
