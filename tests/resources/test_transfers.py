"""The queue of transfers, by hand and against plain lists."""

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.resources.transfers import TransferQueue

NUM_KEYS = 6
Choice = tuple[str, int]

choices = st.lists(
    st.tuples(
        st.sampled_from(["demand", "prefetch", "prefetch", "promote", "cancel", "boundary", "end"]), st.integers(0, 5)
    ),
    max_size=60,
)


def drain(queue: TransferQueue) -> list[int]:
    """Serve all that is left; return the keys in order."""
    keys = []
    while queue.serving is not None:
        keys.append(queue.serving.key)
        queue.finish()
    return keys


def test_an_idle_queue_serves_at_once() -> None:
    """What comes first is in service, and does not wait."""
    queue = TransferQueue()
    assert queue.prefetch(4) is queue.serving
    assert queue.num_queued() == 0
    queue.demand(5)
    assert queue.num_queued() == 1


def test_demands_go_before_prefetches_and_each_in_turn() -> None:
    """1 is in service already; then the demands 3 and 5, then the prefetches 2 and 4."""
    queue = TransferQueue()
    queue.prefetch(1)
    queue.prefetch(2)
    queue.demand(3)
    queue.prefetch(4)
    queue.demand(5)
    assert drain(queue) == [1, 3, 5, 2, 4]


def test_a_promoted_prefetch_joins_the_demands() -> None:
    """Behind those that wait already; what is demanded or unknown is left alone."""
    queue = TransferQueue()
    for key in (1, 2, 3):
        queue.prefetch(key)
    queue.demand(4)
    promoted = queue.promote(3)
    assert promoted is not None
    assert promoted.is_demanded
    assert promoted.is_prefetch
    assert queue.promote(3) is None
    assert queue.promote(4) is None
    assert queue.promote(9) is None
    assert drain(queue) == [1, 4, 3, 2]


def test_what_gives_way_comes_back_before_other_prefetches() -> None:
    """A prefetch in service gives way to a demand, not to a prefetch, and not once it is demanded itself."""
    queue = TransferQueue()
    queue.prefetch(1)
    queue.prefetch(2)
    assert not queue.must_give_way()
    queue.demand(3)
    assert queue.must_give_way()
    queue.give_way()
    assert not queue.must_give_way()
    assert drain(queue) == [3, 1, 2]

    queue.prefetch(1)
    queue.demand(2)
    assert queue.promote(1) is queue.serving
    assert not queue.must_give_way()


def test_a_key_can_come_again() -> None:
    """A prefetch that has ended is forgotten: its key can be prefetched, and promoted, once more."""
    queue = TransferQueue()
    queue.prefetch(1)
    assert drain(queue) == [1]
    assert queue.promote(1) is None
    queue.prefetch(1)
    assert queue.promote(1) is not None


def test_a_cancelled_prefetch_is_gone() -> None:
    """One that waits, not one in service nor one that a gate has asked for; its key can come again."""
    queue = TransferQueue()
    for key in (1, 2, 3, 4):
        queue.prefetch(key)
    queue.demand(5)
    queue.promote(4)
    assert queue.queued_prefetches() == [2, 3]
    cancelled = queue.cancel(2)
    assert cancelled is not None
    assert cancelled.key == 2
    assert [queue.cancel(key) for key in (1, 2, 4, 5, 9)] == [None] * 5
    assert queue.queued_prefetches() == [3]
    assert queue.promote(2) is None
    queue.prefetch(2)
    assert queue.queued_prefetches() == [3, 2]
    assert drain(queue) == [1, 5, 4, 3, 2]


def test_what_has_given_way_can_be_cancelled() -> None:
    """It waits first among the prefetches, and is not in service."""
    queue = TransferQueue()
    queue.prefetch(1)
    queue.prefetch(2)
    queue.demand(3)
    queue.give_way()
    assert queue.queued_prefetches() == [1, 2]
    assert queue.cancel(1) is not None
    assert drain(queue) == [3, 2]


class PlainQueue:
    """The same with one list of [key, is demanded], sorted anew whenever something is picked."""

    def __init__(self) -> None:
        self.waiting: list[list[int | bool]] = []
        self.serving: list[int | bool] | None = None

    def take(self, choice: Choice) -> None:
        """Carry out one choice."""
        kind, key = choice
        under_way = [*self.waiting, *([self.serving] if self.serving else [])]
        mine = [transfer for transfer in under_way if transfer[0] == key]
        if kind in ("demand", "prefetch") and not mine:
            self.waiting.append([key, kind == "demand"])
        elif kind == "promote":
            for transfer in mine:
                if not transfer[1]:
                    transfer[1] = True
                    if transfer in self.waiting:
                        self.waiting.remove(transfer)
                        self.waiting.append(transfer)
        elif kind == "cancel":
            self.waiting = [transfer for transfer in self.waiting if transfer[0] != key or transfer[1]]
        elif kind == "boundary" and self.serving and not self.serving[1] and any(item[1] for item in self.waiting):
            self.waiting.insert(0, self.serving)
            self.serving = None
        elif kind == "end":
            self.serving = None
        if self.serving is None and self.waiting:
            self.waiting.sort(key=lambda transfer: not transfer[1])
            self.serving = self.waiting.pop(0)

    def order(self) -> list[int | bool]:
        """Return the keys in service and waiting, in the order of their turns."""
        waiting = sorted(self.waiting, key=lambda transfer: not transfer[1])
        return [transfer[0] for transfer in ([self.serving] if self.serving else []) + waiting]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(drawn=choices)
def test_same_order_as_plain_lists(drawn: list[Choice]) -> None:
    """After every choice the turns are the same."""
    queue, plain = TransferQueue(), PlainQueue()
    for kind, key in drawn:
        serving = queue.serving
        under_way = [t.key for t in (*queue.demands, *queue.prefetches, *([serving] if serving else []))]
        if kind in ("demand", "prefetch") and key not in under_way:
            getattr(queue, kind)(key)
        elif kind == "promote":
            queue.promote(key)
        elif kind == "cancel":
            assert (queue.cancel(key) is not None) == ([key, False] in plain.waiting)
        elif kind == "boundary" and queue.must_give_way():
            queue.give_way()
        elif kind == "end" and serving is not None:
            queue.finish()
        plain.take((kind, key))
        waiting = (*queue.demands, *queue.prefetches)
        assert [t.key for t in (*([queue.serving] if queue.serving else []), *waiting)] == plain.order()
        assert queue.num_queued() == len(waiting)
        assert [[key, False] for key in queue.queued_prefetches()] == [item for item in plain.waiting if not item[1]]
