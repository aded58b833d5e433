"""What becomes of a service's requests, class by class, and of its time.

A request's time from arrival to its last token is divided without remainder: it has `waited` in the queue, its steps were
spent on the causes of `CAUSES`, and the rest it was `blocked`, running while steps went on without it.

Steps are noted for the cohort as a whole where that is the same for all of it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from simulator.metrics.counters import ATTRIBUTION, NUM_WORK
from simulator.metrics.distribution import Distribution
from simulator.metrics.goodput import Slo
from simulator.serving.longest_gap import LongestGap
from simulator.serving.promises import NO_PROMISE, missed_by
from simulator.serving.served import Served
from simulator.serving.time_series import TimeSeries

CAUSES = (*ATTRIBUTION, "kv_swap")
CAUSES_OF_SEVERAL_GPUS = (*CAUSES, "all_to_all")
SERIES = ("gpu_busy_ns", "h2d_busy_ns", "running_ns", "waiting_ns", "kv_bytes_ns", "expert_slots_ns", "tokens_out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Where to read what has accrued in a run up to now.

    `causes_ns` are by `CAUSES`; `kv_bytes` and `expert_slots` are what there is now.
    """

    causes_ns: Callable[[], Sequence[int]]
    h2d_busy_ns: Callable[[], int]
    kv_bytes: Callable[[], int]
    expert_slots: Callable[[], int]


@dataclass(slots=True)
class OfClass:
    """What became of the requests of one class."""

    queueing: Distribution = field(default_factory=Distribution)
    ttft: Distribution = field(default_factory=Distribution)
    itl: Distribution = field(default_factory=Distribution)
    tpot: Distribution = field(default_factory=Distribution)
    e2e: Distribution = field(default_factory=Distribution)
    stalls_ns: list[int] = field(default_factory=list)
    waited_ns: int = 0
    blocked_ns: int = 0
    num_arrived: int = 0
    num_finished: int = 0
    num_preemptions: int = 0
    num_in_slo: int = 0
    tokens_in_slo: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    output_tokens: int = 0


class Record:
    """Note what happens to requests. `requests` are all that have arrived, in the order in which they did, if kept.

    `causes` are those among which time is divided.
    """

    def __init__(self, *, slos: Mapping[str, Slo], keeps_requests: bool = True, causes: Sequence[str] = CAUSES) -> None:
        self.causes = causes
        self.classes: defaultdict[str, OfClass] = defaultdict(lambda: OfClass(stalls_ns=[0] * len(causes)))
        self.requests: list[Served] = []
        self.series = TimeSeries(SERIES)
        self.num_finished = 0
        self.num_tokens = 0
        self.waiting_ns = 0  # summed over requests, as it was seen step by step
        self.running_ns = 0
        self._slos = slos
        self._keeps_requests = keeps_requests
        self._readings: Readings | None = None
        self._causes_ns: Sequence[int] = [0] * len(causes)
        self._step_ns: Sequence[int] = self._causes_ns  # what the latest step was spent on
        self._decode_ns = [0] * len(causes)  # what steps that decode were, up to now
        self._h2d_busy_ns = 0
        self._last_decode_ns = 0
        self._gaps = LongestGap()
        self._joined: list[Served] = []  # since the last step that decoded
        self._in_cohort: Counter[str] = Counter()
        self._tokens_noted = 0
        self._late_waiting_ns = 0

    def read_from(self, readings: Readings) -> None:
        """Say where to read what has accrued."""
        self._readings = readings

    def arrived(self, request: Served, now_ns: int) -> None:
        """Note an arrival, which may lie within the step that ends now."""
        of_class = self.classes[request.class_name]
        of_class.num_arrived += 1
        request.stalls_ns = [0] * len(self.causes)
        self._late_waiting_ns += now_ns - request.arrival.arrival_ns
        if self._keeps_requests:
            self.requests.append(request)

    def refused(self, request: Served, reason: str, now_ns: int) -> None:
        """Note a request that is not served."""
        request.is_refused = True
        self.classes[request.class_name].refused[reason] += 1
        self._late_waiting_ns -= now_ns - request.arrival.arrival_ns

    def begun(self, request: Served, now_ns: int) -> None:
        """Note that a request leaves the queue, for the first time or again."""
        waited_ns = now_ns - request.queued_ns
        request.waited_ns += waited_ns
        if request.started_ns < 0:
            request.started_ns = now_ns
            self.classes[request.class_name].queueing.add(waited_ns)
        else:
            request.preempted_ns += waited_ns

    def preempted(self, request: Served, now_ns: int) -> None:
        """Note that a request has lost its place."""
        request.num_preemptions += 1
        request.queued_ns = now_ns
        self.classes[request.class_name].num_preemptions += 1

    def idled(self, start_ns: int, end_ns: int) -> None:
        """Note a time in which there was nothing to do."""
        self._accrue(start_ns, end_ns, queued=0, running=0)

    def stepped(self, start_ns: int, end_ns: int, *, queued: int, running: int) -> None:
        """Note a step that ends now, before anything that ends with it."""
        self._accrue(start_ns, end_ns, queued=queued, running=running)

    def _accrue(self, start_ns: int, end_ns: int, *, queued: int, running: int) -> None:
        readings = self._readings
        assert readings is not None
        causes_ns, h2d_busy_ns = readings.causes_ns(), readings.h2d_busy_ns()
        self._step_ns = step_ns = [now - before for now, before in zip(causes_ns, self._causes_ns, strict=True)]
        self._causes_ns = causes_ns
        length_ns = end_ns - start_ns
        waiting_ns, running_ns = queued * length_ns + self._late_waiting_ns, running * length_ns
        self._late_waiting_ns = 0
        self.waiting_ns += waiting_ns
        self.running_ns += running_ns
        self.series.add(
            start_ns,
            end_ns,
            (
                sum(step_ns[:NUM_WORK]),
                h2d_busy_ns - self._h2d_busy_ns,
                running_ns,
                waiting_ns,
                readings.kv_bytes() * length_ns,
                readings.expert_slots() * length_ns,
                self.num_tokens - self._tokens_noted,
            ),
        )
        self._h2d_busy_ns, self._tokens_noted = h2d_busy_ns, self.num_tokens

    def joined_cohort(self, request: Served) -> None:
        """Note that a request decodes from the next step on."""
        self._joined.append(request)
        self._in_cohort[request.class_name] += 1
        _subtract(request.stalls_ns, self._decode_ns)

    def decoded(self, now_ns: int, num_tokens: int) -> None:
        """Note that each of the cohort has put out a token."""
        _add(self._decode_ns, self._step_ns)
        since_last = self._in_cohort
        self._gaps.add(now_ns - self._last_decode_ns)
        if self._joined:
            since_last = self._in_cohort.copy()
            for request in self._joined:
                gap_ns = now_ns - request.last_token_ns
                self.classes[request.class_name].itl.add(gap_ns)
                request.max_itl_ns = max(request.max_itl_ns, gap_ns)
                request.itl_since_step = self._gaps.num_steps
                since_last[request.class_name] -= 1
            self._joined.clear()
        for class_name, count in since_last.items():
            if count:
                self.classes[class_name].itl.add(now_ns - self._last_decode_ns, count)
        self._last_decode_ns = now_ns
        self.num_tokens += num_tokens

    def left_cohort(self, request: Served, now_ns: int | None) -> None:
        """Note that a request no longer decodes; its last token came out `now_ns`, or earlier (None)."""
        self._in_cohort[request.class_name] -= 1
        _add(request.stalls_ns, self._decode_ns)
        request.output_tokens = request.position - request.prompt_tokens + 1
        if now_ns is None and request in self._joined:
            self._joined.remove(request)
            return
        request.last_token_ns = self._last_decode_ns if now_ns is None else now_ns
        request.max_itl_ns = max(request.max_itl_ns, self._gaps.since(request.itl_since_step))
        if not self._in_cohort.total():
            self._gaps.forget()

    def prefilled(self, request: Served) -> None:
        """Note that a chunk of a request's prompt was part of the step."""
        _add(request.stalls_ns, self._step_ns)

    def first_token(self, request: Served, now_ns: int) -> None:
        """Note the token that comes out when a prompt has been run, be it the first or not."""
        of_class = self.classes[request.class_name]
        if request.first_token_ns < 0:
            request.first_token_ns = now_ns
            of_class.ttft.add(now_ns - request.arrival.arrival_ns)
        else:
            gap_ns = now_ns - request.last_token_ns
            of_class.itl.add(gap_ns)
            request.max_itl_ns = max(request.max_itl_ns, gap_ns)
        request.last_token_ns = now_ns
        request.output_tokens += 1
        self.num_tokens += 1

    def finished(self, request: Served, now_ns: int) -> None:
        """Note that a request has put out its last token."""
        request.finished = True
        request.finished_ns = now_ns
        self.num_finished += 1
        of_class = self.classes[request.class_name]
        of_class.num_finished += 1
        e2e_ns = now_ns - request.arrival.arrival_ns
        of_class.e2e.add(e2e_ns)
        tpot_ns = None
        if request.output_tokens > 1:
            tpot_ns = round((request.last_token_ns - request.first_token_ns) / (request.output_tokens - 1))
            of_class.tpot.add(tpot_ns)
        of_class.waited_ns += request.waited_ns
        of_class.blocked_ns += e2e_ns - request.waited_ns - sum(request.stalls_ns)
        _add(of_class.stalls_ns, request.stalls_ns)
        of_class.prompt_tokens += request.prompt_tokens
        of_class.output_tokens += request.output_tokens
        missed = missed_by(request, self._slos.get(request.class_name, NO_PROMISE))
        of_class.missed.update(missed)
        if not missed:
            of_class.num_in_slo += 1
            of_class.tokens_in_slo += request.output_tokens


def _add(to: list[int], amounts: Sequence[int]) -> None:
    for at, amount in enumerate(amounts):
        to[at] += amount


def _subtract(of: list[int], amounts: Sequence[int]) -> None:
    for at, amount in enumerate(amounts):
        of[at] -= amount
