"""Who takes part in which step, worked out by hand. A step takes 10 ns and 1 ns for each token."""

from collections.abc import Sequence

import pytest

from simulator.metrics.goodput import Slo
from simulator.serving.feed import ClosedFeed
from simulator.serving.limits import Limits
from simulator.serving.stop import Bounds
from simulator.workload.arrivals import Arrival
from tests.serving.harness import Outcome, StepTimes, serve
from traces.format import Trace

COSTS = StepTimes(base_ns=1000, token_ns=100)


def ask(at_ns: int, prompt: int, output: int, class_name: str = "default", session: int | None = None) -> Arrival:
    """Make a request."""
    return Arrival(arrival_ns=at_ns, prompt_tokens=prompt, output_tokens=output, class_name=class_name, session=session)


def shape(out: Outcome) -> list[tuple[int, list[int]]]:
    """Return each step's tokens and who puts one out."""
    return [(num_tokens, emits) for num_tokens, emits, _ in out.steps]


def test_prefill_first(plain_trace: Trace) -> None:
    """A prompt that has arrived runs before the others' next token; two that wait share a step."""
    arrivals = [ask(0, 3, 3), ask(1400, 2, 2), ask(1400, 4, 2)]
    out = serve(arrivals, plain_trace, costs=COSTS, limits=Limits(batch=8, step_tokens=100))
    assert shape(out) == [(3, [0]), (1, [0]), (6, [1, 2]), (3, [0, 1, 2])]
    assert out.contexts == [[1, 2, 3], [4], [1, 2, 1, 2, 3, 4], [5, 3, 5]]


def test_decode_first(plain_trace: Trace) -> None:
    """What has arrived waits until nothing decodes."""
    arrivals = [ask(0, 3, 3), ask(100, 2, 2), ask(100, 4, 2)]
    out = serve(arrivals, plain_trace, costs=COSTS, policy="decode_first", limits=Limits(batch=8, step_tokens=100))
    assert shape(out) == [(3, [0]), (1, [0]), (1, [0]), (6, [1, 2]), (2, [1, 2])]


def test_mixed(plain_trace: Trace) -> None:
    """Chunks of prompts fill up what tokens that decode leave of four; the end of a prompt emits."""
    arrivals = [ask(0, 3, 4), ask(100, 5, 2), ask(100, 4, 1)]
    out = serve(arrivals, plain_trace, costs=COSTS, policy="mixed", limits=Limits(batch=8, step_tokens=4))
    assert shape(out) == [(3, [0]), (4, [0]), (4, [0, 1]), (4, [0, 1]), (1, [2])]
    assert out.contexts == [[1, 2, 3], [4, 1, 2, 3], [5, 4, 5, 1], [6, 6, 2, 3], [4]]
    assert out.engine.counters.prefill_tokens == 12


def test_a_prompt_longer_than_a_step_is_divided(plain_trace: Trace) -> None:
    """A prompt goes whole where it can, and in steps of its own where it can't."""
    arrivals = [ask(0, 3, 1), ask(0, 9, 1)]
    out = serve(arrivals, plain_trace, costs=COSTS, limits=Limits(batch=8, step_tokens=4))
    assert shape(out) == [(3, [0]), (4, []), (4, []), (1, [1])]


def test_chunks(plain_trace: Trace) -> None:
    """With a bound on chunks, prompts share steps piece by piece."""
    arrivals = [ask(0, 3, 1), ask(0, 5, 1)]
    out = serve(arrivals, plain_trace, costs=COSTS, limits=Limits(batch=8, step_tokens=4, chunk_tokens=2))
    assert shape(out) == [(4, []), (3, [0]), (1, [1])]


def test_a_full_batch_makes_others_wait(plain_trace: Trace) -> None:
    """No more than the batch's places are taken; the next in line follows at the step after."""
    arrivals = [ask(0, 1, 2), ask(0, 1, 3), ask(0, 1, 1)]
    out = serve(arrivals, plain_trace, costs=COSTS, limits=Limits(batch=2, step_tokens=100))
    assert shape(out) == [(2, [0, 1]), (2, [0, 1]), (1, [2]), (1, [1])]
    assert [request.waited_ns for request in out.record.requests] == [0, 0, out.steps[1][2]]


@pytest.mark.parametrize(
    ("preemption", "expected"),
    [
        # Two prompts of 3 take 6 of 8 bytes, the next token of both the rest; then the second gives up its place. Alone it
        # has its prompt and two tokens to run again, which puts out its third.
        ("recompute", [(6, [0, 1]), (2, [0, 1]), (1, [0]), (1, [0]), (5, [1]), (1, [1])]),
        # It comes back with what it had, and decodes.
        ("swap", [(6, [0, 1]), (2, [0, 1]), (1, [0]), (1, [0]), (1, [1]), (1, [1])]),
    ],
)
def test_preemption(preemption: str, expected: Sequence[tuple[int, list[int]]], plain_trace: Trace) -> None:
    """The last to arrive gives up its place when another needs room, and gets it back when there is some."""
    out = serve(
        [ask(0, 3, 4), ask(0, 3, 4)],
        plain_trace,
        costs=COSTS,
        limits=Limits(batch=2, step_tokens=100, preemption=preemption, spare_frac=0),  # type: ignore[arg-type]
        kv_bytes=8,
    )
    assert shape(out) == expected
    first, second = out.record.requests
    assert (first.num_preemptions, second.num_preemptions) == (0, 1)
    assert second.output_tokens == 4
    assert second.preempted_ns == out.steps[3][2] - out.steps[1][2]
    copied = 4 if preemption == "swap" else 0
    assert (out.engine.counters.kv_out_bytes, out.engine.counters.kv_in_bytes) == (copied, copied)
    assert out.engine.counters.kv_swap_ns == 2 * copied


def test_priorities(plain_trace: Trace) -> None:
    """The queue is in order of priority, then of arrival; the running are left alone."""
    arrivals = [ask(0, 1, 3, "batch"), ask(1, 1, 1, "batch"), ask(2, 1, 1, "chat"), ask(3, 1, 1, "chat")]
    limits = Limits(batch=1, step_tokens=100, priorities={"chat": 1})
    out = serve(arrivals, plain_trace, costs=COSTS, limits=limits)
    assert [emits for _, emits in shape(out)] == [[0], [0], [0], [2], [3], [1]]


def test_displacing(plain_trace: Trace) -> None:
    """Where it may, a request of higher priority takes the place of one that runs."""
    arrivals = [ask(0, 1, 3, "batch"), ask(1, 1, 1, "batch"), ask(2, 1, 1, "chat")]
    limits = Limits(batch=1, step_tokens=100, priorities={"chat": 1}, displaces=True)
    out = serve(arrivals, plain_trace, costs=COSTS, limits=limits)
    assert shape(out) == [(1, [0]), (1, [2]), (2, [0]), (1, [0]), (1, [1])]


def test_refusals(plain_trace: Trace) -> None:
    """One that could never fit is refused, and so is one that finds the queue full; others are not held up."""
    arrivals = [ask(0, 20, 1), ask(0, 2, 2), ask(1, 1, 1), ask(2, 1, 1)]
    limits = Limits(batch=1, step_tokens=100, waiting=1)
    out = serve(arrivals, plain_trace, costs=COSTS, limits=limits, kv_bytes=10)
    refused = out.record.classes["default"].refused
    assert (refused["too_long"], refused["queue_full"]) == (1, 1)
    assert [request.finished for request in out.record.requests] == [False, True, True, False]


def test_latencies(plain_trace: Trace) -> None:
    """TTFT, ITL, TPOT and E2E count from arrival; goodput counts those within their objective."""
    out = serve(
        [ask(5000, 3, 3), ask(6000, 1, 1)],
        plain_trace,
        costs=StepTimes(base_ns=1000, token_ns=100),
        limits=Limits(batch=2, step_tokens=100),
        slos={"default": Slo(ttft_ns=1310)},
    )
    first, second = out.record.requests
    slack = first.first_token_ns - 6300
    assert 0 <= slack <= 4  # the first experts' transfers
    assert first.first_token_ns - first.arrival.arrival_ns == 1300 + slack
    assert second.started_ns == 6300 + slack
    assert second.finished_ns - 6000 in range(1400 + slack, 1405 + slack)
    of_class = out.record.classes["default"]
    assert (of_class.num_finished, of_class.num_in_slo) == (2, 1)
    assert of_class.itl.count == 2
    assert out.engine.counters.idle_ns == 5000


class _Users:
    """Two users that ask three times each, at once after each answer."""

    def first(self, seed: int) -> Sequence[Arrival]:
        """Ask for the first time."""
        del seed
        self.left = {0: 2, 1: 2}
        return [ask(0, 1, 1, session=0), ask(0, 1, 2, session=1)]

    def after(self, finished: Arrival, now_ns: int) -> Arrival | None:
        """Ask again."""
        assert finished.session is not None
        self.left[finished.session] -= 1
        if self.left[finished.session] < 0:
            return None
        return ask(now_ns, 1, finished.output_tokens, session=finished.session)


def test_closed_loop(plain_trace: Trace) -> None:
    """Users ask again when they have been answered, and not before."""
    out = serve(ClosedFeed(_Users(), 0), plain_trace, costs=COSTS, limits=Limits(batch=2, step_tokens=100))
    assert len(out.record.requests) == 6
    assert out.record.num_finished == 6
    assert out.record.waiting_ns == 0


@pytest.mark.parametrize(
    ("bounds", "num_finished", "reason"),
    [
        (Bounds(requests=2), 2, "requests"),
        (Bounds(tokens=3), 1, "tokens"),
        (Bounds(time_ns=2500), 1, "time"),
        (Bounds(), 4, None),
    ],
)
def test_bounds(bounds: Bounds, num_finished: int, reason: str | None, plain_trace: Trace) -> None:
    """A run ends with the step that reaches a bound."""
    arrivals = [ask(at_ns, 1, 2) for at_ns in (0, 10, 20, 30_000)]
    out = serve(arrivals, plain_trace, costs=COSTS, limits=Limits(batch=1, step_tokens=9), bounds=bounds)
    assert out.record.num_finished == num_finished
    assert out.scheduler._stop.reason == reason
