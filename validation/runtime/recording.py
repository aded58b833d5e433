"""What a real run did and when, kept as it happens and made sense of afterwards.

Marks of the compute stream are kept unresolved while the run goes on: on CUDA, reading an event makes the host wait. Spans
lie end to end on the stream; what lies between two is a stall, if the executor waited there for the link or the CPU, or
else the runtime's own overhead.

Times of the run begin with it and stand still while it is paused; all that is counted or played is in them. A device's own
times become such by `run_ns`.

Limits: a stall that the device spends on work queued before the wait is counted from the end of that work. Without a
throttle, the rest of a chunk that is being copied when a pause begins costs the run no time.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal

from simulator.metrics.counters import Counters
from simulator.resources.transfers import Transfer
from simulator.timeline import Timeline
from simulator.workload.step import Step
from validation.runtime.device import Device, Mark

SpanKind = Literal["lead", "expert", "join", "tail"]
Cause = Literal["demand", "late", "behind", "cpu"]
_TIMED_SPANS = 1000


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of work on the compute stream. `waits` says what the executor waited for before it began."""

    kind: SpanKind
    layer: int
    key: int
    start: Mark
    end: Mark
    waits: "Sequence[Wait]"


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait of the executor, on the host's clock: its cause, and the transfer whose end ended it."""

    cause: Cause
    transfer: Transfer | None
    since_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class ResolvedSpan:
    """A span in times of the run.

    `stalls` divide the gap before it, as far as the executor waited in it; the rest is overhead.
    """

    kind: SpanKind
    layer: int
    key: int
    start_ns: int
    end_ns: int
    overhead_ns: int
    stalls: Sequence[Wait]


class Recording:
    """Spans and decisions of one run, which began at `start_ns` of the device's clock.

    `observe` the decisions only if a timeline is wanted: `simulator.dispatch.Observer`. `spent_ns` is what resolving took,
    `num_spans` how many stretches of work were noted.
    """

    def __init__(self, device: Device, *, keep_spans: bool) -> None:
        self._device = device
        self._keep_spans = keep_spans
        self._spans: list[Span] = []
        self._notes: list[tuple[int, Callable[[Timeline], None]]] = []
        self._last_end_ns = 0
        self._pauses: list[tuple[int, int, int]] = []  # (began_ns, ended_ns) on the device's clock, ns of all up to it
        self.resolved: list[ResolvedSpan] = []
        self.start_ns = 0
        self.spent_ns = 0
        self.num_spans = 0

    def start(self) -> None:
        """Begin the run."""
        self._device.synchronize()
        self.start_ns = self._device.now_ns()

    def now_ns(self) -> int:
        """Return the time of the run; not within a pause."""
        return self.run_ns(self._device.now_ns())

    def run_ns(self, at_ns: int) -> int:
        """Return the time of the run at a time of the device's clock: that since the start, less the pauses."""
        index = bisect_right(self._pauses, at_ns, key=itemgetter(0))
        if not index:
            return at_ns - self.start_ns
        _, ended_ns, paused_ns = self._pauses[index - 1]
        return max(at_ns, ended_ns) - self.start_ns - paused_ns

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let no time of the run pass within the context, which is not entered within itself."""
        began_ns = self._device.now_ns()
        try:
            yield
        finally:
            ended_ns = self._device.now_ns()
            so_far_ns = self._pauses[-1][2] if self._pauses else 0
            self._pauses.append((began_ns, ended_ns, so_far_ns + ended_ns - began_ns))

    def span(self, kind: SpanKind, layer: int, key: int, start: Mark, end: Mark, waits: Sequence[Wait] = ()) -> None:
        """Note a stretch of work."""
        self.num_spans += 1
        self._spans.append(Span(kind, layer, key, start, end, waits))

    def num_unresolved(self) -> int:
        """Count the spans whose marks are still kept."""
        return len(self._spans)

    def resolve(self, counters: Counters) -> None:
        """Turn the spans so far into times, and add them to the counters."""
        began_ns = self._device.now_ns()
        self._device.synchronize()
        for span in self._spans:
            start_ns, end_ns = (self.run_ns(self._device.time_ns(mark)) for mark in (span.start, span.end))
            waits = [
                Wait(one.cause, one.transfer, self.run_ns(one.since_ns), self.run_ns(one.until_ns))
                for one in span.waits
            ]
            stalls = _divide(self._last_end_ns, start_ns, waits)
            overhead_ns = max(0, start_ns - self._last_end_ns) - sum(one.until_ns - one.since_ns for one in stalls)
            resolved = ResolvedSpan(span.kind, span.layer, span.key, start_ns, end_ns, overhead_ns, stalls)
            self._last_end_ns = max(self._last_end_ns, end_ns)
            _count(counters, resolved)
            if self._keep_spans:
                self.resolved.append(resolved)
        self._device.recycle(mark for span in self._spans for mark in (span.start, span.end))
        self._spans.clear()
        self.spent_ns += self._device.now_ns() - began_ns

    def step_started(self, step: Step) -> None:
        """Note the start of a step."""
        now_ns = self.now_ns()
        self._notes.append((now_ns, lambda timeline: timeline.step_started(step, now_ns)))

    def gate(self, layer: int, keys: Sequence[int], hits: Sequence[int], missed: Sequence[int], now_ns: int) -> None:
        """Note a gate's result."""
        kept = (list(keys), list(hits), list(missed))
        self._notes.append((now_ns, lambda timeline: timeline.gate(layer, *kept, now_ns)))

    def load(self, now_ns: int, *, queued: int, occupied: int) -> None:
        """Note the link's queue and the slots that are taken."""
        self._notes.append((now_ns, lambda timeline: timeline.load(now_ns, queued=queued, occupied=occupied)))

    def prefetch_issued(self, key: int, now_ns: int) -> None:
        """Note a prefetch that has got a slot."""
        self._notes.append((now_ns, lambda timeline: timeline.prefetch_issued(key, now_ns)))

    def evicted(self, key: int) -> None:
        """Note an eviction."""
        self._notes.append((self.now_ns(), lambda timeline: timeline.evicted(key)))

    def play(
        self,
        timeline: Timeline,
        *,
        services: Sequence[tuple[Transfer, int, int]],
        cpu_experts: Sequence[tuple[int, int, int, int, int]],
    ) -> None:
        """Write the run to a timeline, in order of time.

        `services` are the link's (transfer, start_ns, end_ns), `cpu_experts` (layer, key, worker, start_ns, end_ns),
        both on the device's clock.
        """
        notes = list(self._notes)
        for transfer, began_ns, ended_ns in services:
            start_ns, end_ns = self.run_ns(began_ns), self.run_ns(ended_ns)
            notes.append((start_ns, _bind(Timeline.transfer, transfer, start_ns, end_ns)))
        for layer, key, worker, began_ns, ended_ns in cpu_experts:
            start_ns, end_ns = self.run_ns(began_ns), self.run_ns(ended_ns)
            notes.append((start_ns, _bind(Timeline.cpu_expert, layer, key, worker, start_ns, end_ns - start_ns)))
        for span in self.resolved:
            notes.extend(_slices(span))
        for _, note in sorted(notes, key=lambda note: note[0]):
            note(timeline)


def span_cost_ns(device: Device) -> float:
    """Time what noting a stretch of work takes the run, both of its marks included: the mean of many in a row."""
    recording = Recording(device, keep_spans=False)
    began_ns = device.now_ns()
    for _ in range(_TIMED_SPANS):
        recording.span("expert", 0, 0, device.mark(), device.mark())
    device.synchronize()
    cost_ns = (device.now_ns() - began_ns) / _TIMED_SPANS
    device.recycle(mark for span in recording._spans for mark in (span.start, span.end))
    return cost_ns


def _count(counters: Counters, span: ResolvedSpan) -> None:
    """Add a span's work and the gap before it to their causes."""
    duration_ns, layer = span.end_ns - span.start_ns, span.layer
    if span.kind == "lead":
        counters.non_expert_compute_ns[layer] += duration_ns
    elif span.kind == "expert":
        counters.expert_compute_ns[layer] += duration_ns
    elif span.kind == "tail":
        counters.step_compute_ns += duration_ns
    if span.kind == "tail":
        counters.step_overhead_ns += span.overhead_ns
    else:
        counters.runtime_overhead_ns[layer] += span.overhead_ns
    for stall in span.stalls:
        getattr(counters, _COUNTERS[stall.cause])[layer] += stall.until_ns - stall.since_ns


_COUNTERS = {
    "demand": "exposed_demand_fetch_ns",
    "late": "exposed_late_prefetch_ns",
    "behind": "queued_behind_prefetch_ns",
    "cpu": "exposed_cpu_expert_ns",
}


def _divide(from_ns: int, to_ns: int, waits: Sequence[Wait]) -> list[Wait]:
    """Return the waits as far as they lie between the end of one span and the start of the next.

    From the end of the last wait to the start of the work that it was for, the stream still waits.
    """
    stalls = []
    for number, wait in enumerate(waits, start=1):
        until_ns = to_ns if number == len(waits) else min(to_ns, wait.until_ns)
        since_ns = max(from_ns, wait.since_ns)
        if since_ns < until_ns:
            stalls.append(Wait(wait.cause, wait.transfer, since_ns, until_ns))
            from_ns = until_ns
    return stalls


def _slices(span: ResolvedSpan) -> list[tuple[int, Callable[[Timeline], None]]]:
    """Return a span, and the stall before it, as what a timeline is told."""
    start_ns, duration_ns = span.start_ns, span.end_ns - span.start_ns
    slices: list[tuple[int, Callable[[Timeline], None]]] = []
    for stall in span.stalls:
        at_ns, lasts_ns = stall.since_ns, stall.until_ns - stall.since_ns
        if stall.transfer is None:
            slices.append((at_ns, _bind(Timeline.cpu_stall, span.layer, at_ns, lasts_ns)))
        else:
            slices.append((at_ns, _bind(Timeline.stall, span.layer, stall.transfer, at_ns, lasts_ns)))
    if span.kind == "lead":
        slices.append((start_ns, _bind(Timeline.non_expert, span.layer, start_ns, duration_ns)))
    elif span.kind == "expert":
        slices.append((start_ns, _bind(Timeline.experts, span.layer, [span.key], start_ns, duration_ns)))
    elif span.kind == "tail":
        slices.append((start_ns, _bind(Timeline.head, start_ns, duration_ns)))
    return slices


def _bind(method: Callable[..., None], *args: object) -> Callable[[Timeline], None]:
    return lambda timeline: method(timeline, *args)
