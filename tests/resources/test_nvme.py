"""The NVMe device by itself: reads wait for slots of host memory, and demands go first."""

from simulator.resources.clock import Clock
from simulator.resources.host_memory import HostMemory
from simulator.resources.nvme import Nvme
from simulator.resources.transfers import Transfer


class Bench:
    """A device whose reads take 10 in two chunks, and `slots` free slots of host memory; `log` holds what it has read."""

    def __init__(self, slots: int) -> None:
        self.env = Clock()
        self.slots = slots
        self.with_slot: set[int] = set()
        self.log: list[tuple[int, int, int]] = []
        self.nvme = Nvme(
            self.env,
            memory=HostMemory(self.env, 1000),
            rank=0,
            demand=1,
            chunk_ends_ns=(5, 10),
            take_slot=self.take_slot,
            deliver=lambda _: None,
            on_service=self.served,
        )

    def take_slot(self, key: int) -> bool:
        """Give a slot while there is one."""
        if key not in self.with_slot:
            if not self.slots:
                return False
            self.slots -= 1
            self.with_slot.add(key)
        return True

    def served(self, read: Transfer, start_ns: int, end_ns: int) -> None:
        """Note a stretch of service."""
        self.log.append((read.key, start_ns, end_ns))


def test_a_read_waits_for_its_slot() -> None:
    """One slot: the second read begins when another comes free, and the device is not busy meanwhile."""
    bench = Bench(slots=1)
    bench.nvme.demand(1)
    bench.nvme.demand(2)
    bench.env.run(until=25)
    assert bench.log == [(1, 0, 10)]
    waited = bench.nvme.end_of_service
    assert waited is not None
    assert not waited.triggered
    bench.slots = 1
    bench.nvme.slot_freed()
    bench.env.run(until=50)
    assert bench.log == [(1, 0, 10), (2, 25, 35)]
    assert waited.processed, "who waits for it looks again"
    assert bench.nvme.busy_ns() == 20


def test_a_demand_takes_the_place_of_a_prefetch_that_waits_for_a_slot() -> None:
    """No slot is free until 20; the demand that came at 12 then goes before the prefetch that came first."""
    bench = Bench(slots=0)
    bench.nvme.prefetch(1)
    bench.env.run(until=12)
    bench.nvme.demand(2)
    bench.env.run(until=20)
    bench.slots = 2
    bench.nvme.slot_freed()
    bench.nvme.slot_freed()
    bench.env.run(until=60)
    assert bench.log == [(2, 20, 30), (1, 30, 40)]


def test_a_prefetch_gives_way_at_the_end_of_a_chunk_and_keeps_its_slot() -> None:
    """Read 1 is interrupted at 5 for the demand that came at 3, and goes on at 15 with the slot that it has."""
    bench = Bench(slots=2)
    bench.nvme.prefetch(1)
    bench.env.run(until=3)
    bench.nvme.demand(2)
    bench.env.run(until=60)
    assert bench.log == [(1, 0, 5), (2, 5, 15), (1, 15, 20)]
    assert bench.slots == 0


def test_a_waiting_prefetch_can_be_promoted() -> None:
    """What waits for a slot and is asked for keeps its place: a demand that comes later is behind it."""
    bench = Bench(slots=0)
    bench.nvme.prefetch(1)
    bench.nvme.promote(1)
    bench.nvme.demand(2)
    bench.slots = 2
    bench.nvme.slot_freed()
    bench.env.run(until=60)
    assert bench.log == [(1, 0, 10), (2, 10, 20)]
