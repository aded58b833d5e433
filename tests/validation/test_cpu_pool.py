"""The workers that compute missed experts: order, records, faults, and an end."""

import threading
from functools import partial
from time import perf_counter, perf_counter_ns

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from validation.runtime.cpu_pool import Computed, CpuPool


def number(value: int) -> Tensor:
    return torch.tensor(value)


def drain(pool: CpuPool, count: int) -> list[Computed]:
    """Wait until `count` pieces of work have ended."""
    ended: list[Computed] = []
    while len(ended) < count:
        ended += pool.wait()
    return ended


def test_one_worker_computes_in_the_order_of_submission() -> None:
    """Also where a key comes twice; each result is its own."""
    keys = [5, 1, 5, 9, 0, 1]
    with CpuPool(1, 1) as pool:
        for at, key in enumerate(keys):
            pool.submit(key, partial(number, at))
        ended = drain(pool, len(keys))
    assert [(one.key, int(one.result)) for one in ended] == [(key, at) for at, key in enumerate(keys)]
    assert [key for key, *_ in pool.services] == keys


def test_services_of_a_worker_do_not_overlap_and_lie_within_the_run() -> None:
    start_ns = perf_counter_ns()
    with CpuPool(3, 1) as pool:
        for key in range(40):
            pool.submit(key, lambda: torch.ones(100, 100) @ torch.ones(100, 100))
        ended = drain(pool, 40)
        assert pool.num_under_way() == 0
    end_ns = perf_counter_ns()
    assert sorted(one.key for one in ended) == list(range(40))
    assert pool.services == [(one.key, one.worker, one.start_ns, one.end_ns) for one in ended]
    for worker in range(3):
        times = [at for _, who, *stretch in pool.services if who == worker for at in stretch]
        assert times == sorted(times)
        assert all(start_ns <= at <= end_ns for at in times)


def test_work_starts_in_the_order_of_submission_on_all_workers() -> None:
    """Two workers, the first held up: the other takes all that follows, in order."""
    release = threading.Event()

    def held() -> Tensor:
        release.wait(10)
        return number(0)

    with CpuPool(2, 1) as pool:
        pool.submit(0, held)
        for key in range(1, 6):
            pool.submit(key, lambda: number(0))
        assert [one.key for one in drain(pool, 5)] == [1, 2, 3, 4, 5]
        assert pool.completed() == []
        assert pool.num_under_way() == 1
        release.set()
        assert [one.key for one in pool.wait()] == [0]


def test_workers_have_their_number_of_threads_and_leave_others_theirs() -> None:
    """Neither this thread nor one that starts later takes a worker's setting over."""

    def threads_of_a_kernel() -> Tensor:
        torch.ones(200, 200).mm(torch.ones(200, 200))
        return number(torch.get_num_threads())

    before = torch.get_num_threads()
    seen: list[int] = []
    for count in (before + 1, before + 2):
        with CpuPool(2, count) as pool:
            for key in range(6):
                pool.submit(key, threads_of_a_kernel)
            assert {int(one.result) for one in drain(pool, 6)} == {count}
            later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            later.start()
            later.join()
    assert torch.get_num_threads() == before
    assert seen == [before, before]


def test_results_need_no_gradient() -> None:
    weight = torch.ones(2, 2, requires_grad=True)
    with CpuPool(1, 1) as pool:
        pool.submit(0, lambda: weight @ weight)
        assert not pool.wait()[0].result.requires_grad


@pytest.mark.parametrize("how", ["wait", "completed", "submit"])
def test_an_exception_surfaces_and_ends_the_pool(how: str) -> None:
    def fail() -> Tensor:
        raise ArithmeticError("of an expert")

    def ask() -> None:
        if how == "submit":
            pool.submit(1, lambda: number(0))
        else:
            getattr(pool, how)()

    def ask_until_it_is_told() -> None:
        give_up = perf_counter() + 10
        while perf_counter() < give_up:
            ask()

    with CpuPool(2, 1) as pool:
        pool.submit(0, fail)
        with pytest.raises(ArithmeticError, match="of an expert"):
            ask_until_it_is_told()
        with pytest.raises(RuntimeError, match="the pool is closed"):
            pool.submit(1, lambda: number(0))


def test_an_exception_that_nobody_asked_for_surfaces_at_the_end() -> None:
    """Unless another is on its way out already."""

    def fail() -> Tensor:
        raise ArithmeticError("of an expert")

    def leave(error: BaseException | None) -> None:
        with CpuPool(1, 1) as pool:
            pool.submit(0, fail)
            while pool.num_under_way():
                pass
            if error is not None:
                raise error

    with pytest.raises(ArithmeticError):
        leave(None)
    with pytest.raises(KeyError):
        leave(KeyError())


def test_waiting_for_nothing_is_refused() -> None:
    with CpuPool(1, 1) as pool, pytest.raises(RuntimeError, match="nothing is under way"):
        pool.wait()


def test_close_drops_what_is_queued_and_waits_for_what_runs() -> None:
    """Queued work never runs; a second close does no harm."""
    begun, release = threading.Event(), threading.Event()
    ran: list[int] = []

    def held() -> Tensor:
        begun.set()
        release.wait(10)
        ran.append(0)
        return number(0)

    def late() -> Tensor:
        ran.append(1)
        return number(1)

    pool = CpuPool(1, 1)
    pool.submit(0, held)
    pool.submit(1, late)
    assert begun.wait(10)
    threading.Timer(0.05, release.set).start()
    pool.close()
    pool.close()
    assert ran == [0]
    assert [one.key for one in pool.completed()] == [0]
    assert not any(thread.name.startswith("cpu-expert") for thread in threading.enumerate())


def test_close_leaves_behind_what_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("validation.runtime.cpu_pool._PATIENCE_S", 0.05)
    begun, release = threading.Event(), threading.Event()

    def endless() -> Tensor:
        begun.set()
        return number(int(release.wait(10)))

    pool = CpuPool(1, 1)
    pool.submit(0, endless)
    assert begun.wait(10)
    with pytest.warns(RuntimeWarning, match=r"cpu-expert-0: still computing after 0\.05 s"):
        pool.close()
    release.set()


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (1, 0)])
def test_fewer_than_one_is_refused(workers: int, threads: int) -> None:
    with pytest.raises(ValueError, match="one or more"):
        CpuPool(workers, threads)


def test_jobs_are_joined_by_their_numbers() -> None:
    """Those asked for are waited for and taken; others are kept, also those of the same key."""
    release = threading.Event()

    def held() -> Tensor:
        release.wait(10)
        return number(7)

    with CpuPool(2, 1) as pool:
        slow, *quick = [pool.submit(3, held), pool.submit(3, lambda: number(1)), pool.submit(4, lambda: number(2))]
        assert [(one.job, int(one.result)) for one in pool.join(quick[1:])] == [(quick[1], 2)]
        assert [one.job for one in pool.ended([slow, quick[0]])] == [quick[0]]
        release.set()
        with pytest.raises(RuntimeError, match="nothing is under way"):
            pool.join([slow, quick[0]])
        assert [int(one.result) for one in pool.join([slow])] == [7]
