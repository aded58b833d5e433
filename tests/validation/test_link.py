"""The copy thread: the order of its copies, their bytes and times, and how it ends."""

import random
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from tests.validation.gated import GatedDevice, expert
from validation.runtime.device import CpuDevice
from validation.runtime.link import CopyLink
from validation.runtime.throttle import Throttle

CHUNK_BYTES = 8  # two elements of `expert`'s four


@pytest.fixture
def device() -> GatedDevice:
    """Return a device that copies when it is told to."""
    return GatedDevice()


@pytest.fixture
def link(device: GatedDevice) -> Iterator[CopyLink]:
    """Return a link without chunks."""
    with CopyLink(device) as link:
        yield link
        device.give_leave(1000)


@pytest.fixture
def chunked(device: GatedDevice) -> Iterator[CopyLink]:
    """Return a link that serves two elements at a time."""
    with CopyLink(device, chunk_bytes=CHUNK_BYTES) as link:
        yield link
        device.give_leave(1000)


def demand(link: CopyLink, key: int) -> None:
    """Queue a demand fetch."""
    link.demand(key, *expert(key), None)


def prefetch(link: CopyLink, key: int) -> None:
    """Queue a prefetch."""
    link.prefetch(key, *expert(key), None)


def ended(link: CopyLink, count: int) -> list[int]:
    """Wait for as many transfers; return their keys in order."""
    keys: list[int] = []
    while len(keys) < count:
        keys += [transfer.key for transfer in link.wait()]
    assert link.completed() == []
    return keys


def test_demands_overtake_queued_prefetches(link: CopyLink, device: GatedDevice) -> None:
    """Demands first, each class in the order of its arrival; the prefetch in flight goes on to its end."""
    prefetch(link, 1)
    assert device.begun() == (1, 0, 4)
    for key in (2, 3):
        prefetch(link, key)
    for key in (4, 5):
        demand(link, key)
    assert link.num_queued() == 4
    device.give_leave(5)
    assert ended(link, 5) == [1, 4, 5, 2, 3]
    assert [transfer.is_prefetch for transfer, *_ in link.services] == [True, False, False, True, True]


def test_a_promoted_prefetch_joins_the_demands(link: CopyLink, device: GatedDevice) -> None:
    """Key 3 goes behind the demand that waits already and before the other prefetch."""
    demand(link, 1)
    device.begun()
    prefetch(link, 2)
    prefetch(link, 3)
    demand(link, 4)
    link.promote(3)
    link.promote(3)
    link.promote(77)
    device.give_leave(4)
    assert ended(link, 4) == [1, 4, 3, 2]
    assert {transfer.key: (transfer.is_prefetch, transfer.is_demanded) for transfer, *_ in link.services} == {
        1: (False, True),
        2: (True, False),
        3: (True, True),
        4: (False, True),
    }


def test_a_demand_overtakes_at_a_chunk_boundary(chunked: CopyLink, device: GatedDevice) -> None:
    """It does so after the chunk in flight; the prefetch goes on where it was, before the other prefetch."""
    prefetch(chunked, 1)
    copies = [device.begun()]
    prefetch(chunked, 2)
    demand(chunked, 3)
    device.give_leave(6)
    copies += [device.begun() for _ in range(5)]
    assert copies == [(1, 0, 2), (3, 0, 2), (3, 2, 2), (1, 2, 2), (2, 0, 2), (2, 2, 2)]
    assert ended(chunked, 3) == [3, 1, 2]
    assert [transfer.key for transfer, *_ in chunked.services] == [1, 3, 1, 2]


def test_a_demand_is_not_overtaken(chunked: CopyLink, device: GatedDevice) -> None:
    """Neither is a prefetch that was promoted while it was in service."""
    prefetch(chunked, 1)
    copies = [device.begun()]
    demand(chunked, 2)
    chunked.promote(1)
    demand(chunked, 3)
    device.give_leave(6)
    copies += [device.begun() for _ in range(5)]
    assert [key for key, *_ in copies] == [1, 1, 2, 2, 3, 3]


def test_a_prefetch_that_has_not_begun_gives_way(link: CopyLink, device: GatedDevice) -> None:
    """Though it was put in service: the thread has not come to it when the demand is queued."""
    with link._lock:  # as if the thread were slow to wake up
        for key, queue in ((1, link._queue.prefetch), (2, link._queue.demand)):
            link._admit(key, *expert(key), None)
            queue(key)
        link._changed.notify()
    device.give_leave(2)
    assert ended(link, 2) == [2, 1]
    assert [transfer.key for transfer, *_ in link.services] == [2, 1]


@pytest.mark.parametrize("seed", range(12))
def test_same_order_as_plain_lists(seed: int) -> None:
    """Random decisions, each taken while a chunk is in flight or nothing is, lead to the same chunks in the same order."""
    draw = random.Random(seed)
    device = GatedDevice()
    waiting: list[tuple[bool, int, int]] = []  # (is demanded, key, elements copied)
    serving: tuple[bool, int, int] | None = None
    next_key = 0

    def pick() -> tuple[bool, int, int] | None:
        waiting.sort(key=lambda transfer: not transfer[0])
        return waiting.pop(0) if waiting else None

    with CopyLink(device, chunk_bytes=CHUNK_BYTES) as link:
        for _ in range(60):
            choice = draw.choice(["demand", "prefetch", "prefetch", "promote", "step", "step", "step"])
            if choice in ("demand", "prefetch"):
                (demand if choice == "demand" else prefetch)(link, next_key)
                waiting.append((choice == "demand", next_key, 0))
                next_key += 1
            elif choice == "promote" and next_key:
                key = draw.randrange(next_key)
                link.promote(key)
                if serving is not None and serving[1] == key:
                    serving = (True, *serving[1:])
                for transfer in [item for item in waiting if item[1] == key and not item[0]]:
                    waiting.remove(transfer)
                    waiting.append((True, *transfer[1:]))
            elif choice == "step" and serving is not None:
                device.give_leave()
                is_demanded, key, copied = serving
                serving = (is_demanded, key, copied + 2) if copied + 2 < 4 else None
                if serving is not None and not is_demanded and any(item[0] for item in waiting):
                    waiting.insert(0, serving)
                    serving = None
                serving = serving or pick()
                if serving is not None:
                    assert device.begun() == (serving[1], serving[2], 2)
                continue
            if serving is None and (serving := pick()) is not None:
                assert device.begun() == (serving[1], serving[2], 2)
        device.give_leave(1000)


def test_the_first_piece_alone_waits_for_the_mark(chunked: CopyLink, device: GatedDevice) -> None:
    """Once the slot is free it stays so."""
    chunked.demand(1, *expert(1), 123)
    device.give_leave(2)
    ended(chunked, 1)
    assert device.after == [123, None]


def test_queue_and_busy_time(link: CopyLink, device: GatedDevice) -> None:
    """Busy time goes on while a copy does, and adds up to the services; nothing overlaps."""
    assert link.busy_ns() == 0
    demand(link, 1)
    prefetch(link, 2)
    device.begun()
    assert link.serving is not None
    assert link.serving.key == 1
    assert link.num_queued() == 1
    before_ns = link.busy_ns()
    time.sleep(0.002)
    assert link.busy_ns() >= before_ns + 2_000_000
    device.give_leave(2)
    assert ended(link, 2) == [1, 2]
    assert link.num_queued() == 0
    assert link.busy_ns() == sum(end_ns - start_ns for _, start_ns, end_ns in link.services)
    assert all(end_ns <= start_ns for (*_, end_ns), (_, start_ns, _) in pairwise(link.services))
    assert [transfer.served_ns for transfer, *_ in link.services] == [end - start for _, start, end in link.services]


def test_a_key_can_come_again(link: CopyLink, device: GatedDevice) -> None:
    """Once it has ended, not before."""
    device.give_leave(2)
    prefetch(link, 1)
    assert ended(link, 1) == [1]
    demand(link, 1)
    assert ended(link, 1) == [1]
    prefetch(link, 2)
    with pytest.raises(ValueError, match="key 2 is under way already"):
        demand(link, 2)


@pytest.mark.parametrize("chunk_bytes", [None, 1, 100_000, 1 << 20])
@pytest.mark.parametrize("throttle", [None, Throttle(bandwidth_bytes_per_s=2e9, latency_s=1e-6)])
def test_all_bytes_arrive(chunk_bytes: int | None, throttle: Throttle | None) -> None:
    """Whatever they are cut into: odd sizes, more than a piece, an element larger than a chunk."""
    generator = torch.Generator().manual_seed(3)
    small = [torch.randn(numel, generator=generator) for numel in (1, 7, 1001)]
    large = [] if chunk_bytes == 1 else [torch.randn(600_011, generator=generator)]
    sources = [*small, *large]
    targets = [torch.zeros_like(source) for source in sources]
    with CopyLink(CpuDevice(), chunk_bytes=chunk_bytes, throttle=throttle) as link:
        for key, (target, source) in enumerate(zip(targets, sources, strict=True)):
            (link.demand if key % 2 else link.prefetch)(key, target, source, None)
        ended(link, len(sources))
    assert all(torch.equal(target, source) for target, source in zip(targets, sources, strict=True))


def test_a_throttled_link_keeps_to_its_rate() -> None:
    """30 transfers of 1 MB at 100 MB/s take 0.3 s: none is early by a nanosecond, and wake-ups add up to nothing.

    Of the last ten, the one that was least late tells the rate, within 3 %, on a machine that wakes many of them up late.
    """
    nominal_ns = 10_000_000 + 50_000
    target, source = torch.zeros(1_000_000, dtype=torch.uint8), torch.ones(1_000_000, dtype=torch.uint8)
    with CopyLink(CpuDevice(), throttle=Throttle(bandwidth_bytes_per_s=100e6, latency_s=50e-6)) as link:
        for key in range(30):
            link.demand(key, target, source, None)
        assert ended(link, 30) == list(range(30))
        first_ns = link.services[0][1]
        for number, (_, _, end_ns) in enumerate(link.services, start=1):
            assert end_ns - first_ns >= number * nominal_ns
        late_ns = [end_ns - first_ns - n * nominal_ns for n, (_, _, end_ns) in enumerate(link.services, start=1)]
        assert min(late_ns[-10:]) < 0.03 * 30 * nominal_ns
        assert link.max_late_ns > 0


def test_no_piece_begins_in_a_pause(chunked: CopyLink, device: GatedDevice) -> None:
    """The chunk in flight ends; what is queued meanwhile, and the rest, goes on afterwards in the usual order."""
    prefetch(chunked, 1)
    assert device.begun() == (1, 0, 2)
    with chunked.paused():
        demand(chunked, 2)
        device.give_leave(4)
        time.sleep(0.02)
        assert device._begun.empty()
        assert chunked.completed() == []
    assert ended(chunked, 2) == [2, 1]
    assert [device.begun() for _ in range(3)] == [(2, 0, 2), (2, 2, 2), (1, 2, 2)]


def test_nothing_begins_on_an_idle_link_in_a_pause(link: CopyLink, device: GatedDevice) -> None:
    """Nor ends."""
    device.give_leave()
    with link.paused():
        demand(link, 1)
        time.sleep(0.02)
        assert device._begun.empty()
        assert link.completed() == []
    assert ended(link, 1) == [1]


def test_a_paused_link_closes() -> None:
    """Within the pause, though a transfer is under way."""
    link = CopyLink(CpuDevice(), throttle=Throttle(bandwidth_bytes_per_s=1e6))
    link.demand(1, *expert(1, 10_000), None)
    with link.paused():
        link.close()
    assert not link._thread.is_alive()


@pytest.mark.parametrize("num_pauses", [0, 1, 7])
def test_a_throttled_link_brings_nothing_in_its_pauses(num_pauses: int) -> None:
    """8 transfers of 5 ms take 40 ms besides all pauses of 10 ms, wherever these fall, and little more."""
    target, source = torch.zeros(500_000, dtype=torch.uint8), torch.ones(500_000, dtype=torch.uint8)
    with CopyLink(CpuDevice(), throttle=Throttle(bandwidth_bytes_per_s=100e6)) as link:
        for key in range(8):
            link.prefetch(key, target, source, None)
        paused_ns = 0
        for _ in range(num_pauses):
            time.sleep(0.004)
            with link.paused():
                since_ns = time.perf_counter_ns()
                time.sleep(0.01)
                least_ns = time.perf_counter_ns() - since_ns
            paused_ns += least_ns
        assert ended(link, 8) == list(range(8))
        taken_ns = link.services[-1][2] - link.services[0][1]
        assert taken_ns >= 40_000_000 + paused_ns
        assert taken_ns - 40_000_000 - paused_ns < 35_000_000


def test_an_idle_throttled_link_starts_when_a_transfer_is_queued() -> None:
    """Each of three, with pauses between them, takes its latency and its bytes from then on."""
    target, source = torch.zeros(100_000, dtype=torch.uint8), torch.ones(100_000, dtype=torch.uint8)
    with CopyLink(CpuDevice(), throttle=Throttle(bandwidth_bytes_per_s=1e9, latency_s=2e-3)) as link:
        for key in range(3):
            queued_ns = time.perf_counter_ns()
            link.demand(key, target, source, None)
            ended(link, 1)
            _, start_ns, end_ns = link.services[-1]
            assert start_ns >= queued_ns
            assert end_ns - start_ns >= 2_100_000
            time.sleep(0.002)


def test_a_failed_copy_is_told() -> None:
    """Whoever waits or asks hears of it with its cause, again and again, and nothing is copied after it."""
    device = GatedDevice()
    device.give_leave(5)
    with CopyLink(device) as link:
        demand(link, -3)
        demand(link, 4)
        for ask in (link.wait, link.completed, link.wait):
            with pytest.raises(RuntimeError, match="the copy of key -3 failed") as caught:
                ask()
            assert isinstance(caught.value.__cause__, OSError)
        assert device.begun()[0] == -3
        assert link.num_queued() == 1
    assert not link._thread.is_alive()


def test_a_failure_that_nobody_has_asked_for_is_told_at_the_end() -> None:
    """Unless the block ends with an error of its own."""
    device = GatedDevice()
    link = CopyLink(device)
    prefetch(link, -3)
    device.give_leave()
    link._thread.join()
    with pytest.raises(RuntimeError, match="the copy of key -3 failed"):
        link.close()

    def fail() -> None:
        with CopyLink(device) as link:
            prefetch(link, -3)
            device.give_leave()
            link._thread.join()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fail()


def test_closing_drops_what_is_queued(device: GatedDevice) -> None:
    """The copy in flight ends, and the link was busy with it; no transfer is said to have ended."""
    link = CopyLink(device, chunk_bytes=CHUNK_BYTES)
    demand(link, 1)
    demand(link, 2)
    device.begun()
    closer = threading.Thread(target=link.close)
    closer.start()
    while not link._is_closing:
        time.sleep(0.001)
    device.give_leave()
    closer.join()
    assert [transfer.key for transfer, *_ in link.services] == [1]
    assert link.busy_ns() == link.services[0][2] - link.services[0][1]
    assert link.completed() == []
    for use, fault in ((link.wait, "the link is closed"), (lambda: demand(link, 3), "the link is closed")):
        with pytest.raises(RuntimeError, match=fault):
            use()
    link.close()


def test_closing_ends_a_slow_transfer() -> None:
    """A throttled copy of hours is not waited for."""
    link = CopyLink(CpuDevice(), throttle=Throttle(bandwidth_bytes_per_s=1.0))
    link.demand(1, *expert(1, 10_000), None)
    started_s = time.perf_counter()
    link.close()
    assert time.perf_counter() - started_s < 5
    assert link.completed() == []


def test_a_copy_that_never_ends_does_not_hang_the_close(device: GatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault names its key."""
    monkeypatch.setattr("validation.runtime.link.CLOSE_TIMEOUT_S", 0.05)
    link = CopyLink(device)
    demand(link, 5)
    device.begun()
    with pytest.raises(RuntimeError, match="the copy of key 5 has not ended"):
        link.close()
    device.give_leave()
    link._thread.join()


def test_waiting_for_nothing_is_refused(link: CopyLink) -> None:
    """It would last for ever."""
    with pytest.raises(RuntimeError, match="no transfer is under way"):
        link.wait()
    assert link.completed() == []


def test_a_transfer_is_checked(link: CopyLink) -> None:
    """Shape and dtype, before anything is queued."""
    flat = torch.zeros(4)
    for target, source in (
        (flat, torch.zeros(5)),
        (flat, flat.half()),
        (torch.zeros(2, 2),) * 2,
        (torch.zeros(0),) * 2,
    ):
        with pytest.raises(ValueError, match="flat, alike and not empty"):
            link.demand(1, target, source, None)
    assert link.serving is None


@pytest.mark.parametrize("chunk_bytes", [0, -1])
def test_chunks_are_positive(chunk_bytes: int) -> None:
    """Another size is refused, with its value."""
    with pytest.raises(ValueError, match=f"chunk_bytes is {chunk_bytes}"):
        CopyLink(CpuDevice(), chunk_bytes=chunk_bytes)


def test_a_link_leaves_the_process_as_it_was() -> None:
    """torch's number of threads, for this thread and for new ones, and the interpreter's switch interval."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    found: list[int] = []
    try:
        interval_s = sys.getswitchinterval()
        with CopyLink(CpuDevice()):
            assert torch.get_num_threads() == 2
            thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
            thread.start()
            thread.join()
        assert found == [2]
        assert sys.getswitchinterval() == interval_s
    finally:
        torch.set_num_threads(before)


def test_a_prefetch_that_waits_can_be_called_off(link: CopyLink, device: GatedDevice) -> None:
    """And asked for again; what is in service cannot, nor what a gate has asked for."""
    prefetch(link, 1)
    device.begun()
    for key in (2, 3, 4):
        prefetch(link, key)
    link.promote(4)
    assert link.queued_prefetches() == [2, 3]
    assert link.cancel(1) is None
    assert link.cancel(4) is None
    cancelled = link.cancel(2)
    assert cancelled is not None
    assert (cancelled.key, link.queued_prefetches(), link.num_queued()) == (2, [3], 2)
    prefetch(link, 2)
    device.give_leave(4)
    assert ended(link, 4) == [1, 4, 3, 2]


def test_while_held_no_prefetch_begins_but_demands_are_served(link: CopyLink, device: GatedDevice) -> None:
    """The prefetch in service ends, a demand that comes then is served, and the prefetch that waited can be called off."""
    prefetch(link, 1)
    device.begun()
    prefetch(link, 2)
    prefetch(link, 3)
    with link.held():
        assert link.queued_prefetches() == [2, 3]
        device.give_leave()
        assert ended(link, 1) == [1]
        time.sleep(0.02)
        assert link.queued_prefetches() == [2, 3]
        demand(link, 4)
        assert device.begun()[0] == 4
        device.give_leave()
        assert ended(link, 1) == [4]
        assert link.cancel(2) is not None
    assert device.begun()[0] == 3
    device.give_leave()
    assert ended(link, 1) == [3]
