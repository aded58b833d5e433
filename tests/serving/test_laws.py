"""Laws that hold in every run of a service, over random workloads with preemption."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.metrics.goodput import Slo
from simulator.serving.limits import Limits
from simulator.serving.promises import judged
from simulator.whole_steps import WholeSteps
from simulator.workload.arrivals import Arrival
from tests.serving.harness import Outcome, StepTimes, serve, write_plain_trace
from traces.format import Trace

KV_BYTES = 40


def _trace() -> Trace:
    with TemporaryDirectory() as folder:
        return write_plain_trace(Path(folder) / "plain.safetensors")  # mapped: it may go


TRACE = _trace()


@st.composite
def services(draw: st.DrawFn) -> Mapping[str, Any]:
    """Draw a small service that is short of everything."""
    num = draw(st.integers(1, 14))
    now_ns, arrivals = 0, []
    for _ in range(num):
        now_ns += draw(st.sampled_from([0, 0, 50, 400, 5000]))
        arrivals.append(
            Arrival(
                arrival_ns=now_ns,
                prompt_tokens=draw(st.integers(1, 20)),
                output_tokens=draw(st.integers(1, 24)),
                class_name=draw(st.sampled_from(["a", "b"])),
            )
        )
    return {
        "requests": arrivals,
        "costs": StepTimes(base_ns=draw(st.integers(0, 90)), token_ns=draw(st.integers(1, 9))),
        "policy": draw(st.sampled_from(["prefill_first", "decode_first", "mixed"])),
        "page_tokens": draw(st.sampled_from([1, 3, 4])),
        "kv_bytes": KV_BYTES,
        "limits": Limits(
            batch=draw(st.integers(1, 5)),
            step_tokens=draw(st.integers(1, 24)),
            chunk_tokens=draw(st.sampled_from([None, None, 1, 5])),
            waiting=draw(st.sampled_from([None, None, 2])),
            preemption=draw(st.sampled_from(["recompute", "swap"])),
            spare_frac=draw(st.sampled_from([0.0, 0.1])),
            displaces=draw(st.booleans()),
            priorities={"a": draw(st.integers(0, 1))},
        ),
    }


def run(service: Mapping[str, Any]) -> Outcome:
    """Run it."""
    return serve(trace=TRACE, **service)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(services())
def test_no_request_is_lost_or_counted_twice(service: Mapping[str, Any]) -> None:
    """Each is refused, or puts out all of its tokens; all of the KV cache comes back; the GPU's time adds up."""
    out = run(service)
    record, counters = out.record, out.engine.snapshot()
    assert [request.arrival for request in record.requests] == list(service["requests"])
    of_all = record.classes.values()
    refused = sum(sum(one.refused.values()) for one in of_all)
    finished = [request for request in record.requests if request.finished]
    assert len(finished) + refused == len(record.requests)
    assert len(finished) == record.num_finished == sum(one.num_finished for one in of_all)
    emitted = [index for _, emits, _ in out.steps for index in emits]
    for request in record.requests:
        expected = request.arrival.output_tokens if request.finished else 0
        assert request.output_tokens == emitted.count(request.index) == expected
    assert len(emitted) == record.num_tokens == counters.output_tokens
    assert sum(one.itl.count + one.ttft.count for one in of_all) == len(emitted)
    assert out.memory.used_bytes == 0
    assert out.memory.peak_bytes <= KV_BYTES
    assert out.scheduler.in_system() == 0
    assert counters.kv_out_bytes >= counters.kv_in_bytes
    busy_ns = sum(counters.attribution_ns().values())
    assert busy_ns + counters.kv_swap_ns + counters.idle_ns == counters.now_ns
    assert sum(num_tokens for num_tokens, _, _ in out.steps) == counters.routed_tokens
    if not sum(one.num_preemptions for one in of_all):
        assert counters.routed_tokens == sum(request.total_tokens for request in finished)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(services())
def test_littles_law(service: Mapping[str, Any]) -> None:
    """Requests in the queue and running, summed over time as steps saw them, are the requests' own times, summed."""
    out = run(service)
    finished = [request for request in out.record.requests if request.finished]
    assert out.record.waiting_ns == sum(request.waited_ns for request in finished)
    in_service = [request.finished_ns - request.started_ns - request.preempted_ns for request in finished]
    assert out.record.running_ns == sum(in_service)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(services())
def test_a_requests_time_is_divided_without_remainder(service: Mapping[str, Any]) -> None:
    """It has waited, or taken part in steps, or been blocked by others; none of these is negative."""
    out = run(service)
    for request in out.record.requests:
        if request.finished:
            assert min(request.stalls_ns) >= 0
            spent_ns = request.waited_ns + sum(request.stalls_ns)
            assert spent_ns <= request.finished_ns - request.arrival.arrival_ns
    for one in out.record.classes.values():
        assert one.blocked_ns >= 0
        if service["policy"] == "mixed" and not service["limits"].chunk_tokens and service["limits"].batch == 1:
            assert one.blocked_ns == 0


@settings(max_examples=200, deadline=None, derandomize=True)
@given(services())
def test_the_longest_time_between_tokens(service: Mapping[str, Any]) -> None:
    """It is the longest of the gaps between the steps at which a request puts out a token, preempted or not."""
    out = run(service)
    for request in out.record.requests:
        ends_ns = [end_ns for _, emits, end_ns in out.steps if request.index in emits]
        if request.finished:
            assert request.max_itl_ns == max((b - a for a, b in pairwise(ends_ns)), default=0)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(services(), st.integers(1, 400), st.integers(1, 3000))
def test_promises_are_judged_as_the_record_does(service: Mapping[str, Any], itl_ns: int, e2e_ns: int) -> None:
    """What each request misses adds up to what its class did; refused requests have missed."""
    slos = {"a": Slo(itl_ns=itl_ns, e2e_ns=e2e_ns)}
    out = serve(trace=TRACE, slos=slos, **service)
    end_ns = out.steps[-1][2] if out.steps else 0
    for name, one in out.record.classes.items():
        verdicts = [judged(request, slos, end_ns) for request in out.record.requests if request.class_name == name]
        assert verdicts.count("kept") == one.num_in_slo
        assert verdicts.count("missed") == one.num_arrived - one.num_in_slo
        assert max(one.missed.values(), default=0) <= one.num_finished - one.num_in_slo <= one.missed.total()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(services())
def test_what_accrues_over_time_adds_up(service: Mapping[str, Any]) -> None:
    """The bins hold all waiting, all running and all tokens."""
    out = run(service)
    series = out.record.series
    totals = dict(zip(series.names, map(sum, zip(*series.bins, strict=True)), strict=True)) if series.bins else {}
    if totals:
        assert totals["waiting_ns"] == out.record.waiting_ns
        assert totals["running_ns"] == out.record.running_ns


@settings(max_examples=100, deadline=None, derandomize=True)
@given(services())
def test_whole_steps_are_what_they_would_be_layer_by_layer(service: Mapping[str, Any]) -> None:
    """Nothing changes where steps of resident experts are not run as a whole."""
    whole = run(service)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(WholeSteps, "where_possible", lambda *_: None)
        layered = run(service)
    assert whole.steps == layered.steps
    assert whole.engine.snapshot() == layered.engine.snapshot()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(services())
def test_the_same_again(service: Mapping[str, Any]) -> None:
    """The same workload is served the same way."""
    assert run(service).steps == run(service).steps
